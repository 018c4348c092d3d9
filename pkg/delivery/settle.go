package delivery

import (
	"time"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/schedule"
)

// Outcome is what a channel observed of one attempt.
type Outcome struct {
	// Result classifies the attempt; Fault says whose a failure is.
	Result Result
	Fault  Fault
	// Busy: the receiver shows that it has too many requests (for HTTP 429 and 5xx): it gets fewer at once.
	Busy bool
	// RetryAfter is for how long the receiver asked for no request, at most an hour; 0 where it did not.
	RetryAfter time.Duration
	// RepeatedRequest: the request was sent twice, on two connections.
	RepeatedRequest bool
	// Unfinished: this process broke the attempt off; it is not counted.
	Unfinished bool
	// Started and Finished are times of the wall clock.
	Started, Finished time.Time
	Phases            Phases
	// Status is the channel's status code (for HTTP the status), 0 where there was no response.
	Status int
	// ErrorClass says why there was no response, from a closed set; Error is the text, with secrets masked.
	ErrorClass, Error string
	// RequestHeaders have their secrets masked.
	RequestHeaders, ResponseHeaders []Header
	ResponseBody                    []byte
	ResponseBodyTruncated           bool
	// Repeated: the request was sent twice within the attempt, so the receiver may have it twice.
	Repeated bool
}

// Result is a channel's classification of one attempt.
type Result uint8

const (
	// Failed: the delivery is tried again later while attempts are left.
	Failed Result = iota
	// Accepted: the receiver has the delivery.
	Accepted
	// Refused: no later attempt can succeed.
	Refused
	// LocalFailure: no request reached the receiver because something of this process was missing (a file descriptor, a
	// port, a name server). It uses no attempt: the endpoint is held and tried again, and nothing is recorded.
	LocalFailure
)

// Fault is whose an attempt's failure is; the values are those of the record.
type Fault uint8

const (
	// FaultUnknown: there was no failure, or nothing more is known: it counts as the receiver's.
	FaultUnknown Fault = iota
	// FaultReceiver: the receiver, or what lies before it.
	FaultReceiver
	// FaultOurs: this process. It shows nothing about the endpoint.
	FaultOurs
	// FaultSlow: no answer in time.
	FaultSlow
	// FaultGone: the receiver wants no request any more. Its endpoint is suspended.
	FaultGone
	// FaultThrottled: the receiver asks for fewer requests, or for none until RetryAfter.
	FaultThrottled
)

var faultNames = [...]string{"receiver", "receiver", "ours", "slow", "gone", "throttled"}

// String is a lower-case word; it is also the label of metrics.
func (f Fault) String() string { return faultNames[f] }

// shows is what an attempt shows of its endpoint.
func (o *Outcome) shows() health.Kind {
	switch {
	case o.Result == Accepted:
		return health.Success
	case o.Fault == FaultGone:
		return health.Gone
	case o.Fault == FaultSlow:
		return health.Slow
	case o.Fault == FaultThrottled:
		return health.Throttled
	case o.Busy:
		return health.Busy
	}
	return health.Failure
}

// Phases are the parts of an attempt's duration; 0 where a phase did not occur.
type Phases struct{ DNS, Connect, TLS, Wait, Total time.Duration }

// Settlement is the final state of a delivery.
type Settlement uint8

const (
	// Unsettled: the delivery waits for its next attempt.
	Unsettled Settlement = iota
	// Delivered: the receiver has it.
	Delivered
	// Dead: no attempt succeeded; the delivery is in the dead letters.
	Dead
	// Expired, Superseded: no longer wanted; there is no dead letter.
	Expired
	Superseded
	// Cancelled: its endpoint was disabled or deleted; the delivery is in the dead letters.
	Cancelled
)

var settlementNames = [...]string{"unsettled", "delivered", "dead", "expired", "superseded", "cancelled"}

// String is a lower-case word; it is also the label of metrics.
func (s Settlement) String() string { return settlementNames[s] }

// undelivered reports a settlement without a receipt by the receiver.
func (s Settlement) undelivered() bool { return s != Unsettled && s != Delivered }

// decision is what follows from an attempt.
type decision struct {
	settlement Settlement
	// next is the time of the next attempt where the delivery is unsettled: wait after the attempt ended.
	next time.Time
	wait time.Duration
	// reason of an undelivered settlement, from a closed set.
	reason string
}

// orderingKeyHorizon is how long the head of an ordering key is tried while its endpoint accepts others.
const orderingKeyHorizon = time.Hour

// circumstances are what a decision depends on beside the attempt.
type circumstances struct {
	// maxAge is how old a delivery may become, by aged: the time that the log confirms.
	maxAge time.Duration
	aged   time.Time
	// stopped is how long its endpoint was stopped since the delivery was planned: the horizon stood still.
	stopped time.Duration
	// tried is the time since its first attempt began, without stops.
	tried time.Duration
	// holdsOthers: it is the head of an ordering key, and its endpoint accepted another since its first attempt.
	holdsOthers bool
	// schedule is when requests may be made, nil for always.
	schedule *schedule.Schedule
}

// decide returns what follows from attempt number n of d. A delivery is dead after MaxAttempts, but not before their
// waits passed: attempts that a changed endpoint brought forward do not use up attempts. One that its endpoint refuses,
// while it accepts others, gives way to those behind it after orderingKeyHorizon.
func decide(d *Delivery, n int, o *Outcome, c circumstances) decision {
	switch o.Result {
	case Accepted:
		return decision{settlement: Delivered}
	case Refused:
		return decision{settlement: Dead, reason: "refused"}
	}
	if v := d.outdated(o.Finished, c.aged, c.maxAge); v.settlement != Unsettled {
		return v
	}
	after := wait(d.ID, n)
	if n >= MaxAttempts {
		ran := o.Finished.Sub(d.begins()) - c.stopped
		if ran >= leastHorizon {
			return decision{settlement: Dead, reason: "exhausted"}
		}
		after = min(after, Horizon-ran)
	}
	if c.holdsOthers {
		left := orderingKeyHorizon - c.tried
		if left <= 0 {
			return decision{settlement: Dead, reason: "ordering_key_horizon"}
		}
		after = min(after, left)
	}
	after = min(max(after, o.RetryAfter), c.maxAge-c.aged.Sub(d.PlannedAt))
	next := o.Finished.Add(after)
	if c.schedule != nil && !c.schedule.Open(next) {
		if opens := c.schedule.Change(next); !opens.IsZero() {
			next = opens
		}
	}
	if !d.ExpiresAt.IsZero() && d.ExpiresAt.Before(next) {
		next = d.ExpiresAt
	}
	return decision{next: next, wait: next.Sub(o.Finished)}
}

// outdated is the settlement of a delivery that is not sent any more at a time: it expired, or is too old by the time that
// the log confirms.
func (d *Delivery) outdated(now, aged time.Time, maxAge time.Duration) decision {
	switch {
	case !d.ExpiresAt.IsZero() && !now.Before(d.ExpiresAt):
		return decision{settlement: Expired, reason: "expired"}
	case !aged.Before(d.PlannedAt.Add(maxAge)):
		return decision{settlement: Dead, reason: "too_old"}
	}
	return decision{}
}

// begins is when the horizon begins.
func (d *Delivery) begins() time.Time {
	if d.NotBefore.After(d.PlannedAt) {
		return d.NotBefore
	}
	return d.PlannedAt
}
