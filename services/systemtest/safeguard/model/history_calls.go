package model

import (
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// call is a request as its command in the log.
func (h *history) call(number, kind, source string, data proto.Message) {
	e := h.event(number, kind, data)
	e.Source, e.Correlation = source, e.ID
	h.add(Step{At: h.stamp(), Event: e})
}

func (h *history) change(number string, views [3]View) {
	o := pick(h, h.mix.Options)
	v := views[o-1]
	c := &controlv1.ChangeCommand{Option: o}
	if h.chance(25) {
		day := int32(1 + h.rand.IntN(28))
		switch h.rand.IntN(8) {
		case 0:
			day = pick(h, []int32{0, 29, -1})
		case 1:
			day = int32(v.Day)
		case 2:
			day = int32(h.now.Day()%28 + 1)
		}
		c.RenewalDay = &day
	}
	if o == Overspend {
		currency := v.Currency
		if h.chance(3) {
			currency = "CHF"
		}
		if h.chance(50) {
			c.CurrentLimit = Money(h.limitAbout(v), currency)
		}
		if h.chance(20) {
			c.NextLimit = Money(h.limit(), currency)
		}
		c.ClearNextLimit = c.GetNextLimit() == nil && h.chance(10)
		if h.chance(15) {
			c.AlertThresholds = &eventv1.ThresholdList{}
			for _, percent := range []int32{50, 90, 100}[:h.rand.IntN(4)] {
				c.AlertThresholds.Thresholds = append(c.AlertThresholds.Thresholds, &eventv1.Threshold{Percent: percent})
			}
			if h.chance(30) {
				c.AlertThresholds.Thresholds = append(c.AlertThresholds.Thresholds, &eventv1.Threshold{Amount: Money(7*Unit, currency)})
			}
		}
	}
	if h.chance(60) {
		c.State = pick(h, []eventv1.Safeguard_State{Active, Active, Temporarily, Permanently, Inactive})
		if o != Data && c.GetState() != Active && h.chance(80) {
			c.State = Inactive
		}
	}
	h.call(number, "command.change", changeSource, c)
}

func (h *history) charge(number string, v View) {
	currency := v.Currency
	if h.chance(3) {
		currency = "CHF"
	}
	amount := h.rand.Int64N(15 * Unit)
	if h.chance(40) {
		amount = v.Limit - v.Spent + int64(h.rand.IntN(3)) - 1
	}
	h.call(number, "command.charge", chargeSource, &controlv1.ChargeCommand{Amount: Money(amount, currency), Description: "a ticket"})
}

// limit is an amount that a limit may be.
func (h *history) limit() int64 {
	return pick(h, []int64{0, 1, 10 * Unit, 33_333_333_333, 50 * Unit, 100 * Unit})
}

// limitAbout is sometimes about what was spent.
func (h *history) limitAbout(v View) int64 {
	if h.chance(40) {
		return max(0, v.Spent+int64(h.rand.IntN(3))-1)
	}
	return h.limit()
}
