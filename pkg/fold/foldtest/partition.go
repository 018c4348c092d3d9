package foldtest

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Partition works one partition in memory, step by step: accept events, let an owner work what is there, look at what it
// published. Its clock stands still until it is moved.
type Partition[B, C any] struct {
	*Memory
	// Now is the owner's clock and the stamp of what is accepted.
	Now time.Time
	// Newest revision; the owner appends it to the log.
	Newest int64
	// Missing is what is answered instead of a revision that can't be had, by its number.
	Missing map[int64]error
	// Committed is the group's offset, Worked the one that the log's lag goes by.
	Committed, Worked int64
	// Incidents are those that stand, by code.
	Incidents map[string]error
	// Ends changes the end that the log reports, where it is set.
	Ends func(end int64) int64
	// Limits may change the owner's configuration before it runs.
	Limits func(*fold.OwnerConfig[B, C])

	// CallTimeout is how long a caller waits; a minute where it is 0.
	CallTimeout time.Duration

	calling  []*calling
	appended chan struct{}
	owner    *fold.Owner[B, C]

	t             testing.TB
	newFold       func() fold.Fold[B, C]
	options       fold.Options[C]
	configuration func(revision int64) C
}

// NewPartition begins with an empty log at revision 1.
func NewPartition[B, C any](t testing.TB, now time.Time, newFold func() fold.Fold[B, C], options fold.Options[C], configuration func(revision int64) C) *Partition[B, C] {
	return &Partition[B, C]{
		Memory: NewMemory(), Now: now, Newest: 1, Incidents: make(map[string]error), appended: make(chan struct{}),
		t: t, newFold: newFold, options: options, configuration: configuration,
	}
}

// Accept puts events into the log, stamped with the clock.
func (d *Partition[B, C]) Accept(events ...*event.Event) {
	d.t.Helper()
	for _, e := range events {
		stamped := *e
		stamped.ReceivedAt = d.Now
		r, err := stamped.Record("log")
		if err != nil {
			d.t.Fatalf("encode event %s: %v", e.ID, err)
		}
		if event.IsControl(e.Type) && e.Subject == "" {
			r.Key = nil
		}
		if err := d.Log().Append(r); err != nil {
			d.t.Fatalf("accept event %s: %v", e.ID, err)
		}
	}
}

// Run opens the partition, works the log to its end and whatever is due by the clock, and gives the partition back.
func (d *Partition[B, C]) Run() error {
	d.t.Helper()
	c := fold.OwnerConfig[B, C]{
		Service: "partition", Partition: d.Partition(), Address: "partition:1", Topic: "log", Rejected: "rejected",
		Fold: d.newFold(), Options: d.options, Log: &stepLog[B, C]{d: d}, Store: d.Store(), Publisher: stepPublisher[B, C]{d}, Revisions: stepRevisions[B, C]{d},
		Snapshots: d.Snapshots(), Clock: func() time.Time { return d.Now }, Logger: zap.NewNop(),
		Metrics: fold.NewMetrics("partition", "partition", prometheus.NewRegistry()),
		Cache:   1000, Batch: 500, SnapshotEvery: 1000 * time.Hour, SnapshotEvents: 1 << 40,
		Appender: stepAppender[B, C]{d},
	}
	if d.Limits != nil {
		d.Limits(&c)
	}
	d.owner = fold.NewOwner(c)
	return d.owner.Run(d.t.Context())
}

// Called is what became of a call.
type Called struct {
	fold.Answer
	Err error
}

type calling struct {
	event *event.Event
	Called
	done chan struct{}
}

// Call works like Work, and makes calls at the log's end, all of them before the owner sees the first.
func (d *Partition[B, C]) Call(events ...*event.Event) []Called {
	d.t.Helper()
	var all []*calling
	for _, e := range events {
		all = append(all, &calling{event: e, done: make(chan struct{})})
	}
	d.calling = all
	d.Work()
	out := make([]Called, len(all))
	for i, c := range all {
		<-c.done
		out[i] = c.Called
	}
	return out
}

// call makes one, and returns once it stands in the log or has failed.
func (d *Partition[B, C]) call(c *calling) {
	ctx, cancel := context.WithTimeout(d.t.Context(), cmp.Or(d.CallTimeout, time.Minute))
	go func() {
		defer close(c.done)
		defer cancel()
		c.Answer, c.Err = d.owner.Call(ctx, c.event)
	}()
	select {
	case <-d.appended:
	case <-c.done:
	}
}

type stepAppender[B, C any] struct{ d *Partition[B, C] }

func (a stepAppender[B, C]) AppendCalls(_ context.Context, records ...stream.Record) []stream.ProduceResult {
	results := make([]stream.ProduceResult, len(records))
	for i, r := range records {
		_, results[i].Offset = a.d.Log().Range()
		results[i].Err = a.d.Log().Append(r)
	}
	a.d.appended <- struct{}{}
	return results
}

// Work runs and fails the test where that fails.
func (d *Partition[B, C]) Work() {
	d.t.Helper()
	if err := d.Run(); err != nil {
		d.t.Fatalf("work partition: %v", err)
	}
}

// Published is everything published so far, repeats included.
func (d *Partition[B, C]) Published() []stream.Record {
	d.t.Helper()
	_, end := d.Outcomes().Range()
	all, err := d.Outcomes().Read(0, int(end))
	if err != nil {
		d.t.Fatalf("read outcomes: %v", err)
	}
	return all
}

// Body reads a subject's record as committed last.
func (d *Partition[B, C]) Body(key string) (body B, ok bool) {
	d.t.Helper()
	_, values, err := d.Store().Peek(d.t.Context(), d.Partition(), []string{"r:" + key})
	if err != nil {
		d.t.Fatalf("read record: %v", err)
	}
	if values[0] == nil || fold.Gone(values[0]) {
		return body, false
	}
	raw, err := fold.BodyOf(values[0])
	if err != nil {
		d.t.Fatalf("read record: %v", err)
	}
	if body, err = d.newFold().Decode(raw); err != nil {
		d.t.Fatalf("read record: %v", err)
	}
	return body, true
}

// Watermark is the partition's, as committed last.
func (d *Partition[B, C]) Watermark() state.Watermark {
	d.t.Helper()
	w, _, err := d.Store().Peek(d.t.Context(), d.Partition(), nil)
	if err != nil {
		d.t.Fatalf("read watermark: %v", err)
	}
	return w
}

// stepLog revokes the partition once nothing came for a few turns.
type stepLog[B, C any] struct {
	d    *Partition[B, C]
	idle int
}

// turns at the log's end in which an owner does what it does when idle.
const turns = 4

func (l *stepLog[B, C]) Range(context.Context) (start, end int64, err error) {
	start, end = l.d.Log().Range()
	if l.d.Ends != nil {
		end = l.d.Ends(end)
	}
	return start, end, nil
}

func (l *stepLog[B, C]) Fetch(_ context.Context, from int64, wait time.Duration, _ <-chan struct{}) (stream.Batch, error) {
	start, end := l.d.Log().Range()
	if from == end && wait > 0 {
		for ; len(l.d.calling) > 0; l.d.calling = l.d.calling[1:] {
			l.d.call(l.d.calling[0])
		}
		_, end = l.d.Log().Range()
	}
	if from < start || from > end {
		return stream.Batch{}, &stream.OutOfRangeError{Topic: "log", From: from, Start: start, End: end}
	}
	records, err := l.d.Log().Read(from, 1000)
	b := stream.Batch{Records: records, Start: start, End: end, Next: from + int64(len(records))}
	if len(records) > 0 {
		l.idle = 0
	} else if wait > 0 {
		if l.idle++; l.idle > turns {
			return b, stream.ErrRevoked
		}
	}
	return b, err
}

func (l *stepLog[B, C]) At(_ context.Context, offset int64) (stream.Record, bool, error) {
	start, end := l.d.Log().Range()
	if offset < start || offset >= end {
		return stream.Record{}, false, nil
	}
	records, err := l.d.Log().Read(offset, 1)
	if err != nil {
		return stream.Record{}, false, err
	}
	return records[0], true, nil
}

func (l *stepLog[B, C]) Append(_ context.Context, e *event.Event) error {
	r, err := e.Record("log")
	if err != nil {
		return err
	}
	r.Key = nil
	return l.d.Log().Append(r)
}

func (l *stepLog[B, C]) Committed() int64 {
	if l.d.Committed == 0 {
		return -1
	}
	return l.d.Committed
}

func (l *stepLog[B, C]) CommitSoon(offset int64) { l.d.Committed = offset }

func (l *stepLog[B, C]) Commit(_ context.Context, offset int64) error {
	l.d.Committed = offset
	return nil
}

func (l *stepLog[B, C]) Incident(code string, _ int64, err error) { l.d.Incidents[code] = err }

// Report implements state.Log.
func (l *stepLog[B, C]) Report(code string, _ int64, err error) { l.d.Incidents[code] = err }
func (l *stepLog[B, C]) Progress()                              {}
func (l *stepLog[B, C]) Worked(offset int64)                    { l.d.Worked = offset }
func (l *stepLog[B, C]) Settle(code string)                     { delete(l.d.Incidents, code) }

// Wait ends like a log at whose end nothing happens any more.
func (l *stepLog[B, C]) Wait(context.Context, <-chan struct{}) error {
	if l.idle++; l.idle > turns {
		return stream.ErrRevoked
	}
	return nil
}

type stepPublisher[B, C any] struct{ d *Partition[B, C] }

// Produce lets what is meant for the log stand there too.
func (p stepPublisher[B, C]) Produce(_ context.Context, records ...stream.Record) error {
	for _, r := range records {
		if r.Topic != "log" {
			continue
		}
		if err := p.d.Log().Append(r); err != nil {
			return err
		}
	}
	return p.d.Outcomes().Append(records...)
}

type stepRevisions[B, C any] struct{ d *Partition[B, C] }

// history is that of all revisions of a Partition and of a Simulation.
const revisionHistory = 0xfeed

func (r stepRevisions[B, C]) Newest() state.Revision {
	return state.Revision{History: revisionHistory, Number: r.d.Newest}
}
func (r stepRevisions[B, C]) Changed() <-chan struct{}                { return nil }
func (r stepRevisions[B, C]) InForce(state.Partition, state.Revision) {}
func (r stepRevisions[B, C]) At(n state.Revision) (c C, _ error) {
	if err := r.d.Missing[n.Number]; err != nil {
		return c, err
	}
	return r.d.configuration(n.Number), nil
}

// Replay folds the log again, as far as c sets, by the drive's configuration.
func (d *Partition[B, C]) Replay(c replay.Config[B, C]) (*replay.Result[B, C], error) {
	d.t.Helper()
	c.Service, c.Partition, c.Topic, c.Rejected = "partition", d.Partition(), "log", "rejected"
	c.Fold, c.Options, c.Log, c.Snapshots = d.newFold(), d.options, journalLog{d.Log()}, d.Snapshots()
	c.At = func(_ context.Context, r state.Revision) (C, error) { return stepRevisions[B, C]{d}.At(r) }
	c.Clock = func() time.Time { return d.Now }
	return replay.Run(d.t.Context(), c)
}
