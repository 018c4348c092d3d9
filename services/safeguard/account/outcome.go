package account

import (
	"strconv"

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

// event is the outcome as it is published, good until the next. Its bytes follow from the turn and the numbers.
func (o *outcome) event(w *encoding, t *turn, sequence, previous int64) event.Event {
	e := event.Event{
		ID: event.Derive(o.identity, o.option.String(), o.kind, o.part).String(), Source: source, Type: TypePrefix + o.kind,
		Tenant: t.tenant, Subject: t.msisdn, Time: t.at, ReceivedAt: t.at,
		Data: w.data(o, t, sequence, previous),
	}
	if o.cause.event != nil {
		e.Correlation, e.Trace = o.cause.event.Correlation, o.cause.event.Trace
	}
	return e
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
