package safeguard

import (
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
)

// life is what a record says of its number.
type life uint8

const (
	// alive is an active subscriber.
	alive life = iota
	// terminated is the mark of one that is gone: its ids and sequence go on with the next. Usage may wait for that one.
	terminated
	// moved is the mark of a number whose subscriber has another by now: usage is sent on to it.
	moved
	// awaited is a number that nobody has activated yet: its usage waits.
	awaited
)

// subscriber is the body of a record: an active subscriber, or what its number is instead. The zero value is a subscriber
// without anything.
type subscriber struct {
	life life
	// latest is the own time of the last event of its life (activation, change of class or number, termination and the
	// like): one from before is stale.
	latest time.Time

	// The following are an active subscriber's.

	// activated is when it began, by the event's own time: usage from before is its predecessor's.
	activated time.Time
	// suspended by its operator, which counting does not mind.
	suspended bool
	// class of service, imsi (6 to 15 digits or empty) and language, as its events said.
	class, imsi, language string
	// revision of the configuration that it was last judged by.
	revision int64
	options  [spend.Options]option
	// since is when it got a number that somebody had before, by the event's own time: what that used until then is the
	// other's. Zero where nobody else is known to have had it, or the subscriber itself had.
	since time.Time
	// former are the numbers it had, the oldest first, as far as usage may still be sent on from them.
	former []former

	// leaving is set while the subscriber is on its way to another number.
	leaving *leaving
	// refunds are what is left to be given back of events of which a part was, the oldest first.
	refunds []refund

	// until is when a mark comes to its end.
	until time.Time
	// movedTo is the number that a subscriber has instead of this one.
	movedTo string
	// parked is what waits for the activation of an awaited or a terminated number, in the order of the log, and held
	// until when.
	parked []parked
	held   time.Time
}

// pending says that usage waits for the number to be activated.
func (s *subscriber) pending() bool { return s.life == awaited || len(s.parked) > 0 }

// alive says that there is an active subscriber.
func (s *subscriber) alive() bool { return s.life == alive }

// option is where a subscriber stands with one safeguard. The zero value is one that its class does not offer.
type option struct {
	state spend.State
	// withdrawn: the class does not offer it any more; what was spent is kept to the end of the period, and what the
	// subscriber set for longer, in case it comes back.
	withdrawn bool
	// blocked is the bit that safeguard.reached sets and safeguard.released clears.
	blocked bool
	// blockInactive is the class's choice, as last judged, that an overspend safeguard blocks while it is inactive.
	blockInactive bool
	// limited says that there is a limit; only an overspend safeguard may have none. own: it is the subscriber's, which
	// the class's default leaves alone.
	limited, own bool
	// hasNext says that the next period begins with the limit next.
	hasNext bool
	// ownDay: the renewal day is the subscriber's, not the class's. dayChanged: it was changed in this period.
	ownDay, dayChanged bool
	// noticed: the second notice of this period was told.
	noticed    bool
	renewalDay spend.RenewalDay
	// currency of all of its amounts.
	currency string
	// limit as last judged, and that of the next period.
	limit, next spend.Amount
	// perPayment is the most that one payment may be, as last judged; spend.Max where nothing caps it.
	perPayment spend.Amount
	count      spend.Count
	period     spend.Period
	// thresholds are the subscriber's own; none: those of the class hold.
	thresholds []spend.Threshold
	// late is what is not told yet, by period, oldest first.
	late []late
}

// offered says whether the subscriber has the option.
func (o *option) offered() bool { return o.state != spend.Unset && !o.withdrawn }

// standing is what decides whether the option blocks.
func (o *option) standing() spend.Standing {
	limit := o.limit
	if !o.limited {
		limit = spend.Max
	}
	return spend.Standing{Offered: o.offered(), State: o.state, BlockInactive: o.blockInactive, Spent: o.count.Spent, Limit: limit}
}

// thresholdsUnder are where the subscriber is told on the way to the limit: its own, or those of what its class offers, if
// anything.
func (o *option) thresholdsUnder(of *offer) []spend.Threshold {
	if len(o.thresholds) > 0 || of == nil {
		return o.thresholds
	}
	return of.Thresholds
}

// late is the sum of what came for a period and was not counted in it.
type late struct {
	period spend.Period
	sum    spend.Amount
}

// former is a number that the subscriber had, and until when usage may be sent on from it.
type former struct {
	msisdn string
	until  time.Time
}

// leaving is a move to another number that is not settled: the record stands here as it was sent there, and nothing
// changes it.
type leaving struct {
	to       string
	transfer event.Identity
	// move is the event that asked for it, held what came since, in the order of the log.
	move parked
	held []parked
}

// parked is an event that waits in a record: usage of a number that nobody has activated yet, what came for a subscriber
// that is leaving.
type parked struct {
	identity event.Identity
	content  uint64
	// offset is where it stands in the log, at the log time when it came there.
	offset int64
	at     time.Time
	// trace is its traceparent, value the event as it stands in the log.
	trace string
	value string
}
