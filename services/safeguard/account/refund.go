package account

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// maxRefunds bounds the events of which a part was given back and the rest is remembered. Of one that is pushed out
// nothing more is given back.
const maxRefunds = 16

// refund is what is left to be given back of an event whose amount is known. Of all others that were refunded nothing is
// left: the reference is among the record's ids.
type refund struct {
	reference uint64
	left      spend.Amount
	// hour of log time of the last refund, since 1970: it is remembered as long as ids are.
	hour int64
}

func shortOf(reference event.Identity) uint64 { return binary.BigEndian.Uint64(reference[:8]) }

// window is how long the subscriber's ids are remembered.
func (t *turn) window() time.Duration { return t.catalog.Tenant(t.tenant).DedupWindow }

// firstHour is the first one whose refunds are remembered, hour that of the event.
func (t *turn) firstHour() (first, hour int64) {
	hour = t.at.UnixMilli() / time.Hour.Milliseconds()
	return hour - int64((t.window()+time.Hour-1)/time.Hour), hour
}

// gives notes what an option counts of a refund.
func (t *turn) gives(amount spend.Amount, currency string) {
	if amount < 0 {
		back := -max(amount, -spend.Max)
		t.giving, t.givingIn = max(t.giving, back), currency
	}
}

// giveBack takes what a refund gives back off what its event was worth, and refuses it where that is more than is left.
func (t *turn) giveBack(c *eventv1.Correction) {
	if t.giving == 0 || t.refused() {
		return
	}
	reference := event.Reference(t.tenant, cmp.Or(c.GetSource(), t.event.Source), c.GetId())
	left, known := t.leftOf(reference, c)
	switch {
	case t.refused():
		return
	case left < t.giving:
		t.refuse(refusedExceeded, fmt.Sprintf("the refund gives back %s, and %s is left of event %.80q after the refunds that were counted: send one refund of an event, or all of them with corrects.amount, what it was worth", t.giving, left, c.GetId()))
		return
	}
	first, hour := t.firstHour()
	short := shortOf(reference)
	kept := slices.DeleteFunc(slices.Clone(t.sub.refunds), func(r refund) bool { return r.reference == short || r.hour < first })
	if left -= t.giving; known && left > 0 {
		kept = append(kept, refund{short, left, hour})
	}
	t.sub.refunds = kept[max(0, len(kept)-maxRefunds):]
	t.refunded = append(t.refunded, reference)
}

// leftOf is what may still be given back of an event; known where that is its amount, less what was given back.
func (t *turn) leftOf(reference event.Identity, c *eventv1.Correction) (left spend.Amount, known bool) {
	first, _ := t.firstHour()
	for _, r := range t.sub.refunds {
		if r.reference == shortOf(reference) && r.hour >= first {
			return r.left, true
		}
	}
	if slices.Contains(t.refunded, reference) || t.past != nil && t.past.Remembers(reference) {
		return 0, false
	}
	if c.GetSource() == ChargeSource && t.past != nil {
		if worth, ok := t.past.Counted(reference); ok {
			return spend.Amount(worth), true
		}
	}
	m := c.GetAmount()
	if m == nil {
		return spend.Max, false
	}
	worth, err := spend.MoneyOf(m.GetCurrencyCode(), m.GetUnits(), m.GetNanos())
	switch {
	case err != nil && !errors.Is(err, spend.ErrCurrency), worth.Amount < 0:
		t.refuse(reason.AmountInvalid, "corrects.amount must be what the corrected event was worth, not below 0, in the refund's currency")
	case err != nil || worth.Currency != t.givingIn:
		t.refuse(reason.CurrencyMismatch, fmt.Sprintf("corrects.amount is in %.10q, the refund in %s: there is no conversion", m.GetCurrencyCode(), t.givingIn))
	}
	return worth.Amount, true
}
