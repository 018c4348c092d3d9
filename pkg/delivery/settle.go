package delivery

import "time"

// Outcome is what one attempt came to, as the channel saw it.
type Outcome struct {
	// Result judges it.
	Result Result
	// Unfinished: the attempt was broken off by us; it counts for nothing.
	Unfinished bool
	// Started and Finished by the wall clock.
	Started, Finished time.Time
	Phases            Phases
	// Status is the channel's code (HTTP status), 0 where there was no answer.
	Status int
	// ErrorClass says why there was no answer, of a closed set; Error in words, secrets masked.
	ErrorClass, Error string
	// RequestHeaders have their secrets masked.
	RequestHeaders, ResponseHeaders []Header
	ResponseBody                    []byte
	ResponseBodyTruncated           bool
}

// Result is a channel's judgement of one attempt.
type Result uint8

const (
	// Failed: tried again later, as long as attempts are left.
	Failed Result = iota
	// Accepted: the receiver has it.
	Accepted
	// Refused: no later attempt can succeed.
	Refused
	// Ours: nothing reached the receiver, since something of ours was missing (a file descriptor, a port, a name
	// server). It is no attempt: the endpoint is held and tried again, nothing is recorded.
	Ours
)

// Phases are the parts of an attempt's duration; 0 where there was none.
type Phases struct{ DNS, Connect, TLS, Wait, Total time.Duration }

// Settlement is how a delivery ended.
type Settlement uint8

const (
	// Unsettled: it waits for its next attempt.
	Unsettled Settlement = iota
	// Delivered to the receiver.
	Delivered
	// Dead: given up; it stands in the dead letters.
	Dead
	// Expired, Superseded: no longer wanted; no dead letter.
	Expired
	Superseded
	// Cancelled: its endpoint was disabled or deleted; it stands in the dead letters.
	Cancelled
)

var settlementNames = [...]string{"unsettled", "delivered", "dead", "expired", "superseded", "cancelled"}

// String is a lower-case word, also the label of metrics.
func (s Settlement) String() string { return settlementNames[s] }

// gaveUp tells that it was settled without the receiver having it.
func (s Settlement) gaveUp() bool { return s != Unsettled && s != Delivered }

// verdict is what follows from an attempt.
type verdict struct {
	settlement Settlement
	// next is when it is tried again, where it is unsettled: wait after the attempt ended.
	next time.Time
	wait time.Duration
	// reason of a giving-up, of a closed set.
	reason string
}

// judge decides what follows from attempt number n of d. It is given up after
// MaxAttempts, but not before their waits have passed: attempts that a changed
// endpoint brought forward use none up.
func judge(d *Delivery, n int, o *Outcome) verdict {
	switch o.Result {
	case Accepted:
		return verdict{settlement: Delivered}
	case Refused:
		return verdict{settlement: Dead, reason: "refused"}
	}
	after := wait(d.ID, n)
	if n < MaxAttempts {
		return verdict{next: o.Finished.Add(after), wait: after}
	}
	began := d.PlannedAt
	if d.NotBefore.After(began) {
		began = d.NotBefore
	}
	if !o.Finished.Before(began.Add(leastHorizon)) {
		return verdict{settlement: Dead, reason: "exhausted"}
	}
	after = min(after, began.Add(Horizon).Sub(o.Finished))
	return verdict{next: o.Finished.Add(after), wait: after}
}
