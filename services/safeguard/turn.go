package safeguard

import (
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
)

// turn is one event or timer of a subscriber, and what follows from it. It works on a copy of the record: where the
// event is refused in the end, nothing of it happened.
type turn struct {
	// at is the log time at the event, or the timer's due time: the time of everything that follows.
	at time.Time
	// eventTime is the event's own, not after at.
	eventTime time.Time
	// event is the cause; nil for a timer, whose name is timer.
	event *event.Event
	timer string
	// tenant and msisdn are the record's key.
	tenant, msisdn string
	catalog        *catalog

	// exists says whether there is a record, of a subscriber or of one that is gone.
	exists bool
	sub    subscriber

	// changed asks for the record to be kept, drop for it to be forgotten.
	changed, drop bool
	outcomes      []outcome
	refusal       refusal
}

// refusal is why an event can't be worked: a code, and words that say what to do.
type refusal struct{ reason, detail string }

func (t *turn) refuse(reason, detail string) { t.refusal = refusal{reason, detail} }

// Reasons of events that are refused here.
const (
	refusedUnknown  = "SUBSCRIBER_UNKNOWN"
	refusedBefore   = "BEFORE_ACTIVATION"
	refusedClass    = "CLASS_OF_SERVICE_UNKNOWN"
	refusedCurrency = "CURRENCY_MISMATCH"
	refusedMissing  = "AMOUNT_MISSING"
	refusedCorrects = "CORRECTS_MISSING"
	refusedAmount   = "AMOUNT_INVALID"
	refusedScope    = "SCOPE_INVALID"
	refusedActive   = "ALREADY_ACTIVE"
	refusedStale    = "STALE"
	refusedInvalid  = "EVENT_INVALID"
)

// Reasons of outcomes.
const (
	becauseUsage       = "USAGE"
	becauseRefund      = "REFUND"
	becauseRenewal     = "RENEWAL"
	becauseActivation  = "ACTIVATION"
	becauseTermination = "TERMINATION"
	becauseCatalog     = "CATALOG"
)

// tell adds an outcome with the option as it now is.
func (t *turn) tell(kind, reason string) *outcome {
	t.outcomes = append(t.outcomes, outcome{kind: kind, reason: reason, sub: t.sub})
	t.changed = true
	return &t.outcomes[len(t.outcomes)-1]
}

// judge computes the blocking bit of the option anew. It is the only place that does.
func (t *turn) judge() {
	d := &t.sub.data
	standing := spend.Standing{Offered: d.offered(), State: d.state, Spent: d.count.Spent, Limit: d.limit.Amount}
	d.blocked = standing.Blocked()
}

// tellBlocked says that the bit became another than it was.
func (t *turn) tellBlocked(was bool, reason string) {
	switch {
	case t.sub.data.blocked && !was:
		t.tell(kindReached, reason)
	case was && !t.sub.data.blocked:
		t.tell(kindReleased, reason)
	}
}
