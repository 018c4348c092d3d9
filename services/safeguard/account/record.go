package account

import (
	"bytes"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
)

// Life is what a number is.
type Life uint8

const (
	// LifeActive: it has an active subscriber.
	LifeActive Life = iota
	// LifeTerminated: the record is the tombstone of a subscriber that was terminated. Its ids and sequence go on with the
	// next, for which usage may be held.
	LifeTerminated
	// LifeMoved: the record is the tombstone of a subscriber that has another number by now, to which usage is sent on.
	LifeMoved
	// LifePending: the number is not activated yet, and usage is held for it.
	LifePending
)

var lives = [...]string{LifeActive: "active", LifeTerminated: "terminated", LifeMoved: "moved to another number", LifePending: "awaited"}

// String is the life as a person reads it.
func (l Life) String() string { return lives[l] }

// Subscriber is the body of a record: an active subscriber, or what its number is instead. The zero value is a subscriber
// without anything.
type Subscriber struct {
	Life Life
	// latest is the own time of the last event of its life (activation, change of class or number, termination and the
	// like): one from before is stale.
	latest time.Time

	// The following are an active subscriber's.

	// Activated is when it began, by the event's own time: usage from before is its predecessor's.
	Activated time.Time
	// Suspended by its operator, which changes nothing in counting.
	Suspended bool
	// Class of service, IMSI (6 to 15 digits or empty) and language, as in its events.
	Class, IMSI, Language string
	// Revision of the configuration under which it was last decided on.
	Revision int64
	Options  [spend.Options]Option
	// since is when it got a number that another subscriber had before, by the event's own time: usage of before is the
	// other's. Zero where no other is known to have had it, or where the subscriber itself had.
	since time.Time
	// previous are the numbers it had, the oldest first, from which usage may still be sent on.
	previous []previousNumber

	// transferOut is set while the subscriber is on its way to another number.
	transferOut *transferOut
	// refunds are what is left to be given back of events of which a part was, the oldest first.
	refunds []refund

	// until is when a tombstone is dropped.
	until time.Time
	// movedTo is the number that a subscriber has instead of this one.
	movedTo string
	// held is the usage held for the activation of a pending or a terminated number, in the order of the log, and heldUntil
	// when it is rejected.
	held      []heldEvent
	heldUntil time.Time
}

// Pending is whether usage is held for the activation of the number.
func (s *Subscriber) Pending() bool { return s.Life == LifePending || len(s.held) > 0 }

// Alive is whether there is an active subscriber.
func (s *Subscriber) Alive() bool { return s.Life == LifeActive }

// Option is the state of one safeguard of a subscriber. The zero value is one that its class does not offer.
type Option struct {
	State spend.State
	// Withdrawn: the class does not offer it any more; what was spent is kept to the end of the period, and what the
	// subscriber set for longer, in case it comes back.
	Withdrawn bool
	// Blocked is the bit that safeguard.reached sets and safeguard.released clears.
	Blocked bool
	// BlockInactive is the class's choice, as last taken over, that an overspend safeguard blocks while it is inactive.
	BlockInactive bool
	// Limited: there is a limit; only an overspend safeguard may have none. OwnLimit: it is the subscriber's, and the class's
	// default does not change it.
	Limited, OwnLimit bool
	// HasNext: the next period begins with the limit Next.
	HasNext bool
	// OwnDay: the renewal day is the subscriber's, not the class's. DayChanged: it was changed in this period.
	OwnDay, DayChanged bool
	// Noticed: the second notice of this period had its outcome.
	Noticed    bool
	RenewalDay spend.RenewalDay
	// Currency of all of its amounts.
	Currency string
	// Limit as last taken over, and that of the next period.
	Limit, Next spend.Amount
	// PerPayment is the most that one payment may be, as last taken over; spend.Max where nothing caps it.
	PerPayment spend.Amount
	Count      spend.Count
	Period     spend.Period
	// Thresholds are the subscriber's own; none: those of the class hold.
	Thresholds []spend.Threshold
	// late is what came late and had no outcome yet, by period, oldest first.
	late []late
}

// Offered is whether the subscriber has the option.
func (o *Option) Offered() bool { return o.State != spend.Unset && !o.Withdrawn }

// Blocks is whether the option blocks what falls into its scope, by what the record holds.
func (o *Option) Blocks() bool { return o.counter().Blocked() }

// counter is what decides whether the option blocks.
func (o *Option) counter() spend.Counter {
	limit := o.Limit
	if !o.Limited {
		limit = spend.Max
	}
	return spend.Counter{Offered: o.Offered(), State: o.State, BlockInactive: o.BlockInactive, Spent: o.Count.Spent, Limit: limit}
}

// thresholdsUnder are the alert thresholds on the way to the limit: the subscriber's own, or those of what its class offers,
// if anything.
func (o *Option) thresholdsUnder(of *Offer) []spend.Threshold {
	if len(o.Thresholds) > 0 || of == nil {
		return o.Thresholds
	}
	return of.Thresholds
}

// Changed is whether a step left an option in another way than it found it.
func (o *Option) Changed(after *Option) bool {
	return o.State != after.State || o.Withdrawn != after.Withdrawn || o.Blocked != after.Blocked ||
		o.Count != after.Count || o.RenewalDay != after.RenewalDay || o.differs(after) ||
		!o.Period.Start.Equal(after.Period.Start) || !o.Period.End.Equal(after.Period.End)
}

// Equal is whether two subscribers are the same as they are stored.
func (s *Subscriber) Equal(other *Subscriber) bool {
	return bytes.Equal(s.Encode(nil), other.Encode(nil))
}

// late is the sum of what came for a period and was not counted in it.
type late struct {
	period spend.Period
	sum    spend.Amount
}

// previousNumber is one that the subscriber had, and until when usage may be sent on from it.
type previousNumber struct {
	msisdn string
	until  time.Time
}

// transferOut is a change of number that is not settled: the record is kept here as it was sent there, and nothing changes
// it.
type transferOut struct {
	to       string
	transfer event.Identity
	// move is the event that asked for it, held what came since, in the order of the log.
	move heldEvent
	held []heldEvent
}

// heldEvent is one that a record holds: usage of a number that is not activated yet, or what came for a subscriber on its
// way to another number.
type heldEvent struct {
	identity event.Identity
	content  uint64
	// offset is where it stands in the log, at the log time when it came there.
	offset int64
	at     time.Time
	// trace is its traceparent, value the event as it stands in the log.
	trace string
	value string
}

// TenantOf is the tenant of a record's key, which is tenant/msisdn.
func TenantOf(key string) string {
	tenant, _, _ := strings.Cut(key, "/")
	return tenant
}
