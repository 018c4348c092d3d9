package account

import (
	"bytes"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
)

// life is what a record says of its number.
type Life uint8

const (
	// alive is an active subscriber.
	LifeActive Life = iota
	// terminated is the mark of one that is gone: its ids and sequence go on with the next. Usage may wait for that one.
	LifeTerminated
	// moved is the mark of a number whose subscriber has another by now: usage is sent on to it.
	LifeMoved
	// awaited is a number that nobody has activated yet: its usage waits.
	LifePending
)

var lives = [...]string{LifeActive: "active", LifeTerminated: "terminated", LifeMoved: "moved to another number", LifePending: "awaited"}

func (l Life) String() string { return lives[l] }

// subscriber is the body of a record: an active subscriber, or what its number is instead. The zero value is a subscriber
// without anything.
type Subscriber struct {
	Life Life
	// latest is the own time of the last event of its life (activation, change of class or number, termination and the
	// like): one from before is stale.
	latest time.Time

	// The following are an active subscriber's.

	// activated is when it began, by the event's own time: usage from before is its predecessor's.
	Activated time.Time
	// suspended by its operator, which counting does not mind.
	Suspended bool
	// class of service, imsi (6 to 15 digits or empty) and language, as its events said.
	Class, IMSI, Language string
	// revision of the configuration that it was last judged by.
	Revision int64
	Options  [spend.Options]Option
	// since is when it got a number that somebody had before, by the event's own time: what that used until then is the
	// other's. Zero where nobody else is known to have had it, or the subscriber itself had.
	since time.Time
	// former are the numbers it had, the oldest first, as far as usage may still be sent on from them.
	previous []previousNumber

	// leaving is set while the subscriber is on its way to another number.
	transferOut *transferOut
	// refunds are what is left to be given back of events of which a part was, the oldest first.
	refunds []refund

	// until is when a mark comes to its end.
	until time.Time
	// movedTo is the number that a subscriber has instead of this one.
	movedTo string
	// parked is what waits for the activation of an awaited or a terminated number, in the order of the log, and held
	// until when.
	held      []heldEvent
	heldUntil time.Time
}

// pending says that usage waits for the number to be activated.
func (s *Subscriber) Pending() bool { return s.Life == LifePending || len(s.held) > 0 }

// alive says that there is an active subscriber.
func (s *Subscriber) Alive() bool { return s.Life == LifeActive }

// option is where a subscriber stands with one safeguard. The zero value is one that its class does not offer.
type Option struct {
	State spend.State
	// withdrawn: the class does not offer it any more; what was spent is kept to the end of the period, and what the
	// subscriber set for longer, in case it comes back.
	Withdrawn bool
	// blocked is the bit that safeguard.reached sets and safeguard.released clears.
	Blocked bool
	// blockInactive is the class's choice, as last judged, that an overspend safeguard blocks while it is inactive.
	BlockInactive bool
	// limited says that there is a limit; only an overspend safeguard may have none. own: it is the subscriber's, which
	// the class's default leaves alone.
	Limited, OwnLimit bool
	// hasNext says that the next period begins with the limit next.
	HasNext bool
	// ownDay: the renewal day is the subscriber's, not the class's. dayChanged: it was changed in this period.
	OwnDay, DayChanged bool
	// noticed: the second notice of this period was told.
	Noticed    bool
	RenewalDay spend.RenewalDay
	// currency of all of its amounts.
	Currency string
	// limit as last judged, and that of the next period.
	Limit, Next spend.Amount
	// perPayment is the most that one payment may be, as last judged; spend.Max where nothing caps it.
	PerPayment spend.Amount
	Count      spend.Count
	Period     spend.Period
	// thresholds are the subscriber's own; none: those of the class hold.
	Thresholds []spend.Threshold
	// late is what is not told yet, by period, oldest first.
	late []late
}

// offered says whether the subscriber has the option.
func (o *Option) Offered() bool { return o.State != spend.Unset && !o.Withdrawn }

// Blocks says whether the option blocks what falls into its scope, by what the record holds.
func (o *Option) Blocks() bool { return o.position().Blocked() }

// position is what decides whether the option blocks.
func (o *Option) position() spend.Standing {
	limit := o.Limit
	if !o.Limited {
		limit = spend.Max
	}
	return spend.Standing{Offered: o.Offered(), State: o.State, BlockInactive: o.BlockInactive, Spent: o.Count.Spent, Limit: limit}
}

// thresholdsUnder are where the subscriber is told on the way to the limit: its own, or those of what its class offers, if
// anything.
func (o *Option) thresholdsUnder(of *Offer) []spend.Threshold {
	if len(o.Thresholds) > 0 || of == nil {
		return o.Thresholds
	}
	return of.Thresholds
}

// Changed says that a step left an option in another way than it found it.
func (o *Option) Changed(after *Option) bool {
	return o.State != after.State || o.Withdrawn != after.Withdrawn || o.Blocked != after.Blocked ||
		o.Count != after.Count || o.RenewalDay != after.RenewalDay || o.differs(after) ||
		!o.Period.Start.Equal(after.Period.Start) || !o.Period.End.Equal(after.Period.End)
}

// Equal says that two subscribers are the same as they are stored.
func (s *Subscriber) Equal(other *Subscriber) bool {
	return bytes.Equal(s.Encode(nil), other.Encode(nil))
}

// late is the sum of what came for a period and was not counted in it.
type late struct {
	period spend.Period
	sum    spend.Amount
}

// former is a number that the subscriber had, and until when usage may be sent on from it.
type previousNumber struct {
	msisdn string
	until  time.Time
}

// leaving is a move to another number that is not settled: the record stands here as it was sent there, and nothing
// changes it.
type transferOut struct {
	to       string
	transfer event.Identity
	// move is the event that asked for it, held what came since, in the order of the log.
	move heldEvent
	held []heldEvent
}

// parked is an event that waits in a record: usage of a number that nobody has activated yet, what came for a subscriber
// that is leaving.
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
