package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/kills"
)

// planned is a delivery that stands on the topic.
type planned struct {
	id, endpoint, previous string
	// key is its ordering key; empty where it has none.
	key      string
	sequence int64
	body     [sha256.Size]byte
	// expires: it may end unsent.
	expires bool
	victim  bool
	at      time.Time
}

// plan plans deliveries as trigger does: ordered ones of a few subjects for each endpoint, and some without an order, a part
// of them with an end.
type plan struct {
	bed       *bed
	endpoints *endpoints
	rand      *rand.Rand
	count     int
	keys      map[string]*planned // the last of each
	// batch is how many deliveries a tick, to the endpoints from first on.
	batch, first int

	mu  sync.Mutex
	all map[string]*planned
}

func newPlan(b *bed, e *endpoints, seed uint64) *plan {
	return &plan{bed: b, endpoints: e, rand: rand.New(rand.NewPCG(seed, 5)), keys: map[string]*planned{}, batch: batch, all: map[string]*planned{}}
}

func (p *plan) number() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// Rates: a batch every tick, and one in repeats is published twice, as a planner that was killed does.
const (
	tick    = 50 * time.Millisecond
	batch   = 20
	repeats = 40
	keys    = 5
)

// run plans until stretch ends.
func (p *plan) run(ctx, stretch context.Context) error {
	producer := p.bed.fleet.Client.NewProducer()
	defer producer.Close(context.WithoutCancel(ctx)) //nolint:errcheck // each batch was acknowledged
	topic := p.bed.fleet.Client.Topic("deliveries.webhook")
	var last []stream.Record
	for kills.Pause(stretch, tick) {
		var records []stream.Record
		var fresh []*planned
		for range p.batch {
			one, r, err := p.next(topic)
			if err != nil {
				return err
			}
			fresh, records = append(fresh, one), append(records, r)
		}
		p.mu.Lock() // before a receiver can have them
		for _, one := range fresh {
			p.all[one.id] = one
		}
		p.mu.Unlock()
		if err := publish(ctx, producer, records); err != nil {
			return err
		}
		if last != nil && p.rand.IntN(repeats) == 0 {
			if err := publish(ctx, producer, last); err != nil {
				return err
			}
		}
		last = records
	}
	return nil
}

// publish waits until each is acknowledged. What was not is published again with what stands behind it, so that the order of
// an ordering key holds; what stood there already is a repeat.
func publish(ctx context.Context, producer *stream.Producer, records []stream.Record) error {
	for {
		calling, cancel := context.WithTimeout(ctx, 30*time.Second)
		_, err := producer.ProduceResults(calling, records...)
		cancel()
		if err == nil {
			return nil
		}
		if !kills.Pause(ctx, 200*time.Millisecond) {
			return fmt.Errorf("publish deliveries: %w", err)
		}
	}
}

// next makes a delivery.
func (p *plan) next(topic string) (*planned, stream.Record, error) {
	p.count++
	now := time.Now()
	i := p.first + p.rand.IntN(endpointCount+healthyCount-p.first)
	key := p.rand.IntN(keys + 1)
	one := &planned{endpoint: endpointID(i), victim: i < victims, at: now}
	d := &delivery.Delivery{
		Tenant: "acme", Notification: "each", NotificationVersion: 1, Action: "notify", Endpoint: endpointName(i),
		Event: delivery.EventReference{
			Source: "soak", ID: fmt.Sprint(p.count), Type: "usage.charged", Subject: fmt.Sprintf("4479%04d%02d", i, key), Time: now,
			Topic: "events.ordered",
		},
		ContentType: "application/json", Body: fmt.Appendf(nil, `{"number":%d,"padding":"%0*d"}`, p.count, 50+p.rand.IntN(500), 0),
		PlannedAt: now, Revision: p.endpoints.planned(),
	}
	d.ID = delivery.NewID(now, d.Tenant, d.Event.Source, d.Event.Subject, d.Event.ID, d.Notification, d.Action, "", d.Endpoint)
	one.id, one.body = d.ID, sha256.Sum256(d.Body)
	switch {
	case key < keys:
		one.key = d.Endpoint + " " + d.Event.Subject
		one.sequence = 1
		if before := p.keys[one.key]; before != nil {
			one.sequence, one.previous = before.sequence+1, before.id
		}
		d.Ordered, d.Sequence, d.Previous = true, one.sequence, one.previous
		p.keys[one.key] = one
	case p.rand.IntN(4) == 0:
		one.expires = true
		d.ExpiresAt = now.Add(time.Duration(1+p.rand.IntN(10)) * time.Second)
	}
	r, err := d.Record(topic)
	return one, r, err
}
