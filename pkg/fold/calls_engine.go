package fold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/pending"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
)

// Call appends a command to its subject's partition, under the id that the
// caller chose, and answers once the commit that holds it is made. The event's
// type begins with "command."; its id, source and tenant are its reference, and
// its type, subject and data what the same reference always asks for.
//
// Without a deadline on ctx it takes at most 5 s. The errors that a caller can
// distinguish:
//
//   - *NotOwnerError: another process has the partition; forward it there, once
//   - [ErrUnknown]: the partition is being opened or rebuilt; nothing was appended
//   - [ErrLate]: less than 20 ms of the deadline are left; nothing was appended
//   - a fault Throttled, CALLS_WAITING: too many wait already; nothing was appended
//   - a fault Unavailable, OUTCOME_UNKNOWN: it may be counted, now or later.
//     With [ErrMoved] in its chain the next owner may be asked at once.
//   - a fault AlreadyExists, ID_REUSED: another call was accepted under this reference
//   - a fault Internal, PANIC: the fold panicked; the call does nothing
//   - any other is what the fold refused it with, or that Kafka or Redis could
//     not be asked before anything was appended
//
// Whatever was appended is decided, by this owner or a later one. Where the
// answer is a decision, it is the last word on this try: copies of its record
// that a lost acknowledgement has left in the log do nothing.
func (e *Engine[B, C]) Call(ctx context.Context, command *event.Event) (Answer, error) {
	begin := e.config.Clock()
	v := e.call(ctx, command)
	e.metrics.Called(v.Result, e.config.Clock().Sub(begin))
	return v.Answer, v.Err
}

func (e *Engine[B, C]) call(ctx context.Context, command *event.Event) pending.Decision {
	if !event.IsCommand(command.Type) {
		return pending.Decision{Result: pending.Failed, Err: fmt.Errorf("an event of type %q is no call", command.Type)}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, pending.Timeout)
		defer cancel()
	}
	if deadline, _ := ctx.Deadline(); time.Until(deadline) < pending.Margin || ctx.Err() != nil {
		return pending.Decision{Result: pending.Late, Err: ErrLate}
	}
	number := e.Partition(command.Key())
	o := e.owner(number)
	if o == nil {
		v := pending.Decision{Result: pending.NotReady, Err: e.elsewhere(ctx, number)}
		if _, ok := errors.AsType[*NotOwnerError](v.Err); ok {
			v.Result = pending.Elsewhere
		}
		return v
	}
	return o.call(ctx, command)
}

// elsewhere names the owner of a partition that this process does not work.
func (e *Engine[B, C]) elsewhere(ctx context.Context, number int32) error {
	w, _, err := e.config.Store.Peek(ctx, e.partition(number), nil)
	if err != nil {
		return fmt.Errorf("find owner: %w", err)
	}
	if w.Address == "" || w.Address == e.config.Address {
		return ErrUnknown
	}
	return &NotOwnerError{Partition: number, Address: w.Address}
}

func (e *Engine[B, C]) partition(number int32) state.Partition {
	return state.Partition{Domain: e.config.Domain, Number: number, Count: e.partitions}
}

// ReadStored answers from the store, whichever process owns the partition: for when the owner can't be reached. ErrUnknown where
// the partition is not ready, where there is no watermark, or where it was committed longer ago than
// Limits.MaxStaleness: an owner that works commits each second. The reading has what stands there all the same, to
// decide by what hardly changes.
func (e *Engine[B, C]) ReadStored(ctx context.Context, key string) (Reading[B], error) {
	var none Reading[B]
	w, values, err := e.config.Store.Peek(ctx, e.partition(e.Partition(key)), []string{record.Key(key)})
	if err != nil {
		return none, fmt.Errorf("read record: %w", err)
	}
	if most := e.config.Limits.MaxStaleness; w.Status != state.Ready || e.config.Clock().Sub(time.UnixMilli(w.At)) > most || e.still.For(e.Partition(key), w) > most {
		old, _ := e.reading(w, values[0]) // what can't be read is not there
		return old, ErrUnknown
	}
	return e.reading(w, values[0])
}

// Watch signals after each commit of this process that writes or deletes the key's record, and once the partition can
// be read; signals that are not taken become one. The channel is closed once the partition is lost, at once where it is
// not worked here: Read then names its owner. stop ends the watch; the channel is not closed by it. Watch first and
// read then, to miss nothing.
func (e *Engine[B, C]) Watch(key string) (changed <-chan struct{}, stop func()) {
	o := e.owner(e.Partition(key))
	if o == nil {
		closed := make(chan struct{})
		close(closed)
		return closed, func() {}
	}
	return o.view.Watch(record.Key(key))
}
