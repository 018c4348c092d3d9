package fold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/fold/internal/ahead"
	"github.com/tollgate/tollgate/pkg/fold/internal/control"
	"github.com/tollgate/tollgate/pkg/fold/internal/duelist"
	"github.com/tollgate/tollgate/pkg/fold/internal/image"
	"github.com/tollgate/tollgate/pkg/fold/internal/pending"
	"github.com/tollgate/tollgate/pkg/fold/internal/poison"
	"github.com/tollgate/tollgate/pkg/fold/internal/view"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Owner works one partition, from opening it until it is fenced, revoked or fails. Whatever goes wrong, everything in
// memory is dropped and the partition is opened again: the watermark has its position.
type Owner[B, C any] struct {
	config OwnerConfig[B, C]
	place  batchConfig
	rules  RuleFold[B] // nil where the fold keeps no records of rules
	view   *view.View  // what readers see
	calls  pending.Calls
	met    atomic.Uint64 // number of the newest call that was worked
	// configuration is the one in force.
	configuration C

	// w is where the partition stands, before ahead.Stored too by records from which nothing followed.
	w        state.Watermark
	ahead    *ahead.Work
	pending  []stream.Record
	run      []entry[B] // of the batch being worked
	memory   *memory[B]
	earlier  poison.Tries
	due      *duelist.Work
	rejected *display.Limited
	snap     *image.Reading

	committed  int64 // group's offset, as seen last
	settled    int64 // what was due by the log time there, and all below it, was published
	tickedAt   time.Time
	appended   int64 // number of the newest revision appended since opening
	changed    <-chan struct{}
	announceAt time.Time // not tried again before
	halted     control.Halted
	snapshotAt time.Time // not tried again before
	next       time.Time // stamp of the first record that is not applied; zero at the log's end
	fit        int       // how many records of the log fitted into a commit lately
}

// NewOwner prepares one. It does nothing before Run, and serves one Run.
func NewOwner[B, C any](c OwnerConfig[B, C]) *Owner[B, C] {
	c.DueStep = cmp.Or(c.DueStep, 500)
	c.Logger = c.Logger.With(zap.String("domain", c.Partition.Domain), zap.Int32("partition", c.Partition.Number))
	c.CallsWaiting = cmp.Or(c.CallsWaiting, pending.MostPending)
	o := &Owner[B, C]{
		config: c,
		place:  batchConfig{service: c.Service, partition: c.Partition, topic: c.Topic, rejected: c.Rejected},
		view:   view.NewView(c.Cache), memory: newMemory[B](c.Options.Timers),
		rejected: display.NewLimited(c.Logger, "event rejected", linesPerSecond),
	}
	o.ahead = o.newAhead()
	o.rules, _ = c.Fold.(RuleFold[B])
	o.due = duelist.NewWork(func(ctx context.Context, keys []string) ([][]byte, error) {
		if err := o.ahead.Flush(ctx); err != nil { // what is ahead may add to lists
			return nil, err
		}
		return c.Store.Load(ctx, o.place.partition, o.ahead.Stored, keys)
	}, c.DueStep)
	return o
}

// Run opens the partition and works it. It returns nil only when the log reports that the partition is revoked, ErrFenced
// when another owner has it, and otherwise what went wrong on our side.
func (o *Owner[B, C]) Run(ctx context.Context) error {
	defer o.leave()
	if err := o.config.Options.Validate(); err != nil {
		return fmt.Errorf("check options of domain %s: %w", o.place.partition.Domain, err)
	}
	if err := o.open(ctx); err != nil {
		return fmt.Errorf("open partition: %w", err)
	}
	for {
		err := o.cycle(ctx)
		if errors.Is(err, stream.ErrRevoked) {
			if err := o.ahead.Flush(ctx); err != nil && !errors.Is(err, state.ErrFenced) {
				return err
			}
			o.leave()
			o.leaveOffset(ctx)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Watermark is where the partition stands: for use once Run has ended.
func (o *Owner[B, C]) Watermark() state.Watermark { return o.w }

// leave ends what is answered out of the partition.
func (o *Owner[B, C]) leave() {
	o.view.Leave()
	o.calls.Leave()
	o.config.Revisions.InForce(o.place.partition, state.Revision{})
	o.config.Metrics.Left(o.place.partition.Number)
}

// open takes the partition and brings its state to where the log can go on.
func (o *Owner[B, C]) open(ctx context.Context) error {
	w, err := o.config.Store.Open(ctx, o.place.partition, o.config.Address)
	if err == nil && w.Level < Level && w.Status != state.Blank && w.Status != state.Restoring { // of those nothing is read
		err = levelError("the state, by its level,", w.Level)
	}
	if _, other := errors.AsType[*state.FormatError](err); other {
		o.config.Log.Incident(IncidentFormat, 0, err)
	}
	if err != nil {
		return err
	}
	o.config.Log.Settle(IncidentFormat)
	o.w, o.ahead.Stored = w, w
	o.committed = max(o.config.Log.Committed(), 0)
	if w.Level > Level {
		err := fmt.Errorf("state is at level %d, this binary knows %d: run a newer one", w.Level, Level)
		o.config.Log.Incident(IncidentLevel, w.Offset, err)
		return err
	}
	o.config.Log.Settle(IncidentLevel)
	o.config.Log.Settle(stream.IncidentOutOfRange) // recovery decides it itself
	if err := o.recover(ctx); err != nil {
		return err
	}
	o.config.Log.Settle(IncidentGap)
	o.config.Log.Settle(IncidentRecreated)
	if err := o.reconfigure(ctx); err != nil {
		return err
	}
	o.fit = o.config.Batch
	o.view.Enter(o.w)
	o.met.Store(o.w.Called)
	o.config.Logger.Info("partition opened", zap.Int64("offset", o.w.Offset), zap.Int64("published_offset", o.w.PublishedOffset), zap.Stringer("status", o.w.Status), zap.Int64("revision", o.w.Revision.Number))
	return nil
}

// cycle is one turn: some of what is due, some of what stands in the log.
func (o *Owner[B, C]) cycle(ctx context.Context) error {
	if err := o.ahead.Advance(ctx); err != nil {
		return err
	}
	o.upkeep(ctx)
	due, err := o.due.Next(ctx, &o.w)
	if err != nil {
		return err
	}
	o.config.Metrics.TimersOverdue(o.place.partition.Number, o.due.Overdue(due, o.config.Clock()))
	switch {
	case !due.Any() || o.snap == nil || o.snap.Read:
		if err := o.snapshotStep(ctx); err != nil {
			return err
		}
	case len(due.Subjects) < o.config.DueStep:
		return o.batch(ctx, due, nil) // a snapshot reads no record with a timer that log time has reached
	}
	if o.w.Status == state.Rebuilding && o.w.Offset >= o.w.PublishedOffset && !due.Any() {
		// Before the log is asked for more: perhaps there is none for hours.
		return o.commitAs(ctx, func(w *state.Watermark) { w.Status = state.Ready })
	}
	if len(o.pending) == 0 {
		// A snapshot on its way goes on between fetches; it does not wait for records.
		wait, wake := time.Duration(0), o.changed
		if !due.Any() && (o.snap == nil || o.snap.Read) {
			wait, wake = o.ahead.Until(o.untilTick(), wake)
		}
		o.config.Log.Worked(o.w.Offset)
		b, err := o.config.Log.Fetch(ctx, o.w.Offset, wait, wake)
		if err != nil {
			return err
		}
		o.pending = b.Records
		o.next = time.Time{}
		if len(o.pending) > 0 {
			o.next = o.pending[0].Time
		}
		if len(o.pending) == 0 && !due.Any() {
			if b.Next > o.w.Offset { // offsets without records
				return o.commitEmpty(ctx, b.Next)
			}
			if o.ahead.Any() {
				o.ahead.Rest(ctx)
				return nil
			}
			return o.idle(ctx)
		}
	}
	if o.w.Status == state.Rebuilding && !due.Any() && o.pending[0].Offset >= o.w.PublishedOffset { // offsets without records lie in between
		return o.commitEmpty(ctx, o.w.PublishedOffset)
	}
	run, control := o.cut(max(1, o.fit-len(due.Subjects)))
	if len(run) == 0 && control != nil && !due.Any() {
		return o.control(ctx, control)
	}
	return o.batch(ctx, due, run)
}
