package account

import (
	"math"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Kinds of outcomes: the types of their events, behind "safeguard.".
const (
	KindActivated    = "activated"
	KindDeactivated  = "deactivated"
	KindOptedOut     = "opted_out"
	KindAlert        = "alert"
	KindReached      = "reached"
	KindReleased     = "released"
	KindRenewed      = "renewed"
	KindLimitChanged = "limit_changed"
	KindDayChanged   = "renewal_day_changed"
	KindLate         = "late"
	KindOvershoot    = "overshoot"

	TypePrefix = "safeguard."
	// Source of every outcome.
	source = "tollgate/safeguard"
)

// outcome is one safeguard.* event about an option.
type outcome struct {
	cause
	kind, reason string
	option       spend.Option
	// as is the option as it was then; the others are of the subscriber.
	as                    Option
	thresholds            []spend.Threshold
	class, imsi, language string
	// part distinguishes outcomes of one kind that one event has: a threshold, a period.
	part string
	// crossing is an alert's, amount that of an overshoot or of what came late, period the one it came late for.
	crossing spend.Crossing
	amount   spend.Amount
	period   spend.Period
}

// numbered distinguishes outcomes of one event that are of one kind all the same: a class's new currency and a call's new
// limit are both limit_changed.
func numbered(outcomes []outcome) {
	for i := range outcomes {
		a, same := &outcomes[i], 1
		for j := range i {
			if b := &outcomes[j]; a.identity == b.identity && a.option == b.option && a.kind == b.kind && a.part == b.part {
				same++
			}
		}
		if same > 1 {
			defer func() { a.part += "#" + strconv.Itoa(same) }() // once all were compared
		}
	}
}

// event is the outcome as it is published. Its bytes follow from the arguments.
func (o *outcome) event(t *turn, sequence, previous int64) event.Event {
	e := event.Event{
		ID: event.Derive(o.identity, o.option.String(), o.kind, o.part).String(), Source: source, Type: TypePrefix + o.kind,
		Tenant: t.tenant, Subject: t.msisdn, Time: t.at, ReceivedAt: t.at,
		Data: o.data(t, sequence, previous),
	}
	if o.cause.event != nil {
		e.Correlation, e.Trace = o.cause.event.Correlation, o.cause.event.Trace
	}
	return e
}

func (o *outcome) data(t *turn, sequence, previous int64) *eventv1.Safeguard {
	d := &o.as
	m := &eventv1.Safeguard{
		Option: OptionOnWire(o.option), State: StateOnWire(d.State), Spent: o.money(d.Count.Spent), Blocked: d.Blocked,
		PeriodStart: timestamppb.New(d.Period.Start), PeriodEnd: timestamppb.New(d.Period.End), RenewalDay: int32(d.RenewalDay),
		Cause: CauseOf(o.cause.event, o.timer, t.at), Reason: o.reason, Sequence: sequence, PreviousSequence: previous,
		ClassOfService: o.class, Imsi: o.imsi, Language: o.language, Contact: t.contact.Contact,
		AlertThresholds: thresholdsOnWire(o.thresholds, d),
	}
	if d.Limited {
		m.Limit = o.money(d.Limit)
	}
	if d.HasNext {
		m.NextLimit = o.money(d.Next)
	}
	if d.PerPayment != spend.Max {
		m.PerPaymentLimit = o.money(d.PerPayment)
	}
	if o.cause.event != nil {
		if !o.cause.event.ReceivedAt.IsZero() {
			m.CauseReceivedAt = timestamppb.New(o.cause.event.ReceivedAt)
		}
		if event.IsCommand(o.cause.event.Type) {
			m.TransactionReference = o.cause.event.ID
		}
	}
	switch o.kind {
	case KindAlert:
		m.Threshold = thresholdOnWire(o.crossing.Threshold, o.crossing.At, d.Currency)
		m.Threshold.SecondNotice = o.part == secondNotice
		if at, ok := spend.Forecast(t.at, d.Period.Start, d.Count.Spent, d.Limit); ok && d.Limited {
			m.Forecast = timestamppb.New(at)
		}
	case KindOvershoot:
		m.Overshoot = o.money(o.amount)
	case KindLate:
		m.Late = o.money(o.amount)
		m.PeriodStart, m.PeriodEnd = timestamppb.New(o.period.Start), timestamppb.New(o.period.End)
	}
	return m
}

func (o *outcome) money(a spend.Amount) *money.Money { return MoneyOf(a, o.as.Currency) }

// thresholdsOnWire are thresholds with the amounts that they stand for under an option's limit; one that no spend can
// reach, or a percent of no limit, has none.
func thresholdsOnWire(all []spend.Threshold, d *Option) []*eventv1.Threshold {
	out := make([]*eventv1.Threshold, len(all))
	for i, t := range all {
		at, err := t.At(d.Limit)
		if out[i] = thresholdOnWire(t, at, d.Currency); err != nil || t.Percent != 0 && !d.Limited {
			out[i].Amount = nil
		}
	}
	return out
}

func thresholdOnWire(t spend.Threshold, at spend.Amount, currency string) *eventv1.Threshold {
	return &eventv1.Threshold{Percent: int32(min(t.Percent, math.MaxInt32)), Amount: MoneyOf(at, currency)}
}

// MoneyOf is an amount on the wire.
func MoneyOf(a spend.Amount, currency string) *money.Money {
	units, nanos := a.Units()
	return &money.Money{CurrencyCode: currency, Units: units, Nanos: nanos}
}

// MoneyWhere is nil where there is no amount.
func MoneyWhere(there bool, a spend.Amount, currency string) *money.Money {
	if !there {
		return nil
	}
	return MoneyOf(a, currency)
}

// CauseOf names an event, or the timer and when it was due.
func CauseOf(e *event.Event, timer string, due time.Time) *eventv1.Cause {
	if e != nil {
		return &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Source: e.Source, Id: e.ID, Type: e.Type}}}
	}
	return &eventv1.Cause{Cause: &eventv1.Cause_Timer{Timer: &eventv1.TimerReference{Name: timer, Due: timestamppb.New(due)}}}
}

// OptionOnWire is unspecified for AnyOption.
func OptionOnWire(o spend.Option) eventv1.Safeguard_Option {
	switch o {
	case spend.Data:
		return eventv1.Safeguard_OPTION_DATA
	case spend.Overspend:
		return eventv1.Safeguard_OPTION_OVERSPEND
	case spend.Payment:
		return eventv1.Safeguard_OPTION_PAYMENT
	}
	return eventv1.Safeguard_OPTION_UNSPECIFIED
}

// StateOnWire is unspecified for a state that is unset.
func StateOnWire(s spend.State) eventv1.Safeguard_State {
	switch s {
	case spend.Active:
		return eventv1.Safeguard_STATE_ACTIVE
	case spend.Inactive:
		return eventv1.Safeguard_STATE_INACTIVE
	case spend.TemporarilyInactive:
		return eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE
	case spend.PermanentlyInactive:
		return eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE
	}
	return eventv1.Safeguard_STATE_UNSPECIFIED
}
