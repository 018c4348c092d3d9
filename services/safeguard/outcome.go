package safeguard

import (
	"math"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Kinds of outcomes: the types of their events, behind "safeguard.".
const (
	kindActivated    = "activated"
	kindDeactivated  = "deactivated"
	kindAlert        = "alert"
	kindReached      = "reached"
	kindReleased     = "released"
	kindRenewed      = "renewed"
	kindLimitChanged = "limit_changed"
	kindLate         = "late"
	kindOvershoot    = "overshoot"

	typePrefix = "safeguard."
	// Source of every outcome.
	source = "tollgate/safeguard"
	// optionData tells outcomes of one event by their option.
	optionData = "data"
)

// outcome is one thing that is said about an option.
type outcome struct {
	kind, reason string
	// sub is the subscriber as it was then.
	sub subscriber
	// part tells outcomes of one kind apart that one event has: a threshold, a period.
	part string
	// crossing is an alert's, amount that of an overshoot or of what came late, period the one it came late for.
	crossing spend.Crossing
	amount   spend.Amount
	period   spend.Period
}

// record is the outcome on its topic. Its bytes follow from the arguments.
func (o *outcome) record(topic string, t *turn, identity event.Identity, sequence, previous int64) (stream.Record, error) {
	e := &event.Event{
		ID: event.Derive(identity, optionData, o.kind, o.part).String(), Source: source, Type: typePrefix + o.kind,
		Tenant: t.tenant, Subject: t.msisdn, Time: t.at, ReceivedAt: t.at,
		Data: o.data(t, sequence, previous),
	}
	if t.event != nil {
		e.Correlation, e.Trace = t.event.Correlation, t.event.Trace
	}
	return e.Record(topic)
}

func (o *outcome) data(t *turn, sequence, previous int64) *eventv1.Safeguard {
	d := &o.sub.data
	m := &eventv1.Safeguard{
		Option: eventv1.Safeguard_OPTION_DATA, State: stateOnWire(d.state),
		Spent: o.money(d.count.Spent), Limit: o.money(d.limit.Amount), Blocked: d.blocked,
		PeriodStart: timestamppb.New(d.period.Start), PeriodEnd: timestamppb.New(d.period.End), RenewalDay: int32(d.renewalDay),
		Cause: t.cause(), Reason: o.reason, Sequence: sequence, PreviousSequence: previous,
		ClassOfService: o.sub.class, Imsi: o.sub.imsi, Language: o.sub.language,
	}
	if t.event != nil && !t.event.ReceivedAt.IsZero() {
		m.CauseReceivedAt = timestamppb.New(t.event.ReceivedAt)
	}
	switch o.kind {
	case kindAlert:
		m.Threshold = &eventv1.Threshold{Percent: int32(min(o.crossing.Threshold.Percent, math.MaxInt32)), Amount: o.money(o.crossing.At)}
		if at, ok := spend.Forecast(t.at, d.period.Start, d.count.Spent, d.limit.Amount); ok {
			m.Forecast = timestamppb.New(at)
		}
	case kindOvershoot:
		m.Overshoot = o.money(o.amount)
	case kindLate:
		m.Late = o.money(o.amount)
		m.PeriodStart, m.PeriodEnd = timestamppb.New(o.period.Start), timestamppb.New(o.period.End)
	}
	return m
}

func (o *outcome) money(a spend.Amount) *money.Money { return moneyOf(a, o.sub.data.limit.Currency) }

func moneyOf(a spend.Amount, currency string) *money.Money {
	units, nanos := a.Units()
	return &money.Money{CurrencyCode: currency, Units: units, Nanos: nanos}
}

// cause names the event, or the timer and when it was due.
func (t *turn) cause() *eventv1.Cause {
	if e := t.event; e != nil {
		return &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Source: e.Source, Id: e.ID, Type: e.Type}}}
	}
	return &eventv1.Cause{Cause: &eventv1.Cause_Timer{Timer: &eventv1.TimerReference{Name: t.timer, Due: timestamppb.New(t.at)}}}
}

func stateOnWire(s spend.State) eventv1.Safeguard_State {
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
