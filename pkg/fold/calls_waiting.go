package fold

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Answer is what the caller of an accepted call is told.
type Answer struct {
	// Value is what the fold gave to Accept.
	Value any
	// Sequence is the last one of the subject given out; Time the log time at the call, and Revision the configuration
	// it was judged by.
	Sequence int64
	Time     time.Time
	Revision int64
	// Repeated: the call was accepted before, and changed nothing this time.
	Repeated bool
}

// Appender adds calls at the end of the partition's log, in the order given, and says of each where it stands once all
// replicas have it. One that fails may stand there all the same, now or later, more than once.
type Appender interface {
	AppendCalls(ctx context.Context, records ...stream.Record) []stream.ProduceResult
}

var (
	// ErrLate says that too little of the deadline was left. Nothing was appended.
	ErrLate = fmt.Errorf("too little of the deadline is left for a change: %w", context.DeadlineExceeded)
	// ErrMoved stands in the chain of an OUTCOME_UNKNOWN after which the next owner may be asked at once, under the
	// same id: the call stands in the log, and whoever works it next judges it before it answers.
	ErrMoved = errors.New("partition was lost after the call was appended")
)

const (
	// callTimeout is that of a caller who sets none.
	callTimeout = 5 * time.Second
	// callMargin is the least of a deadline for which a call is appended.
	callMargin = 20 * time.Millisecond
	// callsWaiting bounds those that wait at one partition; at 10 ms each it is a hundred thousand calls a second.
	callsWaiting = 1000
	// callsAtOnce bounds one append.
	callsAtOnce = 500
)

// callResult is a metric's label.
type callResult string

const (
	callAccepted  callResult = "accepted"
	callRepeated  callResult = "repeated"
	callRefused   callResult = "refused"
	callReused    callResult = "id_reused"
	callPanic     callResult = "panic"
	callUnknown   callResult = "unknown"
	callMoved     callResult = "moved"
	callElsewhere callResult = "not_owner"
	callNotReady  callResult = "not_ready"
	callLate      callResult = "late"
	callThrottled callResult = "throttled"
	callFailed    callResult = "failed"
)

// unknownOutcome is the one error after which a call may be counted.
func unknownOutcome(cause error) error {
	return fault.New(fault.Unavailable, "OUTCOME_UNKNOWN", "the call may be counted or not: repeating it under its reference tells (%w)", cause)
}

// waitingCall is one between its arrival and its answer.
type waitingCall struct {
	record   stream.Record
	key      callKey
	deadline time.Time
	stage    callStage
	done     chan verdict // takes one
}

type callStage uint8

const (
	callQueued    callStage = iota // nothing was appended
	callAppending                  // perhaps appended
	callAppended                   // acknowledged by all replicas
	callUnsure                     // not acknowledged, and perhaps appended
)

// desk is where calls wait at an owner. At most one goroutine appends, as long as there is something to append: numbers
// are drawn in the order in which records are handed to the log, so that none is void by another of this owner.
type desk struct {
	mu      sync.Mutex
	left    bool
	last    uint64 // number drawn last
	waiting map[uint64]*waitingCall
	queue   []*waitingCall
	busy    bool
}

// leave fails those that wait, at once: the next owner will tell. One whose append is still on its way is told when
// that is answered, for only what stands in the log for sure comes before what the next owner appends.
func (d *desk) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = true
	for _, c := range d.queue {
		c.done <- verdict{result: callNotReady, err: ErrUnknown}
	}
	d.queue = nil
	for number, c := range d.waiting {
		switch c.stage {
		case callAppended:
			d.tell(number, verdict{result: callMoved, err: unknownOutcome(ErrMoved)})
		case callUnsure:
			d.tell(number, verdict{result: callUnknown, err: unknownOutcome(errNotAcknowledged)})
		}
	}
}

var errNotAcknowledged = errors.New("append was not acknowledged")

// tell answers a call; its caller has a place for one verdict. Called locked.
func (d *desk) tell(number uint64, v verdict) {
	if c, ok := d.waiting[number]; ok {
		delete(d.waiting, number)
		c.done <- v
	}
}

// answer hands out the verdicts of a committed batch.
func (d *desk) answer(verdicts []verdict) {
	if len(verdicts) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range verdicts {
		if c, ok := d.waiting[v.call.number]; ok && c.key == v.call {
			d.tell(v.call.number, v)
		}
	}
}

// enter queues a call.
func (d *desk) enter(c *waitingCall, bound int) (start bool, v verdict) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.left:
		return false, verdict{result: callNotReady, err: ErrUnknown}
	case len(d.queue)+len(d.waiting) >= bound:
		return false, verdict{result: callThrottled, err: fault.New(fault.Throttled, "CALLS_WAITING", "%d calls wait for this partition already", bound).After(callMargin)}
	}
	d.queue = append(d.queue, c)
	start = !d.busy
	d.busy = true
	return start, verdict{}
}

// giveUp is the end of a caller's patience.
func (d *desk) giveUp(c *waitingCall, cause error) verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case v := <-c.done: // in the same moment
		return v
	default:
	}
	if c.stage == callQueued {
		d.queue = slices.DeleteFunc(d.queue, func(q *waitingCall) bool { return q == c })
		return verdict{result: callLate, err: fmt.Errorf("%w: %w", ErrLate, cause)}
	}
	delete(d.waiting, c.key.number)
	return verdict{result: callUnknown, err: unknownOutcome(cause)}
}

// take draws numbers for what is to be appended next: the clock's microseconds, but above the last number drawn and the
// last one met in the log.
func (d *desk) take(met func() uint64, clock func() time.Time) (taken []*waitingCall, records []stream.Record, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) > 0 && len(taken) < callsAtOnce {
		c := d.queue[0]
		d.queue = d.queue[1:]
		if time.Until(c.deadline) < callMargin {
			c.done <- verdict{result: callLate, err: ErrLate}
			continue
		}
		d.last = max(d.last+1, met()+1, uint64(clock().UnixMicro()))
		c.key.number, c.stage = d.last, callAppending
		c.record.Headers = append(c.record.Headers, stream.Header{Key: callNumberHeader, Value: strconv.AppendUint(nil, d.last, 10)})
		if d.waiting == nil {
			d.waiting = make(map[uint64]*waitingCall)
		}
		d.waiting[d.last] = c
		taken, records = append(taken, c), append(records, c.record)
		if c.deadline.After(until) {
			until = c.deadline
		}
	}
	if len(taken) == 0 {
		d.busy = false
	}
	return taken, records, until
}

// appended takes what became of records. Any error but a refusal leaves open whether one stands in the log: its caller
// goes on waiting, since the owner may well meet it.
func (d *desk) appended(taken []*waitingCall, placed []stream.ProduceResult) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range taken {
		err := placed[i].Err
		switch {
		case err == nil && d.left:
			d.tell(c.key.number, verdict{result: callMoved, err: unknownOutcome(ErrMoved)})
		case err == nil:
			c.stage = callAppended
		case errors.Is(err, stream.ErrTimestampAhead) || errors.Is(err, stream.ErrTooLarge):
			d.tell(c.key.number, verdict{result: callNotReady, err: fmt.Errorf("append call: %w: %w", ErrUnknown, err)})
		case d.left:
			d.tell(c.key.number, verdict{result: callUnknown, err: unknownOutcome(err)})
		default:
			c.stage = callUnsure
		}
	}
}

// Call appends a command to the partition's log and waits until it is judged; see Engine.Call. ctx has a deadline.
func (o *Owner[B, C]) Call(ctx context.Context, e *event.Event) (Answer, error) {
	v := o.call(ctx, e)
	return v.answer, v.err
}

func (o *Owner[B, C]) call(ctx context.Context, e *event.Event) verdict {
	if !o.config.Options.Commands {
		return verdict{result: callFailed, err: fmt.Errorf("domain %s takes no calls", o.place.partition.Domain)}
	}
	if w, ours := o.view.Owned(); !ours || w.Status != state.Ready {
		return verdict{result: callNotReady, err: ErrUnknown}
	}
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) < callMargin {
		return verdict{result: callLate, err: ErrLate}
	}
	stamped := *e
	stamped.ReceivedAt = o.config.Clock().Truncate(time.Millisecond)
	if stamped.Time.IsZero() {
		stamped.Time = stamped.ReceivedAt
	}
	r, err := stamped.Record(o.config.Topic)
	if err != nil {
		return verdict{result: callFailed, err: fmt.Errorf("encode call: %w", err)}
	}
	// As the owner is going to meet it.
	met, err := event.Decode(r.Value)
	if err != nil {
		return verdict{result: callFailed, err: fmt.Errorf("encode call: %w", err)}
	}
	r.Partition = o.place.partition.Number
	c := &waitingCall{record: r, deadline: deadline, done: make(chan verdict, 1), key: callKey{id: record.CallID(referenceOf(met)), content: met.Content()}}
	start, v := o.desk.enter(c, o.config.CallsWaiting)
	if v.err != nil {
		return v
	}
	o.config.Metrics.callsWaiting.Inc()
	defer o.config.Metrics.callsWaiting.Dec()
	if start {
		// Others' calls are appended as well: this caller's going must not stop them.
		go o.appendCalls(context.WithoutCancel(ctx))
	}
	select {
	case v = <-c.done:
	case <-ctx.Done():
		v = o.desk.giveUp(c, ctx.Err())
	}
	return v
}

// appendCalls hands calls to the log while there are any. It ends by itself: each append ends with the last of its
// callers' deadlines.
func (o *Owner[B, C]) appendCalls(ctx context.Context) {
	met := func() uint64 {
		w, _ := o.view.Owned()
		return w.Called
	}
	for {
		taken, records, until := o.desk.take(met, o.config.Clock)
		if len(taken) == 0 {
			return
		}
		within, cancel := context.WithDeadline(ctx, until)
		placed := o.config.Appender.AppendCalls(within, records...)
		cancel()
		o.desk.appended(taken, placed)
	}
}
