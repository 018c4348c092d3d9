package main

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// charge is usage that may be given back.
type charge struct {
	id    string
	at    *timestamppb.Timestamp
	usage *eventv1.UsageCharged

	// left of it after the refunds that were sent, in billionths, and how many events its person had at the last of them.
	left int64
	last int
}

const (
	// partsMost is how many events of one person are given back in parts: what is left of each is remembered, of a bounded
	// number of them, which the model does not know.
	partsMost = 8
	// againWithin is how many events of a person later something is given back again: ids are remembered in a bounded
	// number, which the model does not know either.
	againWithin = 200
	// againAmong are the last that were given back.
	againAmong = 8
)

// refund gives usage back: whole or in parts, once more than there is, and what was never counted.
func (t *traffic) refund(p *person, e *eventv1.Event) (stream.Record, error) {
	i := t.rand.IntN(len(p.charges))
	c := p.charges[i]
	worth := worthOf(c)
	switch n := t.rand.IntN(100); {
	case n < 25 && len(p.parts) < partsMost:
		t.drop(p, i)
		c.left, c.last = worth, p.events
		p.parts = append(p.parts, c)
		return t.part(p, e, c)
	case n < 45 && len(p.parts) > 0:
		if c := p.parts[t.rand.IntN(len(p.parts))]; p.events-c.last < againWithin && (c.left > 0 || t.chance(200)) {
			return t.part(p, e, c)
		}
	case n < 55 && len(p.refunded) > 0:
		if c := p.refunded[t.rand.IntN(len(p.refunded))]; p.events-c.last < againWithin {
			return t.back(p, e, c, worthOf(c), t.chance(500))
		}
	case n < 60:
		return t.back(p, e, c, worth+1+t.rand.Int64N(model.Unit), true)
	case n < 65: // the same one a few times
		never := *c
		never.id = fmt.Sprintf("%s-never-%d", p.name, p.events/20)
		return t.back(p, e, &never, worth, t.chance(500))
	}
	t.drop(p, i)
	c.last = p.events
	if len(p.refunded) == againAmong {
		p.refunded = p.refunded[1:]
	}
	p.refunded = append(p.refunded, c)
	return t.back(p, e, c, worth, t.chance(300))
}

// drop takes a charge from those that may be given back.
func (t *traffic) drop(p *person, i int) {
	last := len(p.charges) - 1
	p.charges[i] = p.charges[last]
	p.charges = p.charges[:last]
}

// part gives back a part of what is left, or all of it, and now and then more than that.
func (t *traffic) part(p *person, e *eventv1.Event, c *charge) (stream.Record, error) {
	amount := 1 + t.rand.Int64N(max(c.left, 1))
	switch {
	case t.chance(150):
		amount = c.left + 1
	case t.chance(150) && c.left > 0:
		amount = c.left
	}
	if amount <= c.left {
		c.left -= amount
	}
	c.last = p.events
	return t.back(p, e, c, amount, t.chance(900))
}

// back gives an amount back of a charge, and may give what the charge was worth.
func (t *traffic) back(p *person, e *eventv1.Event, c *charge, amount int64, bounded bool) (stream.Record, error) {
	back := taken(c, amount)
	if bounded {
		back.Corrects.Amount = c.usage.GetNet()
	}
	if t.chance(5) {
		back.Corrects = nil // an error
	}
	return t.recordOf(p, e, back)
}

// taken is a refund of an amount of a charge.
func taken(c *charge, amount int64) *eventv1.UsageCharged {
	back := proto.CloneOf(c.usage)
	back.Net = model.Money(-amount, c.usage.GetNet().GetCurrencyCode())
	back.Corrects = &eventv1.Correction{Id: c.id, Time: c.at}
	return back
}

func worthOf(c *charge) int64 {
	n, _ := model.Nanos(c.usage.GetNet())
	return n
}
