package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// journey is an installation with a producer at one end and a receiver at the other.
type journey struct {
	o        options
	fleet    *fleet.Fleet
	receiver *fleet.Receiver
	ingest   ingestv1.IngestServiceClient
	// people are what each subscriber last sent: charges of exactly the limit, and refunds of them, in turn.
	people   []person
	services []*fleet.Member
	measured []measured

	now atomic.Pointer[arrivals]
}

type person struct {
	charged bool
	id      string
	at      *timestamppb.Timestamp
}

func open(ctx context.Context, o options, cfg fleet.Config) (*journey, error) {
	f, err := fleet.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	j := &journey{o: o, fleet: f, people: make([]person, o.subscribers), measured: []measured{{"producer and receiver", itself{}}}}
	if j.receiver, err = fleet.StartReceiver(ctx, http.HandlerFunc(j.receive)); err != nil {
		return j, err
	}
	config, err := f.Start(ctx, "config")
	if err != nil {
		return j, err
	}
	j.services, j.measured = append(j.services, config), append(j.measured, measured{"config", config})
	revision, err := f.Configure(ctx, j.resources(time.Now().UTC())...)
	if err != nil {
		return j, err
	}
	var members []*fleet.Member
	for _, name := range []string{"ingest", "safeguard", "trigger", "webhook"} {
		m, err := f.Start(ctx, name)
		if err != nil {
			return j, err
		}
		members, j.services, j.measured = append(members, m), append(j.services, m), append(j.measured, measured{name, m})
	}
	for _, m := range members {
		if err := m.Ready(ctx); err != nil {
			return j, err
		}
	}
	for _, topic := range []string{stream.EventsOrdered, stream.Safeguards} {
		if err := f.AwaitRevision(ctx, topic, revision); err != nil {
			return j, err
		}
	}
	conn, err := f.Dial(members[0].Address("grpc"))
	if err != nil {
		return j, err
	}
	j.ingest = ingestv1.NewIngestServiceClient(conn)
	return j, j.activate(ctx)
}

func (j *journey) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := j.fleet.Close(ctx)
	if j.receiver != nil {
		err = errors.Join(err, j.receiver.Close())
	}
	return err
}

const limitUnits = 50

func (j *journey) resources(now time.Time) []proto.Message {
	// No period ends while it runs.
	day := int32(1)
	if now.Day() >= 24 || now.Day() < 8 {
		day = 15
	}
	trigger := &configv1.Trigger{EventTypes: []string{"safeguard.reached", "safeguard.released"}}
	if j.o.direct {
		trigger.EventTypes = []string{"usage.charged"}
	}
	const endpoint = "tenants/acme/endpoints/receiver"
	return []proto.Message{
		&configv1.Tenant{Name: "tenants/acme", Outbound: j.receiver.Policy()},
		&configv1.ClassOfService{Name: "tenants/acme/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{
			Limit: euros(limitUnits), RenewalDay: day,
		}},
		&configv1.Endpoint{
			Name: endpoint, Url: j.receiver.URL("/"), Secrets: []string{j.receiver.Secret},
			CaCertificates: j.receiver.Authority, Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
		},
		&configv1.Notification{
			Name: "tenants/acme/notifications/each", Active: true, Trigger: trigger,
			Actions: []*configv1.Action{{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: endpoint}}}},
		},
	}
}

func euros(units int64) *money.Money { return &money.Money{CurrencyCode: "EUR", Units: units} }

func msisdn(s int) string { return fmt.Sprintf("4479%08d", s) }

func newEvent(id, kind string, s int, data proto.Message) (*eventv1.Event, error) {
	packed, err := anypb.New(data)
	if err != nil {
		return nil, err
	}
	return &eventv1.Event{
		Id: id, Source: "mediation", Type: kind, Tenant: "acme", Subject: msisdn(s),
		Time: timestamppb.New(time.UnixMilli(time.Now().UnixMilli())), Data: packed,
	}, nil
}

// activate brings in the subscribers; their usage comes after it in the log.
func (j *journey) activate(ctx context.Context) error {
	fleet.Report("%d subscribers", j.o.subscribers)
	for from := 0; from < j.o.subscribers; from += 500 {
		req := &ingestv1.PublishBatchRequest{}
		for s := from; s < min(from+500, j.o.subscribers); s++ {
			e, err := newEvent(fmt.Sprintf("activation-%d", s), "subscriber.activated", s, &eventv1.SubscriberActivated{ClassOfService: "roamer"})
			if err != nil {
				return err
			}
			req.Events = append(req.Events, e)
		}
		res, err := j.ingest.PublishBatch(ctx, req)
		if err != nil {
			return fmt.Errorf("activate: %w", err)
		}
		for _, r := range res.GetResults() {
			if r.GetError() != nil {
				return fmt.Errorf("activate: %v", r.GetError())
			}
		}
	}
	return nil
}

// latencies in milliseconds.
type latencies struct{ p50, p99, longest float64 }

func latenciesOf(all []time.Duration) latencies {
	slices.Sort(all)
	at := func(share float64) float64 {
		return float64(all[min(len(all)-1, int(share*float64(len(all))))].Microseconds()) / 1000
	}
	return latencies{at(0.5), at(0.99), at(1)}
}

// result of one run: from the sending of an event, and from ingest's answer, to the receiver.
type result struct {
	sent, answered latencies
	events         int
	// used is what the measured part of it took.
	used     used
	perEvent string
}

// profile keeps a profile of each service.
func (j *journey) profile(ctx context.Context) error {
	var all errgroup.Group
	for _, m := range j.services {
		all.Go(func() error {
			content, err := m.Profile(ctx, 10*time.Second)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(j.o.profiles, m.Name+".pprof"), content, 0o600)
		})
	}
	return all.Wait()
}

// load is what a run sends.
type load struct {
	rate           int
	warmUp, length time.Duration
}

// errBusy is of a run whose events could not be sent in time.
var errBusy = errors.New("the machine is too busy for this rate")

// run sends events at their times over one stream, whether or not those before have arrived, and waits for every webhook.
func (j *journey) run(ctx context.Context, number int, l load) (*result, error) {
	n, first := l.rate*int((l.warmUp+l.length)/time.Second), l.rate*int(l.warmUp/time.Second)
	fleet.Report("run %d: %d events", number+1, n)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	calls, err := j.ingest.PublishStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	a := &arrivals{run: number, base: time.Now(), at: make([]atomic.Int64, n), done: make(chan struct{})}
	a.left.Store(int64(n))
	j.now.Store(a)
	sent, answered := make([]time.Duration, n), make([]time.Duration, n)
	failed := make(chan error, 1)
	go func() { failed <- a.answers(calls, answered) }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var before used
	var profiled errgroup.Group
	for i := range n {
		if i == first {
			if before, err = j.used(ctx); err != nil {
				return nil, err
			}
			if j.o.profiles != "" {
				profiled.Go(func() error { return j.profile(ctx) })
			}
		}
		at := time.Duration(i) * time.Second / time.Duration(l.rate)
		if wait := at - time.Since(a.base); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		e, err := j.next(number, i)
		if err != nil {
			return nil, err
		}
		sent[i] = time.Since(a.base)
		if err := calls.Send(&ingestv1.PublishStreamRequest{Event: e}); err != nil {
			return nil, errors.Join(err, <-failed)
		}
	}
	sending := time.Since(a.base)
	if err := errors.Join(calls.CloseSend(), <-failed); err != nil {
		return nil, err
	}
	if want := l.warmUp + l.length; sending > want*105/100 {
		return nil, fmt.Errorf("%w: %d events took %s to send, not %s", errBusy, n, sending, want)
	}
	ending, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	select {
	case <-a.done:
	case <-ending.Done():
		return nil, errors.Join(fmt.Errorf("%d of %d webhooks did not come: %w", a.left.Load(), n, ending.Err()), j.rejections(ctx))
	}
	after, err := j.used(ctx)
	if err := errors.Join(err, profiled.Wait()); err != nil {
		return nil, err
	}
	if twice := a.twice.Load(); twice > 0 {
		return nil, fmt.Errorf("%d webhooks came twice though nothing was killed", twice)
	}
	var sinceSent, sinceAnswer []time.Duration
	for i := first; i < n; i++ {
		arrived := time.Duration(a.at[i].Load())
		sinceSent, sinceAnswer = append(sinceSent, arrived-sent[i]), append(sinceAnswer, max(0, arrived-answered[i]))
	}
	took := after.since(before)
	return &result{latenciesOf(sinceSent), latenciesOf(sinceAnswer), len(sinceSent), took, took.perEvent(j.measured, len(sinceSent))}, nil
}

// answers notes when each event was accepted; every one must be.
func (a *arrivals) answers(calls ingestv1.IngestService_PublishStreamClient, answered []time.Duration) error {
	for i := 0; ; {
		answer, err := calls.Recv()
		if errors.Is(err, io.EOF) && i == len(answered) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%d events without an answer: %w", len(answered)-i, err)
		}
		at := time.Since(a.base)
		for _, r := range answer.GetResults() {
			if r.GetError() != nil {
				return fmt.Errorf("event %d: %v", i, r.GetError())
			}
			answered[i] = at
			i++
		}
	}
}

// next is the event of that number: subscribers take turns, and each reaches the limit exactly, or is released again.
func (j *journey) next(run, i int) (*eventv1.Event, error) {
	s := i % j.o.subscribers
	p := &j.people[s]
	u := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: euros(limitUnits)}
	if p.charged {
		u.Net, u.Corrects = euros(-limitUnits), &eventv1.Correction{Id: p.id, Time: p.at}
	}
	e, err := newEvent(fmt.Sprintf("e-%d-%d", run, i), "usage.charged", s, u)
	if err != nil {
		return nil, err
	}
	p.charged, p.id, p.at = !p.charged, e.GetId(), e.GetTime()
	return e, nil
}

// rejections describes some events that were rejected.
func (j *journey) rejections(ctx context.Context) error {
	var all []error
	for p := range j.o.partitions {
		records, err := j.fleet.Follow(stream.EventsRejected, int32(p)).Read(ctx)
		if err != nil {
			return err
		}
		for _, r := range records[:min(1, len(records))] {
			id, _ := r.Header(event.HeaderID)
			reason, _ := r.Header(event.HeaderReason)
			detail, _ := r.Header(event.HeaderDetail)
			all = append(all, fmt.Errorf("one of %d rejected in partition %d: %s %s: %s", len(records), p, id, reason, detail))
		}
	}
	return errors.Join(all...)
}
