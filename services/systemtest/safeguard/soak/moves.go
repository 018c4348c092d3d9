package main

import (
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// heldMost is how much is sent about a subscriber that may be on the way to a number that is taken: what is held for one
// number has a bound, which the model does not know.
const heldMost = 150

// move gives a person another number: a new one, the one before, or one that is in use. Most of the last are refused, for the
// number is active; now and then its subscriber leaves it first, or wants the other's number in turn.
func (t *traffic) move(p *person) (stream.Record, error) {
	other := t.people[t.rand.IntN(len(t.people))]
	free := other != p && other.alive && !other.moving
	switch n := t.rand.IntN(100); {
	case n < 15 && p.previous != "":
		return t.goes(p, p.previous)
	case n < 35 && free:
		return t.goes(p, other.number)
	case n < 45 && free:
		to := other.number
		first, err := t.leaves(other)
		if err != nil {
			return first, err
		}
		return first, t.after(p, to)
	case n < 50 && free:
		from, to := p.number, other.number
		first, err := t.goes(p, to)
		if err != nil {
			return first, err
		}
		return first, t.after(other, from)
	default:
		return t.leaves(p)
	}
}

// leaves gives a person a new number; events use it from now on, though the transfer may not have ended.
func (t *traffic) leaves(p *person) (stream.Record, error) {
	to := t.number()
	r, err := t.goes(p, to)
	p.number, p.previous, p.to = to, p.number, ""
	return r, err
}

// goes asks for a number that may be taken: the person keeps its own until the result is known.
func (t *traffic) goes(p *person, to string) (stream.Record, error) {
	r, err := t.recordOf(p, &eventv1.Event{Type: "subscriber.msisdn_changed"}, &eventv1.SubscriberMsisdnChanged{NewMsisdn: to})
	p.to, p.moving = to, true
	return r, err
}

// after is a move that is sent next.
func (t *traffic) after(p *person, to string) error {
	r, err := t.goes(p, to)
	t.then = append(t.then, r)
	return err
}

// rests is called at a quiet point: by then every transfer has ended or was refused. alive reports which numbers have a
// subscriber.
func (t *traffic) rests(alive func(number string) bool) {
	had := map[string]bool{}
	for i, p := range t.people {
		if p.to != "" && !alive(p.number) && alive(p.to) {
			p.number, p.previous = p.to, p.number
		}
		p.to, p.moving, p.held = "", false, 0
		if p.alive {
			p.alive = alive(p.number)
		}
		if had[p.number] { // two believe to have it: one of them is new
			t.people[i] = &person{number: t.number()}
		}
		had[p.number] = true
	}
	t.publish()
}
