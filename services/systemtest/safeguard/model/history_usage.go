package model

import (
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// aim is an amount that leads just below, to, or just above something of an option; 0 where there is nothing to aim at.
func (h *history) aim(v View) int64 {
	targets := []int64{}
	if v.Limited {
		targets = append(targets, v.Limit)
		for _, percent := range []int32{50, 80, 100, 150} {
			if at, ok := share(v.Limit, percent); ok {
				targets = append(targets, at)
			}
		}
	}
	targets = append(targets, 10*Unit, 100*Unit)
	return pick(h, targets) - v.Spent + int64(h.rand.IntN(3)) - 1
}

func (h *history) use(number string, views [3]View) {
	u := &eventv1.UsageCharged{
		Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: h.chance(60), OutOfBundle: h.chance(50), ThirdParty: h.chance(40),
		Blocked: h.chance(3), Quantity: int64(h.rand.IntN(1000)),
	}
	if h.chance(15) {
		u.Category = eventv1.UsageCharged_CATEGORY_VOICE
	}
	o := pick(h, h.mix.Options)
	v := views[o-1]
	amount := h.rand.Int64N(20 * Unit)
	if h.chance(50) {
		amount = h.aim(v)
	}
	e := h.event(number, "usage.charged", u)
	switch n := h.rand.IntN(100); {
	case n < 10: // of a while ago
		e.Time = h.now.Add(-time.Duration(h.rand.IntN(3*3600)) * time.Second)
	case n < 16: // days ago
		e.Time = h.now.Add(-time.Duration(h.rand.IntN(45*24)) * time.Hour)
	case n < 20: // of a moment about the beginning of the period
		e.Time = v.Start.Add(pick(h, []time.Duration{-time.Millisecond, 0, time.Millisecond}))
	case n < 23:
		e.Time = h.now.Add(time.Duration(h.rand.IntN(900)) * time.Second)
	}
	if e.Time.Before(h.now.Add(-500 * 24 * time.Hour)) {
		e.Time = h.now
	}
	if amount < 0 || h.chance(20) {
		amount = -max(amount, -amount)
		if h.chance(96) {
			u.Corrects = &eventv1.Correction{Id: h.takenBack(number), Time: timestamppb.New(h.corrected(v))}
			h.refundOfCharge(u, number)
		}
	}
	h.price(u, amount, v)
	if u.GetCorrects() != nil && h.chance(50) {
		u.Corrects.Amount = h.worth(-amount, u.GetNet().GetCurrencyCode())
	}
	h.add(Step{At: h.stamp(), Event: e})
}

// takenBack is the id of what a refund takes back: an event of the number, a refund among them, once or more often; or one
// that never was.
func (h *history) takenBack(number string) string {
	var ids []string
	for _, s := range h.sent {
		if s.event.Type == "usage.charged" && s.event.Subject == number {
			ids = append(ids, s.event.ID)
		}
	}
	if len(ids) == 0 || h.chance(40) {
		return fmt.Sprintf("ghost-%d", h.rand.IntN(8))
	}
	return pick(h, ids[max(0, len(ids)-8):])
}

// corrected is when what a refund takes back happened.
func (h *history) corrected(v View) time.Time {
	switch n := h.rand.IntN(100); {
	case n < 65:
		return h.now
	case n < 75:
		return h.now.Add(time.Duration(h.rand.IntN(3600)) * time.Second)
	case n < 85 && v.Offered:
		return v.Start.Add(pick(h, []time.Duration{-time.Millisecond, 0, time.Millisecond}))
	default:
		return h.now.Add(-time.Duration(h.rand.IntN(60*24)) * time.Hour)
	}
}

// refundOfCharge sometimes takes back a charge that was counted, or one that was not.
func (h *history) refundOfCharge(u *eventv1.UsageCharged, number string) {
	if !h.mix.Calls || !h.chance(30) {
		return
	}
	u.ThirdParty = true
	u.Corrects.Source, u.Corrects.Time = chargeSource, timestamppb.New(h.now)
	for _, s := range slices.Backward(h.sent) {
		if s.event.Type == "command.charge" && s.event.Subject == number && h.now.Sub(s.at) < 20*time.Hour {
			u.Corrects.Id = s.event.ID
			return
		}
	}
}

// worth is the amount that a refund gives for what it takes back: as much, more, less, or an impossible one.
func (h *history) worth(back int64, currency string) *money.Money {
	if back <= math.MaxInt64/3 {
		back = back * pick(h, []int64{1, 1, 2, 3}) / pick(h, []int64{1, 1, 2})
	}
	switch n := h.rand.IntN(100); {
	case n < 3:
		return Money(-back-1, currency)
	case n < 6:
		return Money(back, "CHF")
	case n < 8:
		return &money.Money{CurrencyCode: currency, Units: math.MaxInt64}
	}
	return Money(back, currency)
}

// price sets an amount in all the ways that an option may count, sometimes with an error. One error at a time: which of two
// is reported is left open.
func (h *history) price(u *eventv1.UsageCharged, amount int64, v View) {
	currency := v.Currency
	if currency == "" {
		currency = "EUR"
	}
	if h.chance(3) {
		currency = "CHF"
	}
	m := Money(amount, currency)
	u.Net, u.Gross, u.WholesaleNet, u.WholesaleGross = m, m, m, m
	if u.GetCorrects() == nil && amount >= 0 {
		switch n := h.rand.IntN(100); {
		case n < 2:
			u.Gross = nil
		case n < 4:
			u.Net = nil
		case n < 5:
			u.WholesaleNet = nil
		case n < 6:
			m = &money.Money{CurrencyCode: currency, Units: 9_223_372_036, Nanos: 854_775_807}
			u.Net, u.Gross, u.WholesaleNet, u.WholesaleGross = m, m, m, m
		case n < 7:
			m = &money.Money{CurrencyCode: currency, Units: 5, Nanos: -5}
			u.Net, u.Gross, u.WholesaleNet, u.WholesaleGross = m, m, m, m
		}
	}
}
