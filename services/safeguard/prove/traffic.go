package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/tollgate/fleettest"
	"github.com/tollgate/tollgate/services/tollgate/ledger"
)

const (
	subscribers = 2000
	perSecond   = 2000
	// recent is how far back, among a subscriber's events, one is sent again.
	recent = 200

	limitUnits = 50
	percent    = 80

	eventsOrdered = stream.EventsOrdered
)

var rule = ledger.Rule{Limit: limitUnits * ledger.Unit, Alert: limitUnits * ledger.Unit / 100 * percent}

func resources(now time.Time) []proto.Message {
	// No period ends while it runs.
	day := int32(1)
	if now.Day() >= 24 || now.Day() < 8 {
		day = 15
	}
	return []proto.Message{
		// Usage of a number that nobody has is rejected at once: the end of the traffic is known by it.
		&configv1.Tenant{Name: "tenants/acme", Subscribers: &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(0)}},
		&configv1.ClassOfService{Name: "tenants/acme/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{
			Limit: &money.Money{CurrencyCode: "EUR", Units: limitUnits}, RenewalDay: day,
			AlertThresholds: []*configv1.AlertThreshold{{Threshold: &configv1.AlertThreshold_Percent{Percent: percent}}},
		}},
	}
}

func msisdn(s int) string { return fmt.Sprintf("4479%08d", s) }

// traffic is usage that goes up to the limit and past it, and is refunded, again and again; and the model of it.
type traffic struct {
	fleet    *fleettest.Fleet
	producer *stream.Producer
	inbound  string
	rand     *rand.Rand
	people   []*person

	sent, repeats int
}

// person is one subscriber.
type person struct {
	msisdn  string
	account *ledger.Account
	// records are the latest events as they were sent; charges those that no refund took back.
	records []stream.Record
	charges []charge
	events  int
}

type charge struct {
	id     string
	at     *timestamppb.Timestamp
	amount int64
}

func newTraffic(f *fleettest.Fleet, seed uint64) *traffic {
	return &traffic{
		// A broker that comes back may not know its topics for a while.
		fleet: f, producer: f.Client.NewProducer(stream.UnknownTopicAfter(2 * time.Minute)), inbound: f.Client.Topic(stream.EventsInbound),
		rand: rand.New(rand.NewPCG(seed, 1)),
	}
}

func (t *traffic) record(e *eventv1.Event, data proto.Message) (stream.Record, error) {
	packed, err := anypb.New(data)
	if err != nil {
		return stream.Record{}, err
	}
	e.Source, e.Tenant, e.Data = "mediation", "acme", packed
	if e.GetTime() == nil {
		e.Time = timestamppb.New(time.UnixMilli(time.Now().UnixMilli()))
	}
	value, err := proto.Marshal(e)
	return stream.Record{Topic: t.inbound, Partition: stream.AnyPartition, Key: []byte("acme/" + e.GetSubject()), Value: value}, err
}

func (t *traffic) send(ctx context.Context, records []stream.Record) error {
	if err := t.producer.Produce(ctx, records...); err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	t.sent += len(records)
	return nil
}

func (t *traffic) activate(ctx context.Context) error {
	var records []stream.Record
	for s := range subscribers {
		id := fmt.Sprintf("activation-%d", s)
		r, err := t.record(&eventv1.Event{Id: id, Type: "subscriber.activated", Subject: msisdn(s)}, &eventv1.SubscriberActivated{ClassOfService: "roamer"})
		if err != nil {
			return err
		}
		records = append(records, r)
		t.people = append(t.people, &person{msisdn: msisdn(s), account: rule.Open(id)})
	}
	return t.send(ctx, records)
}

// run sends until stop is closed. While Kafka is away it waits, and does not catch up.
func (t *traffic) run(ctx context.Context, stop <-chan struct{}) error {
	const each = 50 * time.Millisecond
	tick := time.NewTicker(each)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return t.producer.Close(ctx)
		case <-tick.C:
		}
		records := make([]stream.Record, int(perSecond*each/time.Second))
		for i := range records {
			var err error
			if records[i], err = t.next(t.people[t.rand.IntN(subscribers)]); err != nil {
				return err
			}
		}
		if err := t.send(ctx, records); err != nil {
			return err
		}
	}
}

// next draws one event of a subscriber and counts it.
func (t *traffic) next(p *person) (stream.Record, error) {
	if len(p.records) > 0 && t.rand.IntN(100) < 7 {
		t.repeats++
		return p.records[t.rand.IntN(len(p.records))], nil
	}
	p.events++
	id := fmt.Sprintf("%s-%d", p.msisdn, p.events)
	u := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true}
	// Past the limit refunds become likely, so that there is something to tell all the time.
	back := p.account.Blocked && t.rand.IntN(100) < 60 || len(p.charges) > 0 && t.rand.IntN(100) < 3
	amount := t.rand.Int64N(20*ledger.Unit) + 1
	if back && len(p.charges) > 0 {
		i := t.rand.IntN(len(p.charges))
		c := p.charges[i]
		p.charges[i] = p.charges[len(p.charges)-1]
		p.charges = p.charges[:len(p.charges)-1]
		u.Net, u.Corrects = euro(-c.amount), &eventv1.Correction{Id: c.id, Time: c.at}
		p.account.Refund(id, c.amount)
		return t.remember(p, &eventv1.Event{Id: id, Type: "usage.charged", Subject: p.msisdn}, u)
	}
	u.Net = euro(amount)
	e := &eventv1.Event{Id: id, Type: "usage.charged", Subject: p.msisdn, Time: timestamppb.New(time.UnixMilli(time.Now().UnixMilli()))}
	p.account.Charge(id, amount)
	p.charges = append(p.charges, charge{id, e.GetTime(), amount})
	return t.remember(p, e, u)
}

func (t *traffic) remember(p *person, e *eventv1.Event, u *eventv1.UsageCharged) (stream.Record, error) {
	r, err := t.record(e, u)
	if len(p.records) < recent {
		p.records = append(p.records, r)
	} else {
		p.records[p.events%recent] = r
	}
	return r, err
}

func euro(nanos int64) *money.Money {
	return &money.Money{CurrencyCode: "EUR", Units: nanos / ledger.Unit, Nanos: int32(nanos % ledger.Unit)}
}

// awaitEnd sends an event of nobody behind the last of each partition, and returns once all of them were rejected: by then
// everything before was worked.
func (t *traffic) awaitEnd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	producer := t.fleet.Client.NewProducer()
	waiting := map[string]bool{}
	marked := map[int32]bool{}
	for n := 0; len(marked) < partitions; n++ {
		subject := fmt.Sprintf("nobody/%d", n)
		p := stream.PartitionOf([]byte("acme/"+subject), partitions)
		if marked[p] {
			continue
		}
		marked[p] = true
		id := fmt.Sprintf("marker-%d", n)
		waiting[id] = true
		r, err := t.record(&eventv1.Event{Id: id, Type: "usage.charged", Subject: subject}, &eventv1.UsageCharged{Net: euro(1)})
		if err != nil {
			return err
		}
		if err := producer.Produce(ctx, r); err != nil {
			return fmt.Errorf("send markers: %w", err)
		}
	}
	tails := make([]*fleettest.Tail, partitions)
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
				id, _ := r.Header("ce_id")
				if !waiting[string(id)] {
					reason, _ := r.Header("tollgate-reason")
					detail, _ := r.Header("tollgate-detail")
					say("rejected: %s %s: %s", id, reason, detail)
				}
				delete(waiting, string(id))
			}
		}
		pause(ctx, 50*time.Millisecond)
	}
	return producer.Close(ctx)
}
