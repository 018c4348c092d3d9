package foldtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Log is the log of one partition in memory, as an owner reads it. Its run ends at the log's end. A test of a fold embeds
// it, and is the publisher itself.
type Log struct {
	TB testing.TB
	// Records are the log, from offset 0.
	Records []stream.Record
	// Most is how many records the next fetch returns at most.
	Most func() int
	// Incidents are the codes of those that were reported; each fails the test.
	Incidents []string
}

// Add puts a record at the end of the log.
func (l *Log) Add(r stream.Record) {
	r.Partition, r.Offset = 0, int64(len(l.Records))
	l.Records = append(l.Records, r)
}

// AddEvents puts events at the end of the log, as records of a topic, received at a time.
func (l *Log) AddEvents(topic string, received time.Time, events ...*event.Event) {
	l.TB.Helper()
	for _, e := range events {
		at := *e
		at.ReceivedAt = received
		r, err := at.Record(topic)
		if err != nil {
			l.TB.Fatal(err)
		}
		l.Add(r)
	}
}

// Range is the whole log.
func (l *Log) Range(context.Context) (start, end int64, err error) {
	return 0, int64(len(l.Records)), nil
}

// Fetch returns records from an offset on. At the end the partition is revoked, unless the owner has more to do than to wait.
func (l *Log) Fetch(_ context.Context, from int64, wait time.Duration, _ <-chan struct{}) (stream.Batch, error) {
	end := int64(len(l.Records))
	if from == end {
		if wait > 0 {
			return stream.Batch{}, stream.ErrRevoked
		}
		return stream.Batch{End: end, Next: end}, nil
	}
	to := min(end, from+int64(l.Most()))
	return stream.Batch{Records: l.Records[from:to], End: end, Next: to}, nil
}

// At returns the record at an offset.
func (l *Log) At(_ context.Context, offset int64) (stream.Record, bool, error) {
	if offset >= int64(len(l.Records)) {
		return stream.Record{}, false, nil
	}
	return l.Records[offset], true, nil
}

// Append fails: the test puts control records into the log.
func (l *Log) Append(context.Context, *event.Event) error {
	return errors.New("the owner adds nothing to this log")
}

// Committed is that of a group without offsets.
func (l *Log) Committed() int64 { return -1 }

// CommitSoon is not needed.
func (l *Log) CommitSoon(int64) {}

// Commit is not needed.
func (l *Log) Commit(context.Context, int64) error { return nil }

// Settle is not needed.
func (l *Log) Settle(string) {}

// Progress is not needed.
func (l *Log) Progress() {}

// Worked is not needed.
func (l *Log) Worked(int64) {}

// Wait ends the run: every revision is at hand.
func (l *Log) Wait(context.Context, <-chan struct{}) error { return stream.ErrRevoked }

// Incident fails the test.
func (l *Log) Incident(code string, offset int64, err error) {
	l.TB.Errorf("incident %s at offset %d stops the partition: %v", code, offset, err)
}

// Report fails the test, and keeps the code.
func (l *Log) Report(code string, offset int64, err error) {
	l.Incidents = append(l.Incidents, code)
	l.TB.Errorf("incident %s at offset %d: %v", code, offset, err)
}

// Revisions replaces the configuration service, by number. It has no newest: the test puts the records into the log.
type Revisions[C any] map[int64]C

// Newest is none.
func (r Revisions[C]) Newest() state.Revision { return state.Revision{} }

// Changed never does.
func (r Revisions[C]) Changed() <-chan struct{} { return nil }

// InForce is not needed.
func (r Revisions[C]) InForce(state.Partition, state.Revision) {}

// At is the configuration of a revision.
func (r Revisions[C]) At(n state.Revision) (C, error) { return r[n.Number], nil }

// NoSnapshots keeps none.
type NoSnapshots struct{}

// Write drops it.
func (NoSnapshots) Write(context.Context, ...*statev1.SnapshotRecord) error { return nil }

// Newest finds none.
func (NoSnapshots) Newest(context.Context, state.Partition, func(*statev1.SnapshotRecord_Begin) (bool, error), func(*statev1.SnapshotRecord) error) (bool, error) {
	return false, nil
}
