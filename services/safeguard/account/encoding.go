package account

import (
	"math"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// encoding is the memory that outcomes are encoded from, one after the other: a message, and all that may hang on it.
type encoding struct {
	message                                eventv1.Safeguard
	spent, limit, next, perPayment, amount money.Money
	start, end, received, forecast, due    timestamppb.Timestamp
	crossed                                eventv1.Threshold
	at                                     money.Money

	cause   eventv1.Cause
	byEvent eventv1.Cause_Event
	event   eventv1.EventReference
	byTimer eventv1.Cause_Timer
	timer   eventv1.TimerReference

	thresholds []*eventv1.Threshold
	amounts    []*money.Money
	// outcomes has room for those of a turn.
	outcomes []outcome
}

// data is the outcome's message. It is good until the next.
func (w *encoding) data(o *outcome, t *turn, sequence, previous int64) *eventv1.Safeguard {
	d := &o.as
	m := &w.message
	*m = eventv1.Safeguard{
		Option: OptionOnWire(o.option), State: StateOnWire(d.State), Spent: setMoney(&w.spent, d.Count.Spent, d.Currency), Blocked: d.Blocked,
		PeriodStart: setTime(&w.start, d.Period.Start), PeriodEnd: setTime(&w.end, d.Period.End), RenewalDay: int32(d.RenewalDay),
		Cause: w.causeOf(&o.cause, t.at), Reason: o.reason, Sequence: sequence, PreviousSequence: previous,
		ClassOfService: o.class, Imsi: o.imsi, Language: o.language, Contact: t.contact.Contact,
		AlertThresholds: w.allThresholds(o.thresholds, d),
	}
	if d.Limited {
		m.Limit = setMoney(&w.limit, d.Limit, d.Currency)
	}
	if d.HasNext {
		m.NextLimit = setMoney(&w.next, d.Next, d.Currency)
	}
	if d.PerPayment != spend.Max {
		m.PerPaymentLimit = setMoney(&w.perPayment, d.PerPayment, d.Currency)
	}
	if e := o.cause.event; e != nil {
		if !e.ReceivedAt.IsZero() {
			m.CauseReceivedAt = setTime(&w.received, e.ReceivedAt)
		}
		if event.IsCommand(e.Type) {
			m.TransactionReference = e.ID
		}
	}
	switch o.kind {
	case KindAlert:
		m.Threshold = setThreshold(&w.crossed, &w.at, o.crossing.Threshold, o.crossing.At, d.Currency)
		m.Threshold.SecondNotice = o.part == secondNotice
		if at, ok := spend.Forecast(t.at, d.Period.Start, d.Count.Spent, d.Limit); ok && d.Limited {
			m.Forecast = setTime(&w.forecast, at)
		}
	case KindOvershoot:
		m.Overshoot = setMoney(&w.amount, o.amount, d.Currency)
	case KindLate:
		m.Late = setMoney(&w.amount, o.amount, d.Currency)
		m.PeriodStart, m.PeriodEnd = setTime(&w.start, o.period.Start), setTime(&w.end, o.period.End)
	}
	return m
}

// CauseOf names an event, or the timer and when it was due.
func CauseOf(e *event.Event, timer string, due time.Time) *eventv1.Cause {
	return new(encoding).causeOf(&cause{event: e, timer: timer}, due)
}

func (w *encoding) causeOf(c *cause, due time.Time) *eventv1.Cause {
	if e := c.event; e != nil {
		w.event.Source, w.event.Id, w.event.Type = e.Source, e.ID, e.Type
		w.byEvent.Event, w.cause.Cause = &w.event, &w.byEvent
		return &w.cause
	}
	w.timer.Name, w.timer.Due = c.timer, setTime(&w.due, due)
	w.byTimer.Timer, w.cause.Cause = &w.timer, &w.byTimer
	return &w.cause
}

func (w *encoding) allThresholds(all []spend.Threshold, d *Option) []*eventv1.Threshold {
	for len(w.thresholds) < len(all) {
		w.thresholds, w.amounts = append(w.thresholds, &eventv1.Threshold{}), append(w.amounts, &money.Money{})
	}
	for i, t := range all {
		setThresholdOf(w.thresholds[i], w.amounts[i], t, d)
	}
	return w.thresholds[:len(all)]
}

// thresholdsOnWire are thresholds with the amounts that they stand for under an option's limit.
func thresholdsOnWire(all []spend.Threshold, d *Option) []*eventv1.Threshold {
	return new(encoding).allThresholds(all, d)
}

// setThresholdOf leaves the amount out where no spend can reach it, or it is a percent of no limit.
func setThresholdOf(m *eventv1.Threshold, amount *money.Money, t spend.Threshold, d *Option) {
	at, err := t.At(d.Limit)
	if setThreshold(m, amount, t, at, d.Currency); err != nil || t.Percent != 0 && !d.Limited {
		m.Amount = nil
	}
}

func setThreshold(m *eventv1.Threshold, amount *money.Money, t spend.Threshold, at spend.Amount, currency string) *eventv1.Threshold {
	m.Percent, m.Amount = int32(min(t.Percent, math.MaxInt32)), setMoney(amount, at, currency)
	return m
}

func setMoney(m *money.Money, a spend.Amount, currency string) *money.Money {
	m.CurrencyCode = currency
	m.Units, m.Nanos = a.Units()
	return m
}

func setTime(m *timestamppb.Timestamp, t time.Time) *timestamppb.Timestamp {
	m.Seconds, m.Nanos = t.Unix(), int32(t.Nanosecond())
	return m
}

// MoneyOf is an amount on the wire.
func MoneyOf(a spend.Amount, currency string) *money.Money {
	return setMoney(&money.Money{}, a, currency)
}

// MoneyWhere is nil where there is no amount.
func MoneyWhere(there bool, a spend.Amount, currency string) *money.Money {
	if !there {
		return nil
	}
	return MoneyOf(a, currency)
}
