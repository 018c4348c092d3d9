package fold

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/pending"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Appender adds calls at the end of the partition's log, in the order given, and returns of each where it is once all
// replicas have it. One that fails may stand there all the same, now or later, more than once.
type Appender interface {
	AppendCalls(ctx context.Context, records ...stream.Record) []stream.ProduceResult
}

// Call appends a command to the partition's log and waits until it is decided; see Engine.Call. ctx has a deadline.
func (o *Owner[B, C]) Call(ctx context.Context, e *event.Event) (Answer, error) {
	v := o.call(ctx, e)
	return v.Answer, v.Err
}

func (o *Owner[B, C]) call(ctx context.Context, e *event.Event) pending.Decision {
	if !o.config.Options.Commands {
		return pending.Decision{Result: pending.Failed, Err: fmt.Errorf("domain %s takes no calls", o.place.partition.Domain)}
	}
	if w, ours := o.view.Owned(); !ours || w.Status != state.Ready {
		return pending.Decision{Result: pending.NotReady, Err: ErrUnknown}
	}
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) < pending.Margin {
		return pending.Decision{Result: pending.Late, Err: ErrLate}
	}
	stamped := *e
	stamped.ReceivedAt = o.config.Clock().Truncate(time.Millisecond)
	if stamped.Time.IsZero() {
		stamped.Time = stamped.ReceivedAt
	}
	r, err := stamped.Record(o.config.Topic)
	if err != nil {
		return pending.Decision{Result: pending.Failed, Err: fmt.Errorf("encode call: %w", err)}
	}
	// As the owner is going to meet it.
	met, err := event.Decode(r.Value)
	if err != nil {
		return pending.Decision{Result: pending.Failed, Err: fmt.Errorf("encode call: %w", err)}
	}
	r.Partition = o.place.partition.Number
	c := &pending.Call{Record: r, Deadline: deadline, Done: make(chan pending.Decision, 1), Key: pending.Key{ID: record.CallID(referenceOf(met)), Content: met.Content()}}
	start, v := o.calls.Enter(c, o.config.CallsWaiting)
	if v.Err != nil {
		return v
	}
	o.config.Metrics.CallsWaiting.Inc()
	defer o.config.Metrics.CallsWaiting.Dec()
	if start {
		// Others' calls are appended as well: this caller's going must not stop them.
		go o.calls.Append(context.WithoutCancel(ctx), o.met.Load, o.config.Clock, o.config.Appender.AppendCalls)
	}
	select {
	case v = <-c.Done:
	case <-ctx.Done():
		v = o.calls.GiveUp(c, ctx.Err())
	}
	return v
}

// Answer is what the caller of an accepted call receives.
type Answer = pending.Answer

var (
	// ErrUnknown means that a partition can't answer yet: it is being opened or rebuilt.
	ErrUnknown = pending.ErrUnknown
	// ErrLate means that too little of the deadline was left. Nothing was appended.
	ErrLate = pending.ErrLate
	// ErrMoved stands in the chain of an OUTCOME_UNKNOWN after which the next owner may be asked at once, under the
	// same id: the call is in the log, and the next owner decides it before it answers.
	ErrMoved = pending.ErrMoved
)
