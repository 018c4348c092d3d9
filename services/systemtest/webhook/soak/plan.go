package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

// plan plans deliveries as trigger does: ordered ones of a few subjects for each endpoint, and some without an order, a part
// of them with an end.
type plan struct {
	*soak.Plan
	endpoints *endpoints
	topic     string
	rand      *rand.Rand
	count     int
	keys      map[string]*delivery.Delivery // the last of each
	// first is the number of the first endpoint that gets any.
	first int
}

func newPlan(b *soak.Bed, c *soak.Check, e *endpoints, seed uint64) *plan {
	p := &plan{
		Plan: soak.NewPlan(b, c, seed, batch), endpoints: e, topic: b.Fleet.Client.Topic("deliveries.webhook"),
		rand: rand.New(rand.NewPCG(seed, 5)), keys: map[string]*delivery.Delivery{},
	}
	p.Next = p.next
	return p
}

const (
	batch = 20
	keys  = 5
)

// next makes a delivery.
func (p *plan) next() (*soak.Planned, stream.Record, error) {
	p.count++
	now := time.Now()
	i := p.first + p.rand.IntN(endpointCount+healthyCount-p.first)
	key := p.rand.IntN(keys + 1)
	one := &soak.Planned{To: endpointID(i), At: now}
	if i < victims {
		one.Ends = append(one.Ends, "cancelled")
	}
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
	switch {
	case key < keys:
		one.Key = d.Endpoint + " " + d.Event.Subject
		d.Ordered, d.Sequence = true, 1
		if before := p.keys[one.Key]; before != nil {
			d.Sequence, d.Previous = before.Sequence+1, before.ID
		}
		p.keys[one.Key] = &delivery.Delivery{ID: d.ID, Sequence: d.Sequence}
	case p.rand.IntN(4) == 0:
		one.Ends = append(one.Ends, "expired")
		d.ExpiresAt = now.Add(time.Duration(1+p.rand.IntN(10)) * time.Second)
	}
	one.ID, one.Sequence, one.Content = d.ID, d.Sequence, content(d.Body, d.Sequence, d.Previous)
	r, err := d.Record(p.topic)
	return one, r, err
}

// window plans for endpoints from first on, as many for each as ever.
func (p *plan) window(ctx, stretch context.Context, first int) error {
	p.first, p.Batch = first, batch*(endpointCount+healthyCount-first)/(endpointCount+healthyCount)
	return p.Run(ctx, stretch)
}
