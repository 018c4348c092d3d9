package safeguard

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// used counts usage that rating has priced.
func (t *turn) used(u *eventv1.UsageCharged) {
	switch {
	case !t.exists || t.sub.gone():
		t.refuse(refusedUnknown, "no active subscriber has this MSISDN: send subscriber.activated first, then this event again")
		return
	case t.eventTime.Before(t.sub.activated):
		t.refuse(refusedBefore, "the usage is from before the subscriber's activation at "+t.sub.activated.Format(time.RFC3339)+": it belongs to whoever had the number before")
		return
	}
	c := t.catalog.class(t.tenant, t.sub.class)
	if c == nil {
		t.refuse(refusedClass, fmt.Sprintf("class of service %q of the subscriber is not configured: create or undelete it, then send this event again", t.sub.class))
		return
	}
	t.follow(c)
	if c.data == nil || u.GetBlocked() {
		return // a barred service costs nothing: the event is recorded, in the log, and no more
	}
	if c.data.scope.err != nil {
		t.refuse(refusedScope, fmt.Sprintf("the scope of class of service %q can't be read: correct it, then send this event again: %v", t.sub.class, c.data.scope.err))
		return
	}
	in, err := c.data.scope.Holds(u)
	if err != nil {
		t.refuse(refusedScope, fmt.Sprintf("the scope of class of service %q fails for this event: correct it, then send this event again: %v", t.sub.class, err))
		return
	}
	if !in {
		return
	}
	if asked, ok := t.read(u, c.data); ok {
		t.count(asked, c.data)
	}
}

// read is what the usage asks of an option; not ok where it was refused.
func (t *turn) read(u *eventv1.UsageCharged, o *offer) (charge, bool) {
	var m *money.Money
	basis := "net"
	if m = u.GetNet(); o.gross {
		m, basis = u.GetGross(), "gross"
	}
	if m == nil {
		t.refuse(refusedMissing, "the option counts "+basis+" amounts, and the event has none: rate it with both net and gross")
		return charge{}, false
	}
	amount, err := spend.MoneyOf(m.GetCurrencyCode(), m.GetUnits(), m.GetNanos())
	switch {
	case errors.Is(err, spend.ErrCurrency), err == nil && amount.Currency != o.limit.Currency:
		t.refuse(refusedCurrency, fmt.Sprintf("the amount is in %.10q, the option counts %s: there is no conversion", m.GetCurrencyCode(), o.limit.Currency))
		return charge{}, false
	case err != nil:
		t.refuse(refusedAmount, basis+": "+err.Error())
		return charge{}, false
	}
	asked := charge{amount: amount.Amount, at: t.eventTime}
	if asked.amount >= 0 {
		return asked, true
	}
	corrects := u.GetCorrects()
	if corrects.GetId() == "" || corrects.GetTime() == nil {
		t.refuse(refusedCorrects, "a negative amount needs corrects with id and time of what it takes back")
		return charge{}, false
	}
	if at := time.UnixMilli(corrects.GetTime().AsTime().UnixMilli()).UTC(); at.Before(t.at) {
		asked.at = at
	} else {
		asked.at = t.at
	}
	if asked.at.Before(t.sub.activated) {
		t.refuse(refusedBefore, "the refund is for usage from before the subscriber's activation at "+t.sub.activated.Format(time.RFC3339))
		return charge{}, false
	}
	return asked, true
}
