package trigger

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// publishing is a configuration whose only notification publishes usage to a topic.
func publishing(revision int64, edit func(*configv1.Snapshot, *configv1.Action, *configv1.TopicAction)) *configv1.Snapshot {
	return snapshot(revision, func(s *configv1.Snapshot) {
		to := &configv1.TopicAction{
			Topic: "acme.usage", Key: "{{.Usage.Unit}}/{{.Subscriber.Msisdn}}", Value: `{"id":"{{.Core.EventId}}","service":"{{.Usage.Service}}"}`,
			Headers: []*configv1.TopicHeader{{Name: "unit", Template: "{{.Usage.Unit}}"}},
		}
		a := &configv1.Action{Name: "publish", Action: &configv1.Action_Topic{Topic: to}}
		s.Tenants[0].TopicPrefixes = []string{"acme."}
		s.Notifications = []*configv1.Notification{rule("usage", []string{"usage.charged"}, "", a)}
		if edit != nil {
			edit(s, a, to)
		}
	})
}

// published are the records on topics of tenants, a line each: topic, key, value, headers in order.
func (p *partition) published() (lines []string) {
	for _, r := range p.out {
		if strings.HasPrefix(r.Topic, "acme.") {
			lines = append(lines, line(r))
		}
	}
	return lines
}

func line(r stream.Record) string {
	out := fmt.Sprintf("%s %s %s", r.Topic, r.Key, r.Value)
	for _, h := range r.Headers {
		out += fmt.Sprintf(" %s=%s", h.Key, h.Value)
	}
	return out
}

// dead are the dead letters.
func (p *partition) dead() (letters []*deliveryv1.DeadLetter) {
	p.t.Helper()
	for _, r := range p.out {
		if r.Topic == stream.DeliveriesDead {
			m := &deliveryv1.DeadLetter{}
			if err := proto.Unmarshal(r.Value, m); err != nil {
				p.t.Fatal(err)
			}
			letters = append(letters, m)
		}
	}
	return letters
}

func usageID(id string, topic string) string {
	return delivery.NewID(epoch, "acme", "rating", "44", id, "usage", "publish", "", "topics/"+topic)
}

func TestTopics_PublishesWithKeyAndHeadersInOrder(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(publishing(1, nil))
	one, two := usage("u-1", "44", 5, epoch), usage("u-2", "44", 5, epoch)
	one.Data.(*eventv1.UsageCharged).Unit = "MB"
	one.Data.(*eventv1.UsageCharged).Service = `a "quoted" \ text` + "\n"
	p.append(one, two, one) // a repeat of the producer's is known
	p.run()
	first, second := usageID("u-1", "acme.usage"), usageID("u-2", "acme.usage")
	want := []string{
		`acme.usage MB/44 {"id":"u-1","service":"a \"quoted\" \\ text\u000a"} content-type=application/json tollgate-notification=usage tollgate-sequence=1 unit=MB tollgate-id=` + first,
		`acme.usage /44 {"id":"u-2","service":""} content-type=application/json tollgate-notification=usage tollgate-sequence=2 tollgate-previous=` + first + ` unit= tollgate-id=` + second,
	}
	if diff := cmp.Diff(want, p.published()); diff != "" || len(p.decisions()) != 0 {
		t.Errorf("%s, decided %v", diff, p.decisions())
	}
}

func TestTopics_WithoutAValueAreCloudEvents(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(publishing(1, func(_ *configv1.Snapshot, a *configv1.Action, to *configv1.TopicAction) {
		to.Value, to.Key, to.Headers, a.Ordered = "", "", nil, proto.Bool(false)
		a.Parameters = []*configv1.Parameter{{Name: "name", Template: "{{.Core.Tenant}}"}}
	}))
	e := usage("u-1", "44", 5, epoch)
	e.Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	p.append(e)
	p.run()
	lines := p.published()
	if len(lines) != 1 || !strings.HasPrefix(lines[0], `acme.usage 44 {"specversion":"1.0","id":"u-1","source":"rating","type":"usage.charged","subject":"44",`) ||
		!strings.HasSuffix(lines[0], `"parameters":{"name":"Acme Mobile"}} content-type=application/cloudevents+json tollgate-notification=usage tollgate-id=`+usageID("u-1", "acme.usage")+" traceparent="+e.Trace) {
		t.Error(lines)
	}
}

// What a tenant may not publish, or what is no JSON, is decided; the first is a dead letter too.
func TestTopics_DecidesOnWhatMayNotBePublished(t *testing.T) {
	const unavailable, wrong = triggerv1.Decision_REASON_TOPIC_UNAVAILABLE, triggerv1.Decision_REASON_RENDER_ERROR
	for name, tc := range map[string]struct {
		edit   func(*configv1.Snapshot, *configv1.Action, *configv1.TopicAction)
		reason triggerv1.Decision_Reason
		dead   int
	}{
		"another tenant's": {func(_ *configv1.Snapshot, _ *configv1.Action, to *configv1.TopicAction) { to.Topic = "globex.usage" }, unavailable, 1},
		"a prefix alone":   {func(_ *configv1.Snapshot, _ *configv1.Action, to *configv1.TopicAction) { to.Topic = "acme." }, unavailable, 1},
		"no prefix any more": {func(s *configv1.Snapshot, _ *configv1.Action, _ *configv1.TopicAction) {
			s.Tenants[0].TopicPrefixes = nil
		}, unavailable, 1},
		"our own, whatever the prefixes": {func(s *configv1.Snapshot, _ *configv1.Action, to *configv1.TopicAction) {
			s.Tenants[0].TopicPrefixes, to.Topic = []string{"own."}, "own.events.inbound"
		}, unavailable, 1},
		"no JSON": {func(_ *configv1.Snapshot, _ *configv1.Action, to *configv1.TopicAction) {
			to.Value = `{"n":{{.Usage.Quantity}}`
		}, wrong, 0},
		"no key of a size": {func(_ *configv1.Snapshot, _ *configv1.Action, to *configv1.TopicAction) {
			to.Key = "{{.Usage.Service}}"
		}, triggerv1.Decision_REASON_TOO_LARGE, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.configure(publishing(1, tc.edit))
			large := usage("u-1", "44", 5, epoch)
			large.Data.(*eventv1.UsageCharged).Service = strings.Repeat("x", 5000)
			p.append(large)
			p.run()
			ds := p.decisions()
			if len(ds) != 1 || ds[0].GetReason() != tc.reason || ds[0].GetAction() != "publish" || len(p.dead()) != tc.dead || len(p.published()) != 0 {
				t.Errorf("decided %v, dead %v, published %v", ds, p.dead(), p.published())
			}
		})
	}
}

// absentTopics is a cluster whose topics of tenants take nothing while away, and everything then.
type absentTopics struct {
	p    *partition
	away bool
}

func (s *absentTopics) Publish(_ context.Context, outcomes []fold.Foreign) (instead []stream.Record, err error) {
	for _, o := range outcomes {
		if s.away {
			instead = append(instead, o.Instead()...)
		} else {
			s.p.out = append(s.p.out, o.Record)
		}
	}
	return instead, nil
}

func TestTopics_WhatTakesNothingIsADecisionAndADeadLetter(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.foreign = &absentTopics{p, true}
	p.configure(publishing(1, func(s *configv1.Snapshot, _ *configv1.Action, _ *configv1.TopicAction) {
		s.Notifications = append(s.Notifications, rule("z", []string{"usage.charged"}, "", action("notify", "crm")))
	}))
	p.append(usage("u-1", "44", 5, epoch), usage("u-2", "44", 5, epoch))
	p.run()
	if want := []string{"u-1 z/notify crm 1", "u-2 z/notify crm 2"}; fmt.Sprint(places(p.deliveries())) != fmt.Sprint(want) {
		t.Errorf("the others' deliveries are %v", places(p.deliveries()))
	}
	ds, dead := p.decisions(), p.dead()
	if len(ds) != 2 || len(dead) != 2 || len(p.published()) != 0 {
		t.Fatalf("decided %v, dead %v, published %v", ds, dead, p.published())
	}
	for i, id := range []string{usageID("u-1", "acme.usage"), usageID("u-2", "acme.usage")} {
		d, last := dead[i].GetDelivery(), dead[i].GetLastAttempt()
		if d.GetId() != id || d.GetEndpoint() != "topics/acme.usage" || string(d.GetKey()) != "/44" || d.GetSequence() != int64(i+1) ||
			!strings.HasPrefix(string(d.GetBody()), `{"id":"u-`) || len(d.GetHeaders()) < 4 {
			t.Errorf("dead letter %d is %v", i, d)
		}
		if last.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_DEAD || last.GetReason() != "topic_unavailable" || last.GetDelivery() != id {
			t.Errorf("its last attempt is %v", last)
		}
		if ds[i].GetReason() != triggerv1.Decision_REASON_TOPIC_UNAVAILABLE || ds[i].GetEndpoint() != "topics/acme.usage" || !strings.Contains(ds[i].GetDetail(), id) {
			t.Errorf("decided %v", ds[i])
		}
	}
}

// What stands in for a record is made once it is needed: a topic that takes its records costs no dead letters.
func TestTopics_WhatIsPublishedHasNoStandIn(t *testing.T) {
	p := newPartition(t, "events.ordered")
	asked := map[string]int{}
	p.names = func(topic string) string {
		asked[topic]++
		return topic
	}
	s := &absentTopics{p, false}
	p.foreign = s
	p.configure(publishing(1, nil))
	p.append(usage("u-1", "44", 5, epoch), usage("u-2", "44", 5, epoch))
	p.run()
	if len(p.published()) != 2 || asked[stream.DeliveriesDead]+asked[stream.TriggersDecisions] != 0 {
		t.Errorf("published %v, names asked %v", p.published(), asked)
	}
	s.away = true
	p.append(usage("u-3", "44", 5, epoch), usage("u-4", "44", 5, epoch))
	p.run()
	if asked[stream.DeliveriesDead] != 2 || asked[stream.TriggersDecisions] != 2 {
		t.Errorf("names asked %v", asked)
	}
	for i, d := range p.decisions() { // each of its own event, though the subject went on
		if e := d.GetEvent(); e.GetId() != fmt.Sprint("u-", i+3) || e.GetOffset() != int64(i+3) || !d.GetTime().AsTime().Equal(epoch) {
			t.Errorf("decided %v", d)
		}
	}
	if a, b := p.decisions()[0].GetId(), p.decisions()[1].GetId(); a == b {
		t.Errorf("both decisions have the id %s", a)
	}
}

// After a crash between publishing and the commit the same is published again: the same bytes under the same id, and where a
// topic came back meanwhile, beside the Decision.
func TestTopics_AreRepeatedAfterACrashBeforeTheCommit(t *testing.T) {
	for name, away := range map[string]bool{"published": false, "away": true} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			s := &absentTopics{p, away}
			p.foreign = s
			p.configure(publishing(1, func(s *configv1.Snapshot, _ *configv1.Action, _ *configv1.TopicAction) {
				s.Notifications = append(s.Notifications, rule("z", []string{"usage.charged"}, "", action("notify", "crm")))
			}))
			p.append(usage("u-1", "44", 5, epoch), usage("u-2", "44", 5, epoch))
			deaths := 1
			p.killed = func() bool {
				if deaths == 0 {
					return false
				}
				deaths--
				s.away = false
				return true
			}
			p.run()
			p.append(usage("u-3", "44", 5, epoch))
			p.run()
			count := map[string]int{}
			for _, l := range p.published() {
				count[l]++
			}
			var sequences []string
			for _, l := range slices.Sorted(maps.Keys(count)) {
				_, rest, _ := strings.Cut(l, "tollgate-sequence=")
				sequences = append(sequences, fmt.Sprintf("%s x%d", rest[:1], count[l]))
			}
			want, decided := "[1 x2 2 x2 3 x1]", 0
			if away {
				want, decided = "[1 x1 2 x1 3 x1]", 2
			}
			if fmt.Sprint(sequences) != want || len(p.decisions()) != decided || len(p.dead()) != decided {
				t.Errorf("published %v, want %s; decided %v", sequences, want, p.decisions())
			}
		})
	}
}

// A topic on a broker: it gets records in order, and goes away; the partition goes on, and what would have been published is in
// the dead letters.
func TestService_PublishesToATopicUntilItIsDeleted(t *testing.T) {
	onServers(t, func(f *fixture) {
		cfg := f.Config.Kafka
		cfg.Prefix = streamtest.NewPrefix(f.T)
		tenant := clientOf(f, cfg)
		if err := tenant.CreateTopics(f.ctx, []stream.TopicSpec{{Name: "usage", Partitions: 3}}, true); err != nil {
			f.Fatal(err)
		}
		name := tenant.Topic("usage")
		stop := f.start()
		f.configure(publishing(1, func(s *configv1.Snapshot, _ *configv1.Action, to *configv1.TopicAction) {
			s.Tenants[0].TopicPrefixes, to.Topic, to.Key = []string{cfg.Prefix + "."}, name, ""
			s.Notifications = append(s.Notifications, rule("z", []string{"usage.charged"}, "", action("notify", "crm")))
		}))
		f.publish(stream.EventsOrdered, usage("u-1", "44", 1, epoch), usage("u-2", "44", 1, epoch), usage("u-3", "45", 1, epoch))
		records := streamtest.Await(f.ctx, f, tenant, "usage", func(all []stream.Record) bool { return len(all) >= 3 })
		sequences := map[string]string{}
		for _, r := range records {
			sequence, _ := r.Header("tollgate-sequence")
			sequences[string(r.Key)] += string(sequence)
			if want := stream.PartitionOf(r.Key, 3); r.Partition != want {
				f.Errorf("key %s is in partition %d, not %d", r.Key, r.Partition, want)
			}
		}
		if sequences["44"] != "12" || sequences["45"] != "1" {
			f.Errorf("sequences by key: %v", sequences)
		}

		stop()
		usual := topicPatience
		topicPatience = 2 * time.Second
		f.Cleanup(func() { topicPatience = usual })
		f.start()
		streamtest.DeleteTopic(f, f.Config.Kafka.Brokers, name)
		f.publish(stream.EventsOrdered, usage("u-4", "44", 1, epoch))
		f.await(stream.TriggersDecisions, func(all []stream.Record) bool { return len(all) > 0 })
		dead := f.await(stream.DeliveriesDead, func(all []stream.Record) bool { return len(all) > 0 })
		if want := usageID("u-4", name); string(dead[0].Key) != want {
			f.Errorf("the dead letter is of %s, want %s", dead[0].Key, want)
		}
		f.publish(stream.EventsOrdered, usage("u-5", "44", 1, epoch))
		f.deliveries(5) // of the webhook: the partition goes on
	})
}
