package account

import (
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// turn is one event, command or timer of a subscriber: what is known of it, and what is decided. It works on a copy of the
// record.
type turn struct {
	cause
	// at is the log time at the event, or the timer's due time: the time of everything that follows.
	at time.Time
	// eventTime is the event's own, not after at; arrived is the log time when the event came.
	eventTime, arrived time.Time
	// forwarded is the number that the event was sent to, where that was another.
	forwarded string
	// tenant and msisdn are the record's key.
	tenant, msisdn string
	catalog        *Catalog
	// past is nil where nothing but the record is known: in reads.
	past past
	// exists is whether there is a record, whatever its life.
	exists bool

	// giving is the most that a refund gives back to one option, givingIn its currency.
	giving   spend.Amount
	givingIn string

	decision
}

// past is what is known of a number beside its record, and of the event in hand beside its content.
type past interface {
	// Counted is the amount of a charge by command that was accepted under a reference since CallsFrom.
	Counted(reference event.Identity) (worth int64, ok bool)
	CallsFrom() time.Time
	// Remembers is whether something of an event was given back.
	Remembers(reference event.Identity) bool
	// SentOn is whether the event was sent on from this number before.
	SentOn() bool
	// Offset and Value are where and how the event stands in the log.
	Offset() int64
	Value() []byte
	// TransferIdentity is that of the transfer which a change of number causes.
	TransferIdentity() event.Identity
	// TakeOver makes the record that comes with a transfer this number's.
	TakeOver(t *controlv1.Transfer) (Subscriber, error)
}

// decision is what follows from a turn. apply does it.
type decision struct {
	// refusal: the event is rejected, and nothing else happens.
	refusal refusal
	// sentOn: the event goes to the number that the subscriber has by now, and nothing else happens.
	sentOn bool
	// settlement is what the number that a transfer came from is answered. Where it is a refusal nothing else happens.
	settlement *settlement

	// sub is the record. changed: it is kept. drop: it is forgotten.
	sub           Subscriber
	changed, drop bool
	outcomes      []outcome
	contact       contact
	// move is the subscriber as it goes to another number, while sub stays here.
	move *Subscriber

	// held: the event itself is kept in the record, to be worked later. counted, rejected and released are events that were
	// held: released ones go back into the log.
	held     bool
	counted  []*heldEvent
	rejected []rejectedEvent
	released []heldEvent
	// refunded are the events of which something was given back.
	refunded []event.Identity
}

// settlement has a reason where the transfer was refused.
type settlement struct{ reason, detail string }

// contact is where to reach the subscriber. It is a side record, and read only where there are outcomes.
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

// refusal is why an event can't be worked: a code, and a sentence on what to do.
type refusal struct{ reason, detail string }

func (d *decision) refuse(reason, detail string) { d.refusal = refusal{reason, detail} }

// refused is whether nothing of this turn happens.
func (d *decision) refused() bool { return d.refusal.reason != "" }

// addressed is whether the subject is a number in the one spelling that records are named by: ingest lets nothing else
// through, and another spelling would be a second record of one subscriber.
func (t *turn) addressed() bool {
	msisdn, ok := event.MSISDN(t.event.Subject)
	return ok && msisdn == t.event.Subject
}

// decide works an event that is no command.
func (t *turn) decide() {
	if !t.addressed() {
		t.refuse(reason.EventInvalid, "subject "+event.FormMSISDN)
		return
	}
	_, transfer := t.event.Data.(*controlv1.Transfer)
	if t.exists && t.sub.transferOut != nil && !transfer {
		t.duringTransfer()
		return
	}
	switch data := t.event.Data.(type) {
	case *eventv1.UsageCharged:
		t.used(data)
	case *eventv1.SubscriberActivated:
		t.activate(data)
	case *eventv1.SubscriberTerminated:
		t.terminate()
	case *eventv1.SubscriberStatusChanged:
		t.suspend(t.event.Type == typeSuspended)
	case *eventv1.SubscriberSimSwapped:
		t.swap(data)
	case *eventv1.SubscriberClassOfServiceChanged:
		t.reclass(data)
	case *eventv1.SubscriberMsisdnChanged:
		t.startTransfer(data)
	case *controlv1.Transfer:
		t.takeOver(data)
	}
}

const typeSuspended = "subscriber.suspended"

// fire works a timer.
func (t *turn) fire(name string) {
	switch name {
	case timerTombstone:
		switch {
		case t.sub.Alive():
		case t.sub.Pending(): // the number has no owner any more; what is held for the next one stays held
			t.sub = Subscriber{Life: LifePending, held: t.sub.held, heldUntil: t.sub.heldUntil}
			t.changed = true
		default:
			t.drop = true
		}
	case timerPending:
		if t.sub.Pending() {
			t.rejectHeld()
		}
	}
	for o := range spend.Option(spend.Options) {
		switch name {
		case timerPeriod[o]:
			t.renew(o)
		case timerLate[o]:
			t.addLate(o)
			t.followAll(t.class(), becauseCatalog)
		}
	}
}

// Reasons of events that are refused here.
const (
	refusedUnknown  = "SUBSCRIBER_UNKNOWN"
	refusedBefore   = "BEFORE_ACTIVATION"
	refusedMissing  = "AMOUNT_MISSING"
	refusedCorrects = "CORRECTS_MISSING"
	refusedExceeded = "CORRECTS_EXCEEDED"
	refusedActive   = "ALREADY_ACTIVE"
	refusedStale    = "STALE"
	refusedCharged  = "CHARGE_NOT_COUNTED"
	refusedOld      = "TOO_LATE_TO_DEDUPLICATE"
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

// class is the subscriber's class of service by now; nil where it is gone.
func (t *turn) class() *Class { return t.catalog.Class(t.tenant, t.sub.Class) }

// offer is an option as the class offers it; nil where it does not, or is gone.
func (t *turn) offer(o spend.Option) *Offer {
	if c := t.class(); c != nil {
		return c.Offers[o]
	}
	return nil
}

// addOutcome adds one with the option as it now is.
func (t *turn) addOutcome(o spend.Option, kind, reason string) *outcome {
	t.outcomes = append(t.outcomes, outcome{
		cause: t.cause, kind: kind, reason: reason, option: o, as: t.sub.Options[o], thresholds: t.thresholds(o),
		class: t.sub.Class, imsi: t.sub.IMSI, language: t.sub.Language,
	})
	t.changed = true
	return &t.outcomes[len(t.outcomes)-1]
}

// thresholds are the alert thresholds on the way to the limit.
func (t *turn) thresholds(o spend.Option) []spend.Threshold {
	return t.sub.Options[o].thresholdsUnder(t.offer(o))
}

// decideBlock computes the blocking bit of an option anew. It is the only function that does.
func (t *turn) decideBlock(o spend.Option) {
	d := &t.sub.Options[o]
	d.Blocked = d.Blocks()
}

// addBlockChange adds an outcome where the bit is another than it was.
func (t *turn) addBlockChange(o spend.Option, was bool, reason string) {
	switch blocked := t.sub.Options[o].Blocked; {
	case blocked && !was:
		t.addOutcome(o, KindReached, reason)
	case was && !blocked:
		t.addOutcome(o, KindReleased, reason)
	}
}

// addStateChange adds an outcome for the option's state.
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
