package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/internal/pending"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/snapshot"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// What an owner works with in a replay: a log that ends where the replay does, and no receivers.

type replayLog struct {
	log      Log
	until    int64
	subject  string
	progress func(int64)
	ahead    func(int64) bool
	err      error  // an incident that ends it
	passed   []byte // the value that stands for records that need not be decoded
}

func newReplayLog(log Log, until int64, subject string, progress func(int64), ahead func(int64) bool) (*replayLog, error) {
	passed, err := (&event.Event{Type: event.TypeTick, Data: &controlv1.Tick{}}).Encode(nil)
	if err != nil {
		return nil, fmt.Errorf("encode tick: %w", err)
	}
	return &replayLog{log: log, until: until, subject: subject, progress: progress, ahead: ahead, passed: passed}, nil
}

func (l *replayLog) Range(ctx context.Context) (start, end int64, err error) {
	start, _, err = l.log.Range(ctx)
	return start, l.until, err
}

// Fetch ends at the offset asked for as a revoked partition does: what is due has been worked by then.
func (l *replayLog) Fetch(ctx context.Context, from int64, wait time.Duration, _ <-chan struct{}) (stream.Batch, error) {
	if l.err != nil {
		return stream.Batch{}, l.err
	}
	if from >= l.until {
		if wait > 0 {
			return stream.Batch{}, stream.ErrRevoked
		}
		return stream.Batch{Next: from}, nil
	}
	if l.progress != nil {
		l.progress(from)
	}
	if l.ahead != nil && !l.ahead(from) {
		l.until = from
		return l.Fetch(ctx, from, wait, nil)
	}
	b, err := l.log.Fetch(ctx, from)
	if err != nil {
		return b, err
	}
	if b.Next <= from {
		return b, fmt.Errorf("offset %d of %d brought nothing", from, l.until)
	}
	b.Next = min(b.Next, l.until)
	b.Records = slices.DeleteFunc(b.Records, func(r stream.Record) bool { return r.Offset >= l.until })
	if l.subject != "" {
		b.Records = l.only(b.Records)
	}
	return b, nil
}

// only leaves the subject's records and those without a subject. Of the others remains that they moved the log's time: one for
// as many as follow one another. Calls are left as well, since each raises the number below which calls are superseded.
func (l *replayLog) only(records []stream.Record) []stream.Record {
	out := records[:0]
	skipping := false
	for _, r := range records {
		if len(r.Key) == 0 || string(r.Key) == l.subject || pending.Number(&r) != 0 {
			out, skipping = append(out, r), false
			continue
		}
		if n := len(out); skipping {
			if r.Time.Before(out[n-1].Time) {
				r.Time = out[n-1].Time
			}
			out = out[:n-1]
		}
		out = append(out, stream.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Time, Value: l.passed})
		skipping = true
	}
	return out
}

func (l *replayLog) At(ctx context.Context, offset int64) (stream.Record, bool, error) {
	return l.log.At(ctx, offset)
}

func (l *replayLog) Append(context.Context, *event.Event) error { return nil }
func (l *replayLog) Committed() int64                           { return -1 }
func (l *replayLog) CommitSoon(int64)                           {}
func (l *replayLog) Commit(context.Context, int64) error        { return nil }
func (l *replayLog) Progress()                                  {}
func (l *replayLog) Worked(int64)                               {}
func (l *replayLog) Settle(string)                              {}
func (l *replayLog) Report(string, int64, error)                {}
func (l *replayLog) Incident(code string, _ int64, why error) {
	switch code {
	case fold.IncidentGap, fold.IncidentRecreated:
		l.err = fmt.Errorf("%w: %w", ErrNoState, why)
	case fold.IncidentRevision, fold.IncidentTime, fold.IncidentLevel:
		l.err = why
	}
}

// Wait ends a replay that stands still: nothing will change it.
func (l *replayLog) Wait(ctx context.Context, _ <-chan struct{}) error {
	return errors.Join(l.err, ctx.Err())
}

// publisher is who receives outcomes; it may be nil.
type publisher func([]stream.Record)

func (p publisher) Produce(_ context.Context, outcomes ...stream.Record) error {
	if p != nil {
		p(outcomes)
	}
	return nil
}

type replayRevisions[C any] struct {
	at func(state.Revision) (C, error)
}

func (replayRevisions[C]) Newest() state.Revision                  { return state.Revision{} }
func (replayRevisions[C]) Changed() <-chan struct{}                { return nil }
func (replayRevisions[C]) InForce(state.Partition, state.Revision) {}
func (r replayRevisions[C]) At(n state.Revision) (C, error)        { return r.at(n) }

// replaySnapshots finds the snapshot to begin with: one that was whole by an offset, or its records might be of a later
// state.
type replaySnapshots struct {
	kept    fold.Snapshots
	until   int64
	subject string
	near    bool
	from    int64
}

func (*replaySnapshots) Write(context.Context, ...*statev1.SnapshotRecord) error {
	return errors.New("a replay writes no snapshots")
}

func (s *replaySnapshots) Newest(ctx context.Context, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error), each func(*statev1.SnapshotRecord) error) (bool, error) {
	if s.kept == nil {
		return false, nil
	}
	var begins []int64 // offsets at which they begin
	_, err := s.kept.Newest(ctx, p, func(b *statev1.SnapshotRecord_Begin) (bool, error) {
		if w, err := state.DecodeWatermark(b.GetWatermark()); err == nil && w.Offset <= s.until {
			begins = append(begins, w.Offset)
		}
		return false, nil
	}, nil)
	if err != nil {
		return false, err
	}
	slices.Sort(begins)
	begins = slices.Compact(begins)
	if s.near {
		slices.Reverse(begins)
	}
	for _, begin := range begins {
		records, err := s.read(ctx, p, begin, accept)
		if err != nil {
			return false, err
		}
		if records == nil {
			continue
		}
		for _, r := range records {
			if err := each(r); err != nil {
				return true, err
			}
		}
		s.from = begin
		return true, nil
	}
	return false, nil
}

// read returns the newest whole snapshot that begins at an offset, without the published offset: a replay
// shows all of it.
func (s *replaySnapshots) read(ctx context.Context, p state.Partition, begin int64, accept func(*statev1.SnapshotRecord_Begin) (bool, error)) (records []*statev1.SnapshotRecord, err error) {
	whole, count := false, int64(0)
	_, err = s.kept.Newest(ctx, p, func(b *statev1.SnapshotRecord_Begin) (bool, error) {
		if w, err := state.DecodeWatermark(b.GetWatermark()); err != nil || w.Offset != begin {
			return false, nil //nolint:nilerr // another one
		}
		return accept(b)
	}, func(r *statev1.SnapshotRecord) error {
		switch part := r.GetPart().(type) {
		case *statev1.SnapshotRecord_Begin_:
			w, err := state.DecodeWatermark(part.Begin.GetWatermark())
			if err != nil {
				return err
			}
			w.PublishedOffset, w.Status = 0, state.Ready
			r = &statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_Begin_{Begin: &statev1.SnapshotRecord_Begin{Watermark: w.Encode()}}}
		case *statev1.SnapshotRecord_Entries_:
			entries := part.Entries.GetEntries()
			if s.subject != "" {
				entries = nil
				for _, e := range part.Entries.GetEntries() {
					if belongs(e.GetKey(), s.subject) {
						entries = append(entries, e)
					}
				}
			}
			count += int64(len(entries))
			r = &statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_Entries_{Entries: &statev1.SnapshotRecord_Entries{Entries: entries}}}
		case *statev1.SnapshotRecord_End_:
			whole = part.End.GetPublishedOffset() <= s.until
			end := &statev1.SnapshotRecord_End{Count: part.End.GetCount()}
			if s.subject != "" {
				end.Count = count // of what was left
			}
			r = &statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_End_{End: end}}
		}
		records = append(records, r)
		return nil
	})
	if err != nil || !whole {
		return nil, err
	}
	return records, nil
}

// belongs reports whether a key of the store is the subject's.
func belongs(key, subject string) bool {
	return key == record.Key(subject) || key == record.SideKey(subject) ||
		strings.HasPrefix(key, record.SegmentPrefix+subject+"\x00") || strings.HasPrefix(key, record.RulePrefix(subject))
}

// replayStore keeps the partition in a map. It has one user.
type replayStore struct {
	values map[string][]byte
	near   bool
	begin  *Begin
	// bytes that keys and values take, and the most of them, 0 for no bound.
	bytes, most int64
}

func (s *replayStore) Open(context.Context, state.Partition, string) (state.Watermark, error) {
	w := state.Watermark{Token: state.NewToken()}
	if s.begin != nil {
		w.Status, w.Offset, w.LogTime, w.Level = state.Ready, s.begin.Offset, s.begin.Time.UnixMilli(), fold.Level
		if w.Revision = s.begin.Revision; w.Revision.Number == 0 {
			w.Revision.Number = 1
		}
	} else if s.near {
		w.Status = state.Restoring // a snapshot is looked for, also where the log begins at 0
	}
	return w, nil
}

func (s *replayStore) Load(_ context.Context, _ state.Partition, _ state.Watermark, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, k := range keys {
		values[i] = s.values[k]
	}
	return values, nil
}

func (s *replayStore) Peek(ctx context.Context, p state.Partition, keys []string) (state.Watermark, [][]byte, error) {
	values, err := s.Load(ctx, p, state.Watermark{}, keys)
	return state.Watermark{}, values, err
}

func (s *replayStore) Commit(_ context.Context, _ state.Partition, _, _ state.Watermark, c state.Commit) error {
	for _, e := range c.Puts {
		s.put(e.Key, e.Value)
	}
	for _, e := range c.Appends {
		s.put(e.Key, append(s.values[e.Key], e.Value...))
	}
	for _, k := range c.Deletes {
		if v, ok := s.values[k]; ok {
			s.bytes -= keyCost + int64(len(k)+len(v))
			delete(s.values, k)
		}
	}
	if s.most > 0 && s.bytes > s.most {
		return ErrMemory
	}
	return nil
}

// keyCost is what a value takes in memory beside its bytes.
const keyCost = 80

func (s *replayStore) put(key string, value []byte) {
	if old, ok := s.values[key]; ok {
		s.bytes -= int64(len(old))
	} else {
		s.bytes += keyCost + int64(len(key))
	}
	s.bytes += int64(len(value))
	s.values[key] = value
}

func (s *replayStore) Scan(_ context.Context, _ state.Partition, prefix, _ string, _ int) (keys []string, next string, err error) {
	for k := range s.values {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	return keys, "", nil
}

func (s *replayStore) Walk(ctx context.Context, p state.Partition, prefix, cursor string, count int) ([]string, string, error) {
	return s.Scan(ctx, p, prefix, cursor, count)
}

// OfEngine folds a partition of an engine's topic again, owned by its process or not. Of the configuration the caller
// gives what it wants to know.
func OfEngine[B, C any](ctx context.Context, e *fold.Engine[B, C], partition int32, c Config[B, C]) (*Result[B, C], error) {
	cfg := e.Config()
	c.Service, c.Topic, c.Rejected = cfg.Service, cfg.Client.Topic(cfg.Topic), cfg.Client.Topic(stream.EventsRejected)
	c.Partition = state.Partition{Domain: cfg.Domain, Number: partition, Count: e.Partitions()}
	c.Options, c.Clock = cfg.Options, cfg.Clock
	if c.Fold == nil {
		c.Fold = cfg.NewFold()
	}
	c.At = func(ctx context.Context, r state.Revision) (C, error) { return state.Await(ctx, cfg.Revisions, r) }
	c.Log = topicLog{cfg.Client, c.Topic, partition}
	c.Snapshots = snapshot.NewTopic(cfg.Client, cfg.Producer, func() {})
	return Run(ctx, c)
}

// TopicLog is a partition of a topic, owned by the process or not.
func TopicLog(client *stream.Client, topic string, partition int32) Log {
	return topicLog{client, topic, partition}
}

// topicLog reads a partition without owning it.
type topicLog struct {
	client    *stream.Client
	topic     string
	partition int32
}

const replayFetch = 4 << 20

func (l topicLog) Range(ctx context.Context) (start, end int64, err error) {
	return l.client.Offsets(ctx, l.topic, l.partition)
}

func (l topicLog) Fetch(ctx context.Context, from int64) (stream.Batch, error) {
	return l.client.FetchFrom(ctx, l.topic, l.partition, from, replayFetch)
}

func (l topicLog) At(ctx context.Context, offset int64) (stream.Record, bool, error) {
	b, err := l.client.FetchFrom(ctx, l.topic, l.partition, offset, 1)
	if err != nil || len(b.Records) == 0 || b.Records[0].Offset != offset {
		return stream.Record{}, false, err
	}
	return b.Records[0], true, nil
}
