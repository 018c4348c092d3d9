// Package pending keeps the calls that wait at the owner of a partition for their decision.
package pending

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// ErrUnknown means that a partition can't answer yet: it is being opened or rebuilt.
var ErrUnknown = errors.New("state of the partition is not known yet")

// Answer is what the caller of an accepted call receives.
type Answer struct {
	// Value is what the fold gave to Accept.
	Value any
	// Sequence is the last one of the subject given out; Time the log time at the call, and Revision the configuration
	// it was decided by.
	Sequence int64
	Time     time.Time
	Revision int64
	// Repeated: the call was accepted before, and changed nothing this time.
	Repeated bool
}

var (
	// ErrLate means that too little of the deadline was left. Nothing was appended.
	ErrLate = fmt.Errorf("too little of the deadline is left for a change: %w", context.DeadlineExceeded)
	// ErrMoved stands in the chain of an OUTCOME_UNKNOWN after which the next owner may be asked at once, under the
	// same id: the call is in the log, and the next owner decides it before it answers.
	ErrMoved = errors.New("partition was lost after the call was appended")
)

const (
	// Timeout is that of a caller who sets none.
	Timeout = 5 * time.Second
	// Margin is the least of a deadline for which a call is appended.
	Margin = 20 * time.Millisecond
	// mostPending bounds those that wait at one partition; at 10 ms each it is a hundred thousand calls a second.
	MostPending = 1000
	// sAtOnce bounds one append.
	sAtOnce = 500
)

// Result is a metric's label.
type Result string

const (
	Accepted  Result = "accepted"
	Repeated  Result = "repeated"
	Refused   Result = "refused"
	Reused    Result = "id_reused"
	Panic     Result = "panic"
	Unknown   Result = "unknown"
	Moved     Result = "moved"
	Elsewhere Result = "not_owner"
	NotReady  Result = "not_ready"
	Late      Result = "late"
	Throttled Result = "throttled"
	Failed    Result = "failed"
)

// unknownOutcome is the one error after which a call may be counted.
func UnknownOutcome(cause error) error {
	return fault.New(fault.Unavailable, reason.OutcomeUnknown, "the call may be counted or not: repeat it under its reference to find out (%w)", cause)
}

// pendingCall is one between its arrival and its answer.
type Call struct {
	Record   stream.Record
	Key      Key
	Deadline time.Time
	stage    Stage
	Done     chan Decision // takes one
}

type Stage uint8

const (
	Queued    Stage = iota // nothing was appended
	Appending              // perhaps appended
	Appended               // acknowledged by all replicas
	Unsure                 // not acknowledged, and perhaps appended
)

// Calls is where calls wait at an owner. At most one goroutine appends, as long as there is something to append: numbers
// are drawn in the order in which records are handed to the log, so that none is superseded by another of this owner.
type Calls struct {
	mu      sync.Mutex
	left    bool
	last    uint64 // number drawn last
	Waiting map[uint64]*Call
	queue   []*Call
	busy    bool
}

// leave fails those that wait, at once: the next owner has the answers. One whose append is still under way is answered when
// that is acknowledged, for only what stands in the log for sure comes before what the next owner appends.
func (d *Calls) Leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = true
	for _, c := range d.queue {
		c.Done <- Decision{Result: NotReady, Err: ErrUnknown}
	}
	d.queue = nil
	for number, c := range d.Waiting {
		switch c.stage {
		case Appended:
			d.reply(number, Decision{Result: Moved, Err: UnknownOutcome(ErrMoved)})
		case Unsure:
			d.reply(number, Decision{Result: Unknown, Err: UnknownOutcome(errNotAcknowledged)})
		}
	}
}

var errNotAcknowledged = errors.New("append was not acknowledged")

// reply answers a call; its caller's channel takes one decision. Called locked.
func (d *Calls) reply(number uint64, v Decision) {
	if c, ok := d.Waiting[number]; ok {
		delete(d.Waiting, number)
		c.Done <- v
	}
}

// answer hands out the decisions of a committed batch.
func (d *Calls) Answer(decisions []Decision) {
	if len(decisions) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range decisions {
		if c, ok := d.Waiting[v.Call.Number]; ok && c.Key == v.Call {
			d.reply(v.Call.Number, v)
		}
	}
}

// enter queues a call.
func (d *Calls) Enter(c *Call, bound int) (start bool, v Decision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.left:
		return false, Decision{Result: NotReady, Err: ErrUnknown}
	case len(d.queue)+len(d.Waiting) >= bound:
		return false, Decision{Result: Throttled, Err: fault.New(fault.Throttled, "CALLS_WAITING", "%d calls wait for this partition already", bound).After(Margin)}
	}
	d.queue = append(d.queue, c)
	start = !d.busy
	d.busy = true
	return start, Decision{}
}

// giveUp is the end of a caller's patience.
func (d *Calls) GiveUp(c *Call, cause error) Decision {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case v := <-c.Done: // in the same moment
		return v
	default:
	}
	if c.stage == Queued {
		d.queue = slices.DeleteFunc(d.queue, func(q *Call) bool { return q == c })
		return Decision{Result: Late, Err: fmt.Errorf("%w: %w", ErrLate, cause)}
	}
	delete(d.Waiting, c.Key.Number)
	return Decision{Result: Unknown, Err: UnknownOutcome(cause)}
}

// take draws numbers for what is to be appended next: the clock's microseconds, but above the last number drawn and the
// last one met in the log.
func (d *Calls) Take(met func() uint64, clock func() time.Time) (taken []*Call, records []stream.Record, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) > 0 && len(taken) < sAtOnce {
		c := d.queue[0]
		d.queue = d.queue[1:]
		if time.Until(c.Deadline) < Margin {
			c.Done <- Decision{Result: Late, Err: ErrLate}
			continue
		}
		d.last = max(d.last+1, met()+1, uint64(clock().UnixMicro()))
		c.Key.Number, c.stage = d.last, Appending
		c.Record.Headers = append(c.Record.Headers, stream.Header{Key: NumberHeader, Value: strconv.AppendUint(nil, d.last, 10)})
		if d.Waiting == nil {
			d.Waiting = make(map[uint64]*Call)
		}
		d.Waiting[d.last] = c
		taken, records = append(taken, c), append(records, c.Record)
		if c.Deadline.After(until) {
			until = c.Deadline
		}
	}
	if len(taken) == 0 {
		d.busy = false
	}
	return taken, records, until
}

// appended takes what became of records. Any error but a refusal leaves open whether one stands in the log: its caller
// goes on waiting, since the owner may well meet it.
func (d *Calls) Appended(taken []*Call, results []stream.ProduceResult) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range taken {
		err := results[i].Err
		switch {
		case err == nil && d.left:
			d.reply(c.Key.Number, Decision{Result: Moved, Err: UnknownOutcome(ErrMoved)})
		case err == nil:
			c.stage = Appended
		case errors.Is(err, stream.ErrTimestampAhead) || errors.Is(err, stream.ErrTooLarge):
			d.reply(c.Key.Number, Decision{Result: NotReady, Err: fmt.Errorf("append call: %w: %w", ErrUnknown, err)})
		case d.left:
			d.reply(c.Key.Number, Decision{Result: Unknown, Err: UnknownOutcome(err)})
		default:
			c.stage = Unsure
		}
	}
}

// Append hands calls to the log through add while there are any. It ends by itself: each append ends with the last of its
// callers' deadlines.
func (d *Calls) Append(
	ctx context.Context, met func() uint64, clock func() time.Time, add func(context.Context, ...stream.Record) []stream.ProduceResult,
) {
	for {
		taken, records, until := d.Take(met, clock)
		if len(taken) == 0 {
			return
		}
		within, cancel := context.WithDeadline(ctx, until)
		results := add(within, records...)
		cancel()
		d.Appended(taken, results)
	}
}

// decision is what a caller is answered once the batch is committed.
type Decision struct {
	Call   Key
	Result Result
	Answer Answer
	Err    error
}

// Key names one try of a call. The number alone would do, but for owners whose clocks agree to the microsecond.
type Key struct {
	Number      uint64
	ID, Content uint64
}

// NumberHeader is the header of a call's number: one that is above any that its owner has drawn or met before. A
// number not above the last one applied is superseded: its record is a copy that a produce without an answer has left, or the
// late one of an earlier owner, and its caller has a decision or the answer that it is not known. Without the number a call
// that was refused could be counted by its own copy. Last is the watermark's Called, a fold over the log as all else.
const NumberHeader = "tollgate-call"

// Number is the number of a call's record, 0 where it has none: such a record was appended by hand.
func Number(r *stream.Record) uint64 {
	v, _ := r.Header(NumberHeader)
	n, err := strconv.ParseUint(string(v), 10, 64)
	if err != nil {
		return 0 // appended by hand: no caller waits for it
	}
	return n
}
