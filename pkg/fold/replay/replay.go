// Package replay folds a partition of a log again, in memory, for audits and checks.
package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Log is one partition of a log, to be read again.
type Log interface {
	Range(ctx context.Context) (start, end int64, err error)
	// Fetch reads from an offset that the log holds; it may wait for what is on its way there.
	Fetch(ctx context.Context, from int64) (stream.Batch, error)
	At(ctx context.Context, offset int64) (stream.Record, bool, error)
}

// Config is what to fold again, and how far.
type Config[B, C any] struct {
	Service   string
	Partition state.Partition
	// Topic of the log, and where rejected records went, both with prefix.
	Topic, Rejected string

	Fold    fold.Fold[B, C]
	Options fold.Options[C]
	Log     Log
	// At reads a revision that the log names, and waits for it.
	At        func(ctx context.Context, r state.Revision) (C, error)
	Snapshots fold.Snapshots
	Clock     func() time.Time

	// Until is the offset to stop before: that of a watermark.
	Until int64
	// Begin, where set, is where it begins without any record, in place of what the log and its snapshots reach back to:
	// what comes of it is not what stood at the time.
	Begin *Begin
	// Subject, where set, is the only one whose steps and record are of interest. It must be what the fold selects for
	// events under the same key of the log, and for no others.
	Subject string
	// Near begins at the newest snapshot there is, to be done soon; otherwise as far back as the log and its snapshots
	// reach.
	Near bool
	// Before, where set, is an offset that is to be worked: a snapshot that may hold what came of it is none to begin with.
	Before *int64
	// Visit receives each step, in the order of the log.
	Visit func(fold.Step[B])
	// Progress receives how far it came, now and then. Ahead, where set, is asked before each fetch; false ends the replay
	// there, as if that were Until.
	Progress func(offset int64)
	Ahead    func(offset int64) bool
	// Publish, where set, receives what would have been published, each once, in order.
	Publish func(outcomes []stream.Record)
	// MaxBytes of records ends it with ErrMemory; 0 for no bound.
	MaxBytes int64
}

// Begin is a place in a log, with nothing before it.
type Begin struct {
	Offset int64
	// Time is the log time there.
	Time time.Time
	// Revision in force there; without one there is a single one, which Config.At gives.
	Revision state.Revision
}

// ErrNoState is of a replay that would begin with no state: the log's beginning is gone, and no snapshot is old enough.
var ErrNoState = errors.New("neither the log nor a snapshot reaches back to a state")

// ErrMemory ends a replay whose records take more than they may.
var ErrMemory = errors.New("the records of the partition take too much memory")

// Result is the state that a replay ended with: that of the log up to its end, everything worked that was due by its
// log time.
type Result[B, C any] struct {
	// From is where it began: 0, or a snapshot's offset.
	From int64
	// Watermark at the end.
	Watermark state.Watermark

	owner *fold.Owner[B, C]
	fold  fold.Fold[B, C]
	store *replayStore
	only  string
}

// Partial reports that the log did not hold the beginning: figures go on from a snapshot, which was not verified.
func (r *Result[B, C]) Partial() bool { return r.From > 0 }

// Run folds a partition's log again, in memory, by the code that folded it first: same batches, same revisions, same
// order. It publishes nothing, writes nothing and appends nothing.
func Run[B, C any](ctx context.Context, c Config[B, C]) (*Result[B, C], error) {
	start, end, err := c.Log.Range(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("replay partition: %w", err)
	case c.Until < start || c.Until > end:
		return nil, fmt.Errorf("replay partition: up to offset %d can't be had of a log that holds %d to %d", c.Until, start, end)
	}
	l, err := newReplayLog(c.Log, c.Until, c.Subject, c.Progress, c.Ahead)
	if err != nil {
		return nil, fmt.Errorf("replay partition: %w", err)
	}
	snapshots := &replaySnapshots{kept: c.Snapshots, until: c.Until, subject: c.Subject, near: c.Near}
	if c.Before != nil {
		snapshots.until = min(*c.Before, c.Until)
	}
	store := &replayStore{values: make(map[string][]byte), near: c.Near, begin: c.Begin, most: c.MaxBytes}
	visit := c.Visit
	if c.Visit != nil && c.Subject != "" {
		visit = func(s fold.Step[B]) {
			if s.Key == c.Subject {
				c.Visit(s)
			}
		}
	}
	o := fold.NewOwner(fold.OwnerConfig[B, C]{
		Service: c.Service, Partition: c.Partition, Topic: c.Topic, Rejected: c.Rejected,
		Fold: c.Fold, Options: c.Options, Log: l, Store: store, Publisher: publisher(c.Publish), Revisions: replayRevisions[C]{func(r state.Revision) (C, error) { return c.At(ctx, r) }}, Snapshots: snapshots,
		Clock: c.Clock, Logger: zap.NewNop(), Metrics: fold.NewMetrics(c.Service, c.Partition.Domain, prometheus.NewRegistry()),
		Cache: 1, Batch: fold.DefaultLimits().BatchRecords,
		Visit: visit,
	})
	if err := o.Run(ctx); err != nil {
		return nil, fmt.Errorf("replay partition: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("replay partition: %w", err)
	}
	return &Result[B, C]{From: snapshots.from, Watermark: o.Watermark(), owner: o, fold: c.Fold, store: store, only: c.Subject}, nil
}

// All are the bodies of all records, those of rules included, or of the one subject that was asked for; by name: see
// RuleOf.
func (r *Result[B, C]) All() iter.Seq2[string, B] {
	return func(yield func(string, B) bool) {
		for _, key := range slices.Sorted(maps.Keys(r.store.values)) {
			if len(key) < len(record.Prefix) || key[:len(record.Prefix)] != record.Prefix {
				continue
			}
			subject := key[len(record.Prefix):]
			if r.only != "" && !belongs(key, r.only) {
				continue
			}
			if body, ok := r.Body(subject); ok && !yield(subject, body) {
				return
			}
		}
	}
}

// RuleOf takes the name of a record apart; code is "" for a subject's own.
func RuleOf(name string) (subject, code, key string) { return record.SplitRule(name) }

// Body of a subject; not ok where there is no record.
func (r *Result[B, C]) Body(subject string) (body B, ok bool) {
	raw, ok := r.store.values[record.Key(subject)]
	if !ok {
		return body, false
	}
	o, err := record.ReadOutline(raw)
	if err == nil {
		body, err = r.fold.Decode(o.Body)
	}
	return body, err == nil // it was encoded here
}

// Stood is a record out of the store, or nil where there is none, as it stood where the replay ended: what was due by
// then and not worked yet is worked. It is not known where the record was changed since. side is its side record.
func (r *Result[B, C]) Stood(subject string, stored, side []byte) (body B, exists, known bool, err error) {
	if stored == nil {
		return body, false, true, nil
	}
	return r.owner.WorkDue(subject, stored, side)
}
