package provision

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/provision/chain"
	"github.com/tollgate/tollgate/services/provision/reply"
)

// spent is a balance that changed, as ingest publishes it.
func spent(id, subject string) *event.Event {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &event.Event{
		ID: id, Source: "billing", Type: "balance.changed", Tenant: "acme", Subject: subject, Time: now, ReceivedAt: now, Correlation: "bill-7",
		Data: &eventv1.BalanceChanged{Account: &eventv1.Account{Id: "7401", DisplayName: "Nord"}, Offer: "gold"},
	}
}

// publish puts events into the log, as ingest does.
func (f *fixture) publish(events ...*event.Event) {
	f.Helper()
	producer := f.Client.NewProducer()
	defer producer.Close(f.Ctx)
	for _, e := range events {
		topic := stream.EventsOrdered
		if e.Queue() == event.Unordered {
			topic = stream.EventsUnordered
		}
		r, err := e.Record(f.Client.Topic(topic))
		if err != nil {
			f.Fatal(err)
		}
		if err := producer.Produce(f.Ctx, r); err != nil {
			f.Fatal(err)
		}
	}
}

// listening waits until every partition of the log has a position: what is published from now on is asked about.
func (f *fixture) listening() {
	f.Helper()
	var ask []stream.Position
	for _, topic := range []string{stream.EventsOrdered, stream.EventsUnordered} {
		n, err := f.Client.Partitions(f.Ctx, f.Client.Topic(topic))
		if err != nil {
			f.Fatal(err)
		}
		for p := range n {
			ask = append(ask, stream.Position{Topic: f.Client.Topic(topic), Partition: int32(p)})
		}
	}
	for {
		all, err := f.Client.Positions(f.Ctx, "provision", ask)
		if err != nil {
			f.Fatal(err)
		}
		if !slices.ContainsFunc(all, func(p stream.Position) bool { return p.Offset < 0 }) {
			return
		}
		pause.For(f.Ctx, 5*time.Millisecond)
	}
}

// asked waits until a handler was asked n times.
func (f *fixture) asked(h *handling, n int) {
	f.Helper()
	for h.asked() < n {
		if !pause.For(f.Ctx, time.Millisecond) {
			f.Fatalf("asked %d times, want %d", h.asked(), n)
		}
	}
}

func TestAfter_EventsThatArriveAreAskedAboutAndTheAnswerIsLogged(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.publish(spent("early", "account/7401")) // before the hook is
		h, hook := f.http("spend", answering(200, `{"data":{"offer":"silver"}}`))
		hook.EventTypes, hook.FailurePolicy = []string{"balance.changed", "client.created"}, configv1.FailurePolicy_FAILURE_POLICY_ALLOW
		no, hook := f.http("no", answering(403, `{"reason":"too much"}`))
		hook.EventTypes = []string{"balance.changed", "billrun.failed"}
		f.save()
		r := f.start()
		f.listening()
		// Of what was decided no handler is asked again.
		if res := f.decided(r, nord("k1")); res.GetEventId() == "" {
			t.Fatalf("nothing is published: %v", res)
		}
		f.publish(spent("e1", "account/7401"))
		now := time.Now().UTC().Truncate(time.Millisecond)
		f.publish(&event.Event{
			ID: "e2", Source: "billing", Type: "billrun.failed", Tenant: "acme", Subject: "billrun/9", Time: now, ReceivedAt: now, Data: &eventv1.BillRunFailed{},
		}, &event.Event{
			// Behind what was decided: a question about that would be asked before.
			ID: "e3", Source: "crm", Type: "client.created", Tenant: "acme", Subject: "client/7401", Time: now, ReceivedAt: now, Data: &eventv1.ClientChanged{},
		})
		// The answer of one is nothing to the other: both are asked about the data that arrived.
		f.asked(h, 3)
		f.asked(no, 2)
		var q struct {
			Event map[string]any
			Data  map[string]any
		}
		h.mu.Lock()
		i := max(0, slices.IndexFunc(h.bodies, func(body []byte) bool { return strings.Contains(string(body), `"e1"`) }))
		body, head := h.bodies[i], h.heads[i]
		h.mu.Unlock()
		if err := json.Unmarshal(body, &q); err != nil {
			t.Fatal(err)
		}
		if q.Event["stage"] != "after" || q.Event["id"] != "e1" || q.Event["object_id"] != 7401.0 || q.Data["offer"] != "gold" {
			t.Errorf("it is asked %s", body)
		}
		if id := head.Get("Webhook-Id"); !strings.HasSuffix(id, ".spend") || strings.HasPrefix(id, "e1.") {
			t.Errorf("the question's id is %q: two sources may have an event of one id", id)
		}
		outcomes := map[string]provisionv1.Outcome{}
		for _, x := range f.executions(5) {
			if x.GetEventId() == "early" {
				t.Error("a hook is asked about an event that was there before it")
			}
			if x.GetStage() == provisionv1.Execution_STAGE_AFTER {
				if x.GetResult().GetByFailurePolicy() {
					t.Errorf("a failure policy decides what is not asked: %v", x)
				}
				outcomes[x.GetResult().GetHandler()[len("tenants/acme/hooks/"):]+" "+x.GetEventId()] = x.GetResult().GetOutcome()
			} else if x.GetType() != "client.created" {
				t.Errorf("logged is %v", x)
			}
			if x.GetEventId() == "e1" && (x.GetCorrelation() != "bill-7" || x.GetObjectId() != "7401" || x.GetRevision() == 0) {
				t.Errorf("logged is %v", x)
			}
		}
		want := map[string]provisionv1.Outcome{
			"spend e1": provisionv1.Outcome_OUTCOME_CHANGED, "no e1": provisionv1.Outcome_OUTCOME_FORBADE, "no e2": provisionv1.Outcome_OUTCOME_FORBADE,
			"spend e3": provisionv1.Outcome_OUTCOME_FAULT,
		}
		for name, outcome := range want {
			if outcomes[name] != outcome {
				t.Errorf("%s: %s, want %s", name, outcomes[name], outcome)
			}
		}
		if len(outcomes) != len(want) {
			t.Errorf("logged afterwards are %v", outcomes)
		}
		if n := h.asked(); n != 3 {
			t.Errorf("asked %d times: once before, and about the two that arrived", n)
		}
	})
}

func TestAfter_WhatOneReplicaLeavesTheNextAsksUnderTheSameID(t *testing.T) {
	onServers(t, func(f *fixture) {
		h, hook, release := f.holding("slow", echo)
		hook.EventTypes = []string{"balance.changed"}
		hook.Timeout = durationpb.New(10 * time.Second)
		f.save()
		r := f.start()
		f.listening()
		f.publish(spent("e1", "account/1"), spent("e2", "account/1"), spent("e3", "account/2"))
		f.asked(h, 2) // one of each subject
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		release()
		f.start()
		f.asked(h, 5)
		f.executions(3)
		h.mu.Lock()
		defer h.mu.Unlock()
		times := map[string]int{}
		var order []string
		for i, head := range h.heads {
			times[head.Get("Webhook-Id")]++
			if i >= 2 {
				order = append(order, string(h.bodies[i]))
			}
		}
		if len(times) != 3 || len(h.heads) != 5 {
			t.Errorf("the ids are %v", times)
		}
		first := slices.IndexFunc(order, func(body string) bool { return strings.Contains(body, `"e1"`) })
		if second := slices.IndexFunc(order, func(body string) bool { return strings.Contains(body, `"e2"`) }); first > second {
			t.Errorf("asked in the order %v", order)
		}
	})
}

// tried runs the tries of one question, and returns after which times the handler was asked.
func tried(t *testing.T, since time.Duration, ask func(try int) (reply.Reply, error)) (after []time.Duration, logged []*provisionv1.Execution) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m, err := newMetrics(prometheus.NewRegistry(), func() int { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		b := &book{snapshot: configclient.Decode(&configv1.Snapshot{}), chains: map[chainKey][]*chain.Handler{
			{"acme", "balance.changed"}: {{Name: "tenants/acme/hooks/h", Timeout: time.Second, Concurrency: 1}},
		}}
		w := &afterwards{
			newest: func() *book { return b }, chain: &chain.Chain{}, logger: zap.NewNop(), metrics: m, clock: time.Now, failing: &failing{},
			about: func(question) chain.Ask {
				return func(context.Context, *chain.Handler, proto.Message) (reply.Reply, chain.Exchange, error) {
					after = append(after, time.Since(began))
					r, err := ask(len(after))
					return r, chain.Exchange{Sent: []byte("{}")}, err
				}
			},
			log: &executionLog{log: zap.NewNop(), metrics: m, produce: func(_ context.Context, records ...stream.Record) error {
				for _, r := range records {
					x := &provisionv1.Execution{}
					if err := proto.Unmarshal(r.Value, x); err != nil {
						return err
					}
					logged = append(logged, x)
				}
				return nil
			}},
		}
		if !w.ask(t.Context(), "tenants/acme/hooks/h", spent("e", "account/1"), began.Add(-since)) {
			t.Error("it is not done")
		}
	})
	return after, logged
}

func TestAfter_AQuestionIsRepeatedWhileTheHandlerIsNotWell(t *testing.T) {
	unwell := chain.Failure{Err: errors.New("no connection")}
	for name, row := range map[string]struct {
		since  time.Duration
		ask    func(try int) (reply.Reply, error)
		after  []time.Duration
		logged int
	}{
		"an answer ends it":                       {0, func(int) (reply.Reply, error) { return reply.Reply{}, nil }, []time.Duration{0}, 1},
		"a refusal is an answer":                  {0, func(int) (reply.Reply, error) { return reply.Reply{Forbidden: true, Reason: "no"}, nil }, []time.Duration{0}, 1},
		"what is no decision would be none again": {0, func(int) (reply.Reply, error) { return reply.Reply{}, errors.New("no JSON") }, []time.Duration{0}, 1},
		"three times in all":                      {0, func(int) (reply.Reply, error) { return reply.Reply{}, unwell }, []time.Duration{0, time.Second, 6 * time.Second}, 3},
		"until it is well":                        {0, func(try int) (reply.Reply, error) { return reply.Reply{}, map[bool]error{true: unwell}[try < 2] }, []time.Duration{0, time.Second}, 2},
		"a failure of this machine is nobody's": {0, func(try int) (reply.Reply, error) {
			return reply.Reply{}, map[bool]error{true: chain.Ours{Err: unwell}}[try < 5]
		}, []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}, 1},
		"a question of more than ten minutes is old": {mostBehind + time.Second, func(int) (reply.Reply, error) { return reply.Reply{}, nil }, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			after, logged := tried(t, row.since, row.ask)
			if !slices.Equal(after, row.after) || len(logged) != row.logged {
				t.Errorf("asked after %v, logged %v", after, logged)
			}
		})
	}
}
