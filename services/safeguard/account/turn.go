package account

import (
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// turn is one event or timer of a subscriber, and what follows from it. It works on a copy of the record: where the
// event is refused in the end, nothing of it happened.
type turn struct {
	cause
	// at is the log time at the event, or the timer's due time: the time of everything that follows.
	at time.Time
	// eventTime is the event's own, not after at.
	eventTime time.Time
	// tenant and msisdn are the record's key.
	tenant, msisdn string
	catalog        *Catalog
	// offset and value are where and how the event stands in the log; arrived is the log time when it came there, and
	// forwarded the number it was sent to, where that was another.
	offset    int64
	value     []byte
	arrived   time.Time
	forwarded string
	memory    memory

	// exists says whether there is a record, whatever its life.
	exists bool
	sub    Subscriber

	// changed asks for the record to be kept, drop for it to be forgotten.
	changed, drop bool
	outcomes      []outcome
	refusal       refusal
	contact       contact

	// waits: the event is kept to be judged later. counted and turnedAway are what has waited before.
	held     bool
	counted  []*heldEvent
	rejected []rejectedEvent
	// giving is the most that a refund gives back to one option, givingIn its currency; refunded are the events of which
	// something was given back.
	giving   spend.Amount
	givingIn string
	refunded []event.Identity
	// moving is the subscriber as it goes to another number, transfer the identity of its way there; sentOn says that the
	// event goes there.
	moving   *Subscriber
	transfer event.Identity
	sentOn   bool
	// released is what was held and goes back into the log.
	released []heldEvent
}

// contact is where to reach the subscriber. It is kept beside the record, and read only where something is told.
type contact struct {
	*eventv1.Contact
	// known: it was read, or is new. changed: it is to be kept, or forgotten where it is nil.
	known, changed bool
}

// cause is the event or the timer behind what happens.
type cause struct {
	// event is nil for a timer, whose name is timer.
	event *event.Event
	timer string
	// identity of the event or timer, from which those of outcomes derive.
	identity event.Identity
}

// refusal is why an event can't be worked: a code, and words that say what to do.
type refusal struct{ reason, detail string }

func (t *turn) refuse(reason, detail string) { t.refusal = refusal{reason, detail} }

// refused says that nothing of this turn may happen.
func (t *turn) refused() bool { return t.refusal.reason != "" }

// Reasons of events that are refused here.
const (
	refusedUnknown  = "SUBSCRIBER_UNKNOWN"
	refusedBefore   = "BEFORE_ACTIVATION"
	refusedClass    = "CLASS_OF_SERVICE_UNKNOWN"
	refusedCurrency = "CURRENCY_MISMATCH"
	refusedMissing  = "AMOUNT_MISSING"
	refusedCorrects = "CORRECTS_MISSING"
	refusedExceeded = "CORRECTS_EXCEEDED"
	refusedAmount   = "AMOUNT_INVALID"
	refusedScope    = "SCOPE_INVALID"
	refusedActive   = "ALREADY_ACTIVE"
	refusedStale    = "STALE"
	refusedInvalid  = "EVENT_INVALID"
	refusedReused   = "ID_REUSED"
	refusedCharged  = "CHARGE_NOT_COUNTED"
	refusedOld      = "UNPROVABLE"
	refusedTarget   = "TARGET_ACTIVE"
	refusedTransfer = "TRANSFER_INVALID"
	refusedPending  = "TRANSFER_PENDING"
)

// Reasons of outcomes.
const (
	becauseUsage       = "USAGE"
	becauseRefund      = "REFUND"
	becauseRenewal     = "RENEWAL"
	becauseActivation  = "ACTIVATION"
	becauseTermination = "TERMINATION"
	becauseCatalog     = "CATALOG"
	becauseClass       = "CLASS_OF_SERVICE"
	becauseCurrency    = "COS_CURRENCY"
	becauseChange      = "CHANGE"
	becauseCharge      = "CHARGE"
	becauseTransfer    = "TRANSFER"
)

// class is what the subscriber's class of service says by now; nil where it is gone.
func (t *turn) class() *Class { return t.catalog.Class(t.tenant, t.sub.Class) }

// offer is what the class says of an option; nil where it does not offer it, or is gone.
func (t *turn) offer(o spend.Option) *Offer {
	if c := t.class(); c != nil {
		return c.Offers[o]
	}
	return nil
}

// tell adds an outcome with the option as it now is.
func (t *turn) addOutcome(o spend.Option, kind, reason string) *outcome {
	t.outcomes = append(t.outcomes, outcome{
		cause: t.cause, kind: kind, reason: reason, option: o, as: t.sub.Options[o], thresholds: t.thresholds(o),
		class: t.sub.Class, imsi: t.sub.IMSI, language: t.sub.Language,
	})
	t.changed = true
	return &t.outcomes[len(t.outcomes)-1]
}

// thresholds are where the subscriber is told on the way to the limit.
func (t *turn) thresholds(o spend.Option) []spend.Threshold {
	return t.sub.Options[o].thresholdsUnder(t.offer(o))
}

// judge computes the blocking bit of an option anew. It is the only place that does.
func (t *turn) decideBlock(o spend.Option) {
	d := &t.sub.Options[o]
	d.Blocked = d.Blocks()
}

// tellBlocked says that the bit became another than it was.
func (t *turn) addBlockChange(o spend.Option, was bool, reason string) {
	switch blocked := t.sub.Options[o].Blocked; {
	case blocked && !was:
		t.addOutcome(o, KindReached, reason)
	case was && !blocked:
		t.addOutcome(o, KindReleased, reason)
	}
}

// tellState says that the option's state became what it is.
func (t *turn) addStateChange(o spend.Option, reason string) {
	switch t.sub.Options[o].State {
	case spend.Active:
		t.addOutcome(o, KindActivated, reason)
	case spend.TemporarilyInactive, spend.PermanentlyInactive:
		t.addOutcome(o, KindOptedOut, reason)
	case spend.Inactive:
		t.addOutcome(o, KindDeactivated, reason)
	}
}
