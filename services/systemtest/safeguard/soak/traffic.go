package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

const (
	perSecond = 4000
	// idsOfOne is how many events a subscriber gets at most, on average: those of four, which changes of number can bring
	// together, stay below the 1,024 ids that the service remembers of a subscriber. The model forgets none.
	idsOfOne = 240
	// recent is how far back, among a subscriber's events, one is sent again.
	recent = 50

	eventsOrdered = stream.EventsOrdered
)

// traffic is whatever may be sent about subscribers: usage that goes up to limits and past them and is refunded, again and
// again, repeats, errors, and the life of subscribers. It counts nothing: what must come of it is known by the model.
type traffic struct {
	fleet    *fleet.Fleet
	producer *stream.Producer
	inbound  string
	rand     *rand.Rand
	// subscribers is how many there are at once.
	subscribers int
	people      []*person
	numbers     int
	rows        int // events with an id that several subscribers have

	// subjects are numbers as they were a moment ago, for callers.
	subjects atomic.Pointer[[]subject]

	// then are records that are sent next.
	then []stream.Record

	// events that were acknowledged, by nameOf.
	ids           map[string]struct{}
	sent, repeats int
}

// subject is a number and its class of service.
type subject struct{ number, class string }

// whom is any subscriber.
func (t *traffic) whom(r *rand.Rand) subject {
	all := *t.subjects.Load()
	return all[r.IntN(len(all))]
}

func (t *traffic) publish() {
	all := make([]subject, len(t.people))
	for i, p := range t.people {
		all[i] = subject{p.number, p.class}
	}
	t.subjects.Store(&all)
}

// person is one subscriber, as far as traffic needs to know it.
type person struct {
	// name is its first number: its events are called by it.
	name, number, previous string
	class                  string
	alive                  bool
	// moving is true while its transfer may not have ended: events of its life would overtake it. to is the number that it
	// asked for where that may be refused, held is how much was sent about it since.
	moving bool
	to     string
	held   int
	// records are the latest events as they were sent; charges those that no refund took back.
	records []stream.Record
	charges []*charge
	events  int
	// parts are charges that are given back in parts, refunded the last that were given back as a whole.
	parts, refunded []*charge
}

func newTraffic(f *fleet.Fleet, seed uint64, length time.Duration) *traffic {
	return &traffic{
		subscribers: max(2000, int(length.Seconds())*perSecond/idsOfOne),
		// A broker that comes back may not know its topics for a while.
		fleet: f, producer: f.Client.NewProducer(stream.UnknownTopicAfter(2 * time.Minute)), inbound: f.Client.Topic(stream.EventsInbound),
		rand: rand.New(rand.NewPCG(seed, 1)), ids: map[string]struct{}{},
	}
}

func (t *traffic) chance(perMille int) bool { return t.rand.IntN(1000) < perMille }

// number is a new one.
func (t *traffic) number() string {
	t.numbers++
	return fmt.Sprintf("4479%08d", t.numbers)
}

func now() time.Time { return time.UnixMilli(time.Now().UnixMilli()) }

func (t *traffic) record(e *eventv1.Event, data proto.Message) (stream.Record, error) {
	packed, err := anypb.New(data)
	if err != nil {
		return stream.Record{}, err
	}
	e.Source, e.Tenant, e.Data = "mediation", "acme", packed
	if e.GetTime() == nil {
		e.Time = timestamppb.New(now())
	}
	value, err := proto.Marshal(e)
	return stream.Record{Topic: t.inbound, Partition: stream.AnyPartition, Key: []byte("acme/" + e.GetSubject()), Value: value}, err
}

// nameOf names an event: several subscribers may have one of the same id.
func nameOf(subject, id string) string { return subject + " " + id }

// recordOf is one event of a subscriber, which may be sent again.
func (t *traffic) recordOf(p *person, e *eventv1.Event, data proto.Message) (stream.Record, error) {
	if p.name == "" {
		p.name = p.number
	}
	p.events++
	if e.GetId() == "" {
		e.Id = fmt.Sprintf("%s-%d", p.name, p.events)
	}
	if e.GetSubject() == "" {
		e.Subject = p.number
	}
	r, err := t.record(e, data)
	if len(p.records) < recent {
		p.records = append(p.records, r)
	} else {
		p.records[p.events%recent] = r
	}
	t.ids[nameOf(e.GetSubject(), e.GetId())] = struct{}{}
	return r, err
}

func (t *traffic) send(ctx context.Context, records []stream.Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := t.producer.Produce(ctx, records...); err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	t.sent += len(records)
	return nil
}

func (t *traffic) activate(ctx context.Context) error {
	var records []stream.Record
	for range t.subscribers {
		p := &person{number: t.number()}
		t.people = append(t.people, p)
		r, err := t.begin(p)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	t.publish()
	return t.send(ctx, records)
}

// begin is an activation. It happened two months ago, so that there are earlier periods for what comes late.
func (t *traffic) begin(p *person) (stream.Record, error) {
	p.alive, p.class, p.charges, p.parts, p.refunded = true, classes[t.rand.IntN(len(classes))], nil, nil, nil
	at := now()
	if p.events == 0 {
		at = at.Add(-60 * 24 * time.Hour)
	}
	return t.recordOf(p, &eventv1.Event{Type: "subscriber.activated", Time: timestamppb.New(at)}, &eventv1.SubscriberActivated{ClassOfService: p.class})
}

// run sends until stop is closed. While Kafka is away it waits, and does not catch up.
func (t *traffic) run(ctx context.Context, stop <-chan struct{}) error {
	const each = 50 * time.Millisecond
	tick := time.NewTicker(each)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			rest := t.then
			t.then = nil
			return t.send(ctx, rest)
		case <-tick.C:
		}
		records := make([]stream.Record, int(perSecond*each/time.Second))
		for i := range records {
			var err error
			if records[i], err = t.next(t.people[t.rand.IntN(t.subscribers)]); err != nil {
				return err
			}
		}
		if err := t.send(ctx, records); err != nil {
			return err
		}
		t.publish()
	}
}

// next draws one event.
func (t *traffic) next(p *person) (stream.Record, error) {
	if len(t.then) > 0 {
		r := t.then[0]
		t.then = t.then[1:]
		return r, nil
	}
	if p.to != "" {
		if p.held++; p.held > heldMost {
			return t.use(t.stranger())
		}
	}
	if len(p.records) > 0 && t.chance(70) {
		t.repeats++
		return p.records[t.rand.IntN(len(p.records))], nil
	}
	switch n := t.rand.IntN(10_000); {
	case !p.alive && !p.moving && t.chance(500):
		return t.begin(p)
	case !p.alive, p.moving:
		return t.use(p)
	case n < 10:
		p.alive = false
		return t.recordOf(p, &eventv1.Event{Type: "subscriber.terminated"}, &eventv1.SubscriberTerminated{})
	case n < 25:
		p.class, p.charges = classes[t.rand.IntN(len(classes))], nil
		return t.recordOf(p, &eventv1.Event{Type: "subscriber.cos_changed"}, &eventv1.SubscriberClassOfServiceChanged{ClassOfService: p.class})
	case n < 50:
		return t.move(p)
	case n < 55:
		return t.recordOf(p, &eventv1.Event{Type: "subscriber.suspended"}, &eventv1.SubscriberStatusChanged{})
	case n < 60:
		return t.use(t.stranger())
	default:
		return t.use(p)
	}
}

// stranger is a number whose usage comes before its activation, which comes soon or never.
func (t *traffic) stranger() *person {
	p := &person{number: t.number()}
	if t.chance(500) {
		t.people[t.rand.IntN(len(t.people))] = p
	}
	return p
}

// use is usage, or a refund of usage.
func (t *traffic) use(p *person) (stream.Record, error) {
	e := &eventv1.Event{Type: "usage.charged", Time: timestamppb.New(now())}
	if p.previous != "" && t.chance(20) {
		e.Subject = p.previous
	}
	if n := len(p.charges); n > 0 && (n > 6 && t.chance(600) || t.chance(30)) {
		return t.refund(p, e)
	}
	u := &eventv1.UsageCharged{
		Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: t.chance(600), OutOfBundle: t.chance(500), ThirdParty: t.chance(400), Blocked: t.chance(10),
		Net: model.Money(t.rand.Int64N(20*model.Unit)+1, currency(p.class)),
	}
	switch n := t.rand.IntN(1000); {
	case n < 10: // late
		e.Time = timestamppb.New(now().Add(-time.Duration(t.rand.IntN(70*24)) * time.Hour))
	case n < 15: // by a clock that is ahead
		e.Time = timestamppb.New(now().Add(time.Duration(t.rand.IntN(600)) * time.Second))
	case n < 18:
		u.Net = nil
	case n < 21:
		u.Net.CurrencyCode = "CHF"
	case n < 24 && p.events > 1:
		e.Id = fmt.Sprintf("%s-%d", p.name, p.events) // of another event
	case n < 40: // of other subscribers too
		t.rows++
		e.Id = fmt.Sprintf("row-%d", t.rows/8)
		fallthrough
	default:
		defer func() { p.charges = append(p.charges, &charge{id: e.GetId(), at: e.GetTime(), usage: u}) }()
	}
	return t.recordOf(p, e, u)
}

// sendMarkers sends an event of an unknown number behind the last of each partition, and returns once all of them were
// rejected: by then everything before was worked.
func (t *traffic) sendMarkers(ctx context.Context, round int) error {
	ctx, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	producer := t.fleet.Client.NewProducer()
	waiting := map[string]bool{}
	marked := map[int32]bool{}
	for n := 0; len(marked) < partitions; n++ {
		subject := fmt.Sprintf("4400%08d", n)
		p := stream.PartitionOf([]byte("acme/"+subject), partitions)
		if marked[p] {
			continue
		}
		marked[p] = true
		id := fmt.Sprintf("marker-%d-%d", round, n)
		waiting[id] = true
		r, err := t.record(&eventv1.Event{Id: id, Type: "subscriber.terminated", Subject: subject}, &eventv1.SubscriberTerminated{})
		if err != nil {
			return err
		}
		if err := producer.Produce(ctx, r); err != nil {
			return fmt.Errorf("send markers: %w", err)
		}
	}
	tails := make([]*fleet.Tail, partitions)
	for p := range tails {
		tails[p] = t.fleet.Follow(stream.EventsRejected, int32(p))
	}
	for len(waiting) > 0 {
		for _, tail := range tails {
			records, err := tail.Read(ctx)
			if err != nil {
				return fmt.Errorf("wait for the end: %d partitions were not worked to their end: %w", len(waiting), err)
			}
			for _, r := range records {
				id, _ := r.Header(event.HeaderID)
				delete(waiting, string(id))
			}
		}
		pause.For(ctx, 50*time.Millisecond)
	}
	return producer.Close(ctx)
}
