package model

import (
	"time"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// refunded is what is left to be given back of an event, and when something was given back last.
type refunded struct {
	left int64
	at   time.Time
}

// nothingLeft is a mark: it knows what was refunded, and not what was left.
func (p *person) nothingLeft() {
	for k, r := range p.refunds {
		p.refunds[k] = refunded{0, r.at}
	}
}

// givenBack is the most that a refund takes off one option.
func givenBack(all []counted) (most int64) {
	for _, c := range all {
		if c.amount < 0 {
			most = max(most, -max(c.amount, -9_223_372_036_854_775_807))
		}
	}
	return most
}

// corrected names what a refund takes back.
func (t *turn) corrected(c *eventv1.Correction) string {
	if c.GetSource() == "" {
		return reference(t.event.Source, c.GetId())
	}
	return reference(c.GetSource(), c.GetId())
}

// remains is what a refund leaves of the event that it takes back, or why it is more than there is.
func (t *turn) remains(c *eventv1.Correction, back int64) (left int64, reason string) {
	if back == 0 {
		return 0, ""
	}
	worth, bounded := t.worth(c)
	switch {
	case !bounded:
		return 0, ""
	case worth < back:
		return 0, "CORRECTS_EXCEEDED"
	}
	return worth - back, ""
}

// worth is what may be given back, unless nobody knows: it is the first refund then, and no other is taken.
func (t *turn) worth(c *eventv1.Correction) (worth int64, bounded bool) {
	name := t.corrected(c)
	hour := func(at time.Time) int64 { return at.UnixMilli() / 3_600_000 }
	if r, ok := t.person.refunds[name]; ok && hour(r.at) >= hour(t.at)-int64(t.world.window(t.person.tenant).Hours()) {
		return r.left, true
	}
	for _, call := range t.person.calls {
		if call.charge && call.key == name && t.at.Sub(call.at) < callsWindow {
			return call.worth, true
		}
	}
	if m := c.GetAmount(); m != nil {
		worth, _ = Nanos(m)
		return worth, true
	}
	return 0, false
}
