package fold

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Step is one event, call or timer of a replay that changed its subject or told
// something of it.
type Step[B any] struct {
	Key string
	// Existed and Exists say whether there was a record before and is one after.
	Existed, Exists bool
	Before, After   B
	// Event, where it was one; as its fold saw it. Else the timer and its due
	// time.
	Event *event.Event
	Timer string
	Due   time.Time
	// Offset of the event's record, -1 for a timer. Time is the log time at the
	// event, or the timer's due time; EventTime the event's own, not after it.
	Offset          int64
	Time, EventTime time.Time
	Revision        int64
	// Outcomes are what would have been published, rejections included.
	Outcomes []stream.Record
}

// ReplayLog is one partition of a log, to be read again.
type ReplayLog interface {
	Range(ctx context.Context) (start, end int64, err error)
	// Fetch reads from an offset that the log holds; it may wait for what is on
	// its way there.
	Fetch(ctx context.Context, from int64) (stream.Batch, error)
	At(ctx context.Context, offset int64) (stream.Record, bool, error)
}

// ReplayConfig says what to fold again, and how far.
type ReplayConfig[B, C any] struct {
	Service   string
	Partition state.Partition
	// Topic of the log, and where rejected records went, both with prefix.
	Topic, Rejected string

	Fold    Fold[B, C]
	Options Options[C]
	Log     ReplayLog
	// At reads a revision that the log names, and waits for it.
	At        func(ctx context.Context, r state.Revision) (C, error)
	Snapshots Snapshots
	Clock     func() time.Time

	// Until is the offset to stop before: that of a watermark.
	Until int64
	// Subject, where set, is the only one whose steps and record are of
	// interest. It must be what the fold selects for events under the same key
	// of the log, and for no others.
	Subject string
	// Near begins at the newest snapshot there is, to be done soon; otherwise as
	// far back as the log and its snapshots reach.
	Near bool
	// Visit is told of each step, in the order of the log.
	Visit func(Step[B])
	// Progress is told how far it came, now and then.
	Progress func(offset int64)
}

// Replayed is the state that a replay ended with: that of the log up to its
// end, everything worked that was due by its log time.
type Replayed[B, C any] struct {
	// From is where it began: 0, or a snapshot's offset.
	From int64
	// Watermark at the end.
	Watermark state.Watermark

	owner *Owner[B, C]
	store *replayStore
	only  string
}

// Partial says that the log did not hold the beginning: figures go on from a
// snapshot, which was not verified.
func (r *Replayed[B, C]) Partial() bool { return r.From > 0 }

// Replay folds a partition's log again, in memory, by the code that folded it
// first: same batches, same revisions, same order. It publishes nothing, writes
// nothing and appends nothing.
func Replay[B, C any](ctx context.Context, c ReplayConfig[B, C]) (*Replayed[B, C], error) {
	start, end, err := c.Log.Range(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("replay partition: %w", err)
	case c.Until < start || c.Until > end:
		return nil, fmt.Errorf("replay partition: up to offset %d can't be had of a log that holds %d to %d", c.Until, start, end)
	}
	l, err := newReplayLog(c.Log, c.Until, c.Subject, c.Progress)
	if err != nil {
		return nil, fmt.Errorf("replay partition: %w", err)
	}
	snapshots := &replaySnapshots{kept: c.Snapshots, until: c.Until, subject: c.Subject, near: c.Near}
	store := &replayStore{values: make(map[string][]byte), near: c.Near}
	o := NewOwner(OwnerConfig[B, C]{
		Service: c.Service, Partition: c.Partition, Topic: c.Topic, Rejected: c.Rejected,
		Fold: c.Fold, Options: c.Options, Log: l, Store: store, Publisher: silence{}, Revisions: replayRevisions[C]{func(r state.Revision) (C, error) { return c.At(ctx, r) }}, Snapshots: snapshots,
		Clock: c.Clock, Logger: zap.NewNop(), Metrics: NewMetrics(c.Service, c.Partition.Domain, prometheus.NewRegistry()),
		Cache: 1, Batch: DefaultLimits().BatchRecords, FloorEvery: math.MaxInt64, SnapshotEvery: time.Hour, SnapshotEvents: math.MaxInt64,
	})
	o.snapshotAt = c.Clock().AddDate(1000, 0, 0) // it reads snapshots and writes none
	o.visit = c.Visit
	if c.Visit != nil && c.Subject != "" {
		o.visit = func(s Step[B]) {
			if s.Key == c.Subject {
				c.Visit(s)
			}
		}
	}
	if err := o.Run(ctx); err != nil {
		return nil, fmt.Errorf("replay partition: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("replay partition: %w", err)
	}
	return &Replayed[B, C]{From: snapshots.from, Watermark: o.w, owner: o, store: store, only: c.Subject}, nil
}

// All are the bodies of all records, or of the one subject that was asked for,
// by subject.
func (r *Replayed[B, C]) All() iter.Seq2[string, B] {
	return func(yield func(string, B) bool) {
		for _, key := range slices.Sorted(maps.Keys(r.store.values)) {
			if len(key) < len(recordPrefix) || key[:len(recordPrefix)] != recordPrefix {
				continue
			}
			subject := key[len(recordPrefix):]
			if r.only != "" && subject != r.only {
				continue
			}
			if body, ok := r.Body(subject); ok && !yield(subject, body) {
				return
			}
		}
	}
}

// Body of a subject; not ok where there is no record.
func (r *Replayed[B, C]) Body(subject string) (body B, ok bool) {
	raw, ok := r.store.values[recordKey(subject)]
	if !ok {
		return body, false
	}
	_, rest, err := decodeHeader(raw)
	if err == nil {
		body, err = r.owner.config.Fold.Decode(rest)
	}
	return body, err == nil // it was encoded here
}

// Stood is a record out of the store, or nil where there is none, as it stood
// where the replay ended: what was due by then and not worked yet is worked. It
// is not known where the record has been changed since. aside is what stands
// beside it.
func (r *Replayed[B, C]) Stood(subject string, record, aside []byte) (body B, exists, known bool, err error) {
	if record == nil {
		return body, false, true, nil
	}
	h := &held[B]{key: subject, raw: record}
	b := r.owner.newBatch(newMemory[B](r.owner.memory.timers))
	b.marks = &marks{}
	b.memory.beside[asideKey(subject)] = aside // sealed ids change no body
	s, err := b.open(h)
	if err != nil {
		return body, false, false, err
	}
	if s.header.applied >= r.Watermark.Offset {
		return body, false, false, nil
	}
	if err := b.due(s, r.Watermark.LogTime); err != nil {
		return body, false, false, err
	}
	return s.Body, s.Exists, true, nil
}

// watched is guard, and makes a step of what changed.
func (b *batch[B]) watched(s *Subject[B], e *event.Event, timer string, call func()) error {
	if !b.watching || s == &b.none {
		return b.guard(call)
	}
	step := Step[B]{Key: s.Key, Existed: s.Exists, Event: e, Timer: timer, Offset: s.Offset, Time: s.Time, EventTime: s.EventTime, Revision: s.Revision}
	if e == nil {
		step.Due = s.Time
	}
	var err error
	if s.Exists { // a fold may keep parts of a body; what is shown is a copy
		if step.Before, err = b.decode(b.append(nil, s.Body)); err != nil {
			return fmt.Errorf("copy body: %w", err)
		}
	}
	n := len(b.outcomes)
	if err := b.guard(call); err != nil {
		return err
	}
	if !s.state.effect && len(b.outcomes) == n {
		return nil
	}
	if step.Exists = s.Exists; s.Exists {
		if step.After, err = b.decode(b.append(nil, s.Body)); err != nil {
			return fmt.Errorf("copy body: %w", err)
		}
	}
	step.Outcomes = slices.Clone(b.outcomes[n:])
	b.steps = append(b.steps, step)
	return nil
}
