package fold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fold/internal/duelist"
	"github.com/tollgate/tollgate/pkg/fold/internal/foreign"
	"github.com/tollgate/tollgate/pkg/fold/internal/poison"
	"github.com/tollgate/tollgate/pkg/state"
)

func (o *Owner[B, C]) notePanic(what poison.Place, why error) {
	o.earlier.Note(what, why)
	o.config.Log.Report(IncidentPanic, what.Offset, why)
}

// batch applies, publishes and commits one run of records.
func (o *Owner[B, C]) batch(ctx context.Context, due duelist.Step, run []entry[B]) error {
	var more []string
	var begun time.Time
	if o.config.Applied != nil {
		begun = o.config.Clock()
	}
	for {
		if err := o.load(ctx, due.Subjects, run, more); err != nil {
			return err
		}
		b, n, c, err := o.apply(due, run)
		if errors.Is(err, errNotLoaded) {
			more = append(more, b.lacks...)
			continue
		}
		var p *poison.Error
		if errors.As(err, &p) {
			o.notePanic(p.Place, p)
			continue
		}
		if errors.Is(err, state.ErrTooLarge) && len(run)+len(due.Subjects) > 1 {
			run, due = run[:len(run)/2], due.Half()
			o.fit = max(1, len(run))
			continue
		}
		if errors.Is(err, state.ErrTooLarge) && len(run) == 1 && run[0].record.Time.UnixMilli() > o.w.LogTime {
			// One event, and all that is due by its time of the records it selects: that is worked before, in steps.
			return o.moveLogTime(ctx, run[0].record.Time.UnixMilli())
		}
		if err != nil {
			o.config.Log.Incident(IncidentRecord, o.w.Offset, err)
			return err
		}
		if n < len(run) {
			o.fit = max(1, n) // what is behind was selected in vain
		} else {
			o.fit = min(o.config.Batch, o.fit+max(1, o.fit/8))
		}
		if err := o.conclude(ctx, due, n, b, c); err != nil {
			return err
		}
		if o.config.Applied != nil && b.from.Status != state.Rebuilding {
			o.showApplied(run[:n], begun)
		}
		return nil
	}
}

// apply is the pure part: no I/O, no clock. A panic outside of the fold's Apply and Fire, in its codec, is no record's
// fault: the partition waits. It ends after n records where their outcomes are as many as a batch may have.
func (o *Owner[B, C]) apply(due duelist.Step, run []entry[B]) (b *batch[B], n int, c state.Commit, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("apply batch: panic: %v", v)
		}
	}()
	b = o.newBatch(o.memory)
	if err := b.dueList(due); err != nil {
		return b, 0, c, err
	}
	for n < len(run) && !b.full() {
		en := &run[n]
		n++
		o.alive(n)
		b.to.Offset = en.record.Offset
		switch {
		case en.pass:
			b.advance(en.record.Time.UnixMilli())
		default:
			emitted := b.emitted
			if err := b.event(en); err != nil {
				return b, 0, c, err
			}
			en.outcomes = b.emitted - emitted
		}
		b.to.Offset = en.record.Offset + 1
	}
	if n > 0 {
		b.to.LastHash = run[n-1].record.Hash()
	}
	if len(b.lacks) > 0 {
		return b, 0, c, errNotLoaded
	}
	c, err = b.finish()
	return b, n, c, err
}

// aliveEvery is how many records are worked between two words to the watchdog; each is bounded by itself.
const aliveEvery = 16

func (o *Owner[B, C]) alive(n int) {
	if n%aliveEvery == 0 && o.config.Alive != nil {
		o.config.Alive()
	}
}

func (o *Owner[B, C]) newBatch(m *memory[B]) *batch[B] {
	return &batch[B]{
		config: o.place,
		decode: o.config.Fold.Decode, append: o.config.Fold.Append, apply: o.config.Fold.Apply, fire: o.config.Fold.Fire,
		from: o.w, to: o.w,
		window:   o.windowHours,
		rules:    o.rules,
		memory:   m,
		earlier:  &o.earlier,
		calls:    o.config.Options.Commands,
		watching: o.config.Visit != nil,
	}
}

func (o *Owner[B, C]) windowHours(key string) int64 {
	return o.config.Options.windowHours(o.configuration, key)
}

// conclude publishes the outcomes of a batch and commits what it changed.
func (o *Owner[B, C]) conclude(ctx context.Context, due duelist.Step, n int, b *batch[B], c state.Commit) error {
	outcomes, err := foreign.Publish(ctx, o.config.Foreign, b.outcomes, b.foreign)
	if err != nil {
		return err //nolint:wrapcheck // it has the operation
	}
	if len(outcomes) > 0 {
		begin := o.config.Clock()
		if err := o.config.Publisher.Produce(ctx, outcomes...); err != nil {
			return fmt.Errorf("publish outcomes: %w", err)
		}
		o.config.Metrics.Published(len(outcomes), o.config.Clock().Sub(begin))
		if o.config.Published != nil {
			o.config.Published(outcomes)
		}
	}
	if err := o.concluded(ctx, b, c); err != nil {
		return err
	}
	o.snap.NoteDeleted(c.Deletes, b.to.Offset-1)
	for i := range b.steps {
		o.config.Visit(b.steps[i])
	}
	o.pending = o.pending[n:]
	o.due.Committed(due, c.Appends)
	if !o.due.Outstanding(&b.from) { // nearly always more is due by now
		o.settled = b.from.Offset
	}
	o.earlier = poison.Tries{}
	o.config.Metrics.Batch(n, &b.counts)
	for _, r := range b.rejections {
		o.rejected.Write(zap.InfoLevel, func() []zap.Field {
			return []zap.Field{zap.String("topic", o.place.topic), zap.Int64("offset", r.offset), zap.String("reason", r.reason)}
		})
		if r.incident != "" {
			o.config.Log.Report(r.reason, r.offset, errors.New(r.incident))
		}
	}
	return nil
}

// linesPerSecond bounds the log lines of rejected events, of one partition: producers make as many as they like.
const linesPerSecond = 20

// moveLogTime lets what is due by a time be worked before the record of that time.
func (o *Owner[B, C]) moveLogTime(ctx context.Context, to int64) error {
	return o.commitAs(ctx, func(w *state.Watermark) {
		if w.LogTime = to; w.DueMinute == 0 {
			w.DueMinute = duelist.Reached(to)
		}
	})
}

func (o *Owner[B, C]) commitAs(ctx context.Context, change func(*state.Watermark)) error {
	to := o.w
	change(&to)
	return o.commit(ctx, to, state.Commit{})
}

// commitEmpty passes over offsets that hold no records.
func (o *Owner[B, C]) commitEmpty(ctx context.Context, next int64) error {
	return o.commitAs(ctx, func(w *state.Watermark) { w.Offset, w.LastHash = next, 0 })
}
