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

// nothingLeft is for a tombstone: it keeps what was refunded, and not what was left.
func (p *person) nothingLeft() {
	for k, r := range p.refunds {
		p.refunds[k] = refunded{0, r.at}
	}
}

// givenBack is the most that a refund takes off one option, and its currency.
func givenBack(all []counted) (most int64, currency string) {
	for _, c := range all {
		if c.amount < 0 {
			most, currency = max(most, -max(c.amount, -9_223_372_036_854_775_807)), c.rule.currency
		}
	}
	return most, currency
}

// corrected names what a refund takes back.
func (t *turn) corrected(c *eventv1.Correction) string {
	if c.GetSource() == "" {
		return reference(t.event.Source, c.GetId())
	}
	return reference(c.GetSource(), c.GetId())
}

// remains is what a refund leaves of the event that it takes back, or why it can't be taken.
func (t *turn) remains(c *eventv1.Correction, back int64, currency string) (left int64, reason string) {
	worth, bounded, reason := t.worth(c, currency)
	switch {
	case reason != "":
		return 0, reason
	case !bounded:
		return 0, ""
	case worth < back:
		return 0, "CORRECTS_EXCEEDED"
	}
	return worth - back, ""
}

// worth is what may be given back. Where it is not known, the first refund is taken and no other. The amount that a refund
// gives for it is read where nothing is known yet.
func (t *turn) worth(c *eventv1.Correction, currency string) (worth int64, bounded bool, reason string) {
	name := t.corrected(c)
	hour := func(at time.Time) int64 { return at.UnixMilli() / 3_600_000 }
	if r, ok := t.person.refunds[name]; ok && hour(r.at) >= hour(t.at)-int64(t.partition.window(t.person.tenant).Hours()) {
		return r.left, true, ""
	}
	for _, call := range t.person.calls {
		if call.charge && call.key == name && t.at.Sub(call.at) < callsWindow {
			return call.worth, true, ""
		}
	}
	m := c.GetAmount()
	if m == nil {
		return 0, false, ""
	}
	worth, ok := Nanos(m)
	switch {
	case !ok || worth < 0:
		return 0, false, "AMOUNT_INVALID"
	case m.GetCurrencyCode() != currency:
		return 0, false, "CURRENCY_MISMATCH"
	}
	return worth, true, ""
}
