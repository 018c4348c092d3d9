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

// Drive works one partition in memory, step by step: accept events, let an owner work what is there, look at what it
// told. Its clock stands still until it is moved.
type Drive[B, C any] struct {
	*Memory
	// Now is the owner's clock and the stamp of what is accepted.
	Now time.Time
	// Newest revision; the owner appends it to the log.
	Newest int64
	// Missing is what is answered instead of a revision that can't be had, by its number.
	Missing map[int64]error
	// Committed is the group's offset.
	Committed int64
	// Incidents are those that stand, by code.
	Incidents map[string]error
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

// NewDrive begins with an empty log at revision 1.
func NewDrive[B, C any](t testing.TB, now time.Time, newFold func() fold.Fold[B, C], options fold.Options[C], configuration func(revision int64) C) *Drive[B, C] {
	return &Drive[B, C]{
		Memory: NewMemory(), Now: now, Newest: 1, Incidents: make(map[string]error), appended: make(chan struct{}),
		t: t, newFold: newFold, options: options, configuration: configuration,
	}
}

// Accept puts events into the log, stamped with the clock.
func (d *Drive[B, C]) Accept(events ...*event.Event) {
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
func (d *Drive[B, C]) Run() error {
	d.t.Helper()
	c := fold.OwnerConfig[B, C]{
		Service: "drive", Partition: d.Partition(), Address: "drive:1", Topic: "log", Rejected: "rejected",
		Fold: d.newFold(), Options: d.options, Log: &driveLog[B, C]{d: d}, Store: d.Store(), Publisher: drivePublisher[B, C]{d}, Revisions: driveRevisions[B, C]{d},
		Snapshots: d.Snapshots(), Clock: func() time.Time { return d.Now }, Logger: zap.NewNop(),
		Metrics: fold.NewMetrics("drive", "drive", prometheus.NewRegistry()),
		Cache:   1000, Batch: 500, SnapshotEvery: 1000 * time.Hour, SnapshotEvents: 1 << 40,
		Appender: driveAppender[B, C]{d},
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
func (d *Drive[B, C]) Call(events ...*event.Event) []Called {
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
func (d *Drive[B, C]) call(c *calling) {
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

type driveAppender[B, C any] struct{ d *Drive[B, C] }

func (a driveAppender[B, C]) AppendCalls(_ context.Context, records ...stream.Record) []stream.ProduceResult {
	placed := make([]stream.ProduceResult, len(records))
	for i, r := range records {
		_, placed[i].Offset = a.d.Log().Range()
		placed[i].Err = a.d.Log().Append(r)
	}
	a.d.appended <- struct{}{}
	return placed
}

// Work runs and fails the test where that fails.
func (d *Drive[B, C]) Work() {
	d.t.Helper()
	if err := d.Run(); err != nil {
		d.t.Fatalf("work partition: %v", err)
	}
}

// Told is everything published so far, repeats included.
func (d *Drive[B, C]) Told() []stream.Record {
	d.t.Helper()
	_, end := d.Outcomes().Range()
	all, err := d.Outcomes().Read(0, int(end))
	if err != nil {
		d.t.Fatalf("read outcomes: %v", err)
	}
	return all
}

// Body reads a subject's record as committed last.
func (d *Drive[B, C]) Body(key string) (body B, ok bool) {
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
func (d *Drive[B, C]) Watermark() state.Watermark {
	d.t.Helper()
	w, _, err := d.Store().Peek(d.t.Context(), d.Partition(), nil)
	if err != nil {
		d.t.Fatalf("read watermark: %v", err)
	}
	return w
}

// driveLog revokes the partition once nothing came for a few turns.
type driveLog[B, C any] struct {
	d    *Drive[B, C]
	idle int
}

// turns at the log's end in which an owner does what it does when idle.
const turns = 4

func (l *driveLog[B, C]) Range(context.Context) (start, end int64, err error) {
	start, end = l.d.Log().Range()
	return start, end, nil
}

func (l *driveLog[B, C]) Fetch(_ context.Context, from int64, wait time.Duration, _ <-chan struct{}) (stream.Batch, error) {
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

func (l *driveLog[B, C]) At(_ context.Context, offset int64) (stream.Record, bool, error) {
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

func (l *driveLog[B, C]) Append(_ context.Context, e *event.Event) error {
	r, err := e.Record("log")
	if err != nil {
		return err
	}
	r.Key = nil
	return l.d.Log().Append(r)
}

func (l *driveLog[B, C]) Committed() int64 {
	if l.d.Committed == 0 {
		return -1
	}
	return l.d.Committed
}

func (l *driveLog[B, C]) Commit(_ context.Context, offset int64) error {
	l.d.Committed = offset
	return nil
}

func (l *driveLog[B, C]) Incident(code string, _ int64, err error) { l.d.Incidents[code] = err }

// Report implements state.Log.
func (l *driveLog[B, C]) Report(code string, _ int64, err error) { l.d.Incidents[code] = err }
func (l *driveLog[B, C]) Progress()                              {}
func (l *driveLog[B, C]) Settle(code string)                     { delete(l.d.Incidents, code) }

// Wait ends like a log at whose end nothing happens any more.
func (l *driveLog[B, C]) Wait(context.Context, <-chan struct{}) error {
	if l.idle++; l.idle > turns {
		return stream.ErrRevoked
	}
	return nil
}

type drivePublisher[B, C any] struct{ d *Drive[B, C] }

// Produce lets what is meant for the log stand there too.
func (p drivePublisher[B, C]) Produce(_ context.Context, records ...stream.Record) error {
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

type driveRevisions[B, C any] struct{ d *Drive[B, C] }

// history is that of all revisions of a Drive and of a Law.
const history = 0xfeed

func (r driveRevisions[B, C]) Newest() state.Revision {
	return state.Revision{History: history, Number: r.d.Newest}
}
func (r driveRevisions[B, C]) Changed() <-chan struct{}                { return nil }
func (r driveRevisions[B, C]) InForce(state.Partition, state.Revision) {}
func (r driveRevisions[B, C]) At(n state.Revision) (c C, _ error) {
	if err := r.d.Missing[n.Number]; err != nil {
		return c, err
	}
	return r.d.configuration(n.Number), nil
}

// Replay folds the log again, as far as c says, by the drive's configuration.
func (d *Drive[B, C]) Replay(c replay.Config[B, C]) (*replay.Result[B, C], error) {
	d.t.Helper()
	c.Service, c.Partition, c.Topic, c.Rejected = "drive", d.Partition(), "log", "rejected"
	c.Fold, c.Options, c.Log, c.Snapshots = d.newFold(), d.options, journalLog{d.Log()}, d.Snapshots()
	c.At = func(_ context.Context, r state.Revision) (C, error) { return driveRevisions[B, C]{d}.At(r) }
	c.Clock = func() time.Time { return d.Now }
	return replay.Run(d.t.Context(), c)
}
