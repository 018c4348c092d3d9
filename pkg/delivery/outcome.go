package delivery

import (
	"time"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
)

// Outcome is what a channel observed of one attempt.
type Outcome struct {
	// Result classifies the attempt; Fault is whose a failure is.
	Result Result
	Fault  Fault
	// Busy: the receiver shows that it has too many requests (for HTTP 429 and 5xx): it gets fewer at once.
	Busy bool
	// RetryAfter is for how long the receiver asked for no request, at most an hour; 0 where it did not.
	RetryAfter time.Duration
	// Activation is the one that was known as the request was made, which is above the target's under an older configuration.
	Activation int64
	// Uncounted: the endpoint failed before the delivery mattered. It counts for the endpoint and uses no attempt of the
	// delivery.
	Uncounted bool
	// RepeatedRequest: the request was sent twice, on two connections.
	RepeatedRequest bool
	// Unfinished: this process broke the attempt off; it is not counted.
	Unfinished bool
	// Started and Finished are times of the wall clock.
	Started, Finished time.Time
	Phases            Phases
	// Status is the channel's status code (for HTTP the status, for SMTP the reply code), 0 where there was no response;
	// EnhancedStatus that of RFC 3463, where there is one.
	Status         int
	EnhancedStatus string
	// Steps are those of a conversation, where the channel has one.
	Steps []Step
	// Reason is why a delivery is Withdrawn, from a closed set.
	Reason string
	// ErrorClass is why there was no response, from a closed set; Error is the text, with secrets masked.
	ErrorClass, Error string
	// RequestHeaders have their secrets masked.
	RequestHeaders, ResponseHeaders []Header
	ResponseBody                    []byte
	ResponseBodyTruncated           bool
}

// Step is one command of a conversation and its answer, secrets masked.
type Step struct {
	Name           string
	Took           time.Duration
	Status         int
	EnhancedStatus string
	Answer         string
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
	// Withdrawn: nothing was sent, since nobody wants the delivery any more. It is cancelled for the outcome's reason, without
	// a dead letter.
	Withdrawn
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
	// FaultRecipient: this delivery alone, its message or its recipient. It shows that the endpoint works.
	FaultRecipient
)

var FaultNames = [...]string{"receiver", "receiver", "ours", "slow", "gone", "throttled", "recipient"}

// String is a lower-case word; it is also the label of metrics.
func (f Fault) String() string { return FaultNames[f] }

// Shows is what an attempt shows of its endpoint.
func (o *Outcome) Shows() health.Kind {
	switch {
	case o.Result == Accepted:
		return health.Success
	case o.Fault == FaultRecipient:
		return health.Reached
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
	// Cancelled: its endpoint was disabled or deleted, and the delivery is in the dead letters; or it is Withdrawn.
	Cancelled
)

var settlementNames = [...]string{"unsettled", "delivered", "dead", "expired", "superseded", "cancelled"}

// String is a lower-case word; it is also the label of metrics.
func (s Settlement) String() string { return settlementNames[s] }

// Undelivered reports a settlement without a receipt by the receiver.
func (s Settlement) Undelivered() bool { return s != Unsettled && s != Delivered }

// Decision is what follows from an attempt.
type Decision struct {
	Settlement Settlement
	// Next is the time of the next attempt where the delivery is unsettled: wait after the attempt ended.
	Next time.Time
	Wait time.Duration
	// Reason of an undelivered settlement, from a closed set.
	Reason string
	// Unwanted: the settlement has no dead letter, whatever it is.
	Unwanted bool
}

// HasDeadLetter reports that the delivery goes to the dead letters.
func (v Decision) HasDeadLetter() bool {
	return !v.Unwanted && (v.Settlement == Dead || v.Settlement == Cancelled)
}
