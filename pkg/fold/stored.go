package fold

import (
	"context"
	"fmt"
	"slices"

	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
)

// Partitions is how many the engine's topic has.
func (e *Engine[B, C]) Partitions() int32 { return e.partitions }

// Here is nil where a partition is worked by this process and can answer; otherwise *NotOwnerError, or ErrUnknown where
// that is not known.
func (e *Engine[B, C]) Here(ctx context.Context, partition int32) error {
	o := e.owner(partition)
	if o == nil {
		return e.elsewhere(ctx, partition)
	}
	if w, ours := o.view.Owned(); !ours || w.Status != state.Ready {
		return ErrUnknown
	}
	return nil
}

// Stored is what the store has of a subject.
type Stored struct {
	// Record is nil where there is none; SideRecord is what is beside it.
	Record, SideRecord []byte
}

// Stored reads subjects of one partition, with its watermark of the same moment, for a comparison: see
// Replayed.Stood. ErrUnknown where the partition is not ready.
func (e *Engine[B, C]) Stored(ctx context.Context, partition int32, subjects ...string) (state.Watermark, []Stored, error) {
	keys := make([]string, 0, 2*len(subjects))
	for _, s := range subjects {
		keys = append(keys, record.Key(s), record.SideKey(s))
	}
	w, values, err := e.config.Store.Peek(ctx, e.partition(partition), keys)
	if err != nil {
		return w, nil, fmt.Errorf("read records: %w", err)
	}
	if w.Status != state.Ready {
		return w, nil, ErrUnknown
	}
	stored := make([]Stored, len(subjects))
	for i := range stored {
		if !Gone(values[2*i]) {
			stored[i] = Stored{Record: values[2*i], SideRecord: values[2*i+1]}
		}
	}
	return w, stored, nil
}

// Subjects walks the subjects of a partition that have a record of their own, some at a time, in no order; cursor and next are "" at
// both ends. One that stands throughout comes at least once.
func (e *Engine[B, C]) Subjects(ctx context.Context, partition int32, cursor string, count int) (subjects []string, next string, err error) {
	keys, next, err := e.config.Store.Scan(ctx, e.partition(partition), record.Prefix, cursor, count)
	if err != nil {
		return nil, "", fmt.Errorf("walk records: %w", err)
	}
	keys = slices.DeleteFunc(keys, record.IsRule)
	for i, k := range keys {
		keys[i] = k[len(record.Prefix):]
	}
	return keys, next, nil
}

// BodyOf is the service's part of a stored record, for those who compare states without an engine.
func BodyOf(stored []byte) ([]byte, error) {
	o, err := record.ReadOutline(stored)
	return o.Body, err
}
