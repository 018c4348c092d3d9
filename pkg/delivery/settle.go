package delivery

import "time"

// Outcome is what a channel observed of one attempt.
type Outcome struct {
	// Result classifies the attempt.
	Result Result
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

// decide returns what follows from attempt number n of d. A delivery is dead after MaxAttempts, but not before their
// waits passed: attempts that a changed endpoint brought forward do not use up attempts.
func decide(d *Delivery, n int, o *Outcome) decision {
	switch o.Result {
	case Accepted:
		return decision{settlement: Delivered}
	case Refused:
		return decision{settlement: Dead, reason: "refused"}
	}
	after := wait(d.ID, n)
	if n < MaxAttempts {
		return decision{next: o.Finished.Add(after), wait: after}
	}
	began := d.PlannedAt
	if d.NotBefore.After(began) {
		began = d.NotBefore
	}
	if !o.Finished.Before(began.Add(leastHorizon)) {
		return decision{settlement: Dead, reason: "exhausted"}
	}
	after = min(after, began.Add(Horizon).Sub(o.Finished))
	return decision{next: o.Finished.Add(after), wait: after}
}
