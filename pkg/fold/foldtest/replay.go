package foldtest

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// replays folds the log of a finished history again: in whole, from the newest snapshot, and for one subject. Each must
// end with what is stored, and publish on its way what was published.
func (l Simulation[B, C]) replays(t testing.TB, seed uint64, w *history[B, C], got []stream.Record) {
	t.Helper()
	published := make(map[string]stream.Record)
	for _, r := range got {
		if _, ok := published[idOf(r)]; !ok {
			published[idOf(r)] = r
		}
	}
	stored, err := w.backend.Store().Open(context.WithoutCancel(t.Context()), w.backend.Partition(), "replay:1")
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	whole, steps := l.replay(t, w.backend, replay.Config[B, C]{Until: stored.Offset})
	seen := make(map[string]bool)
	for _, s := range steps {
		for _, r := range s.Outcomes {
			p, ok := published[idOf(r)]
			if seen[idOf(r)] = true; !ok || !bytes.Equal(p.Value, r.Value) || !bytes.Equal(p.Key, r.Key) || !p.Time.Equal(r.Time) {
				t.Errorf("seed %d: the replay publishes something else: %s", seed, show(r))
				return
			}
		}
	}
	for id, r := range published {
		e, err := event.Decode(r.Value)
		if _, rejected := r.Header(event.HeaderReason); err == nil && !rejected && !whole.Partial() && !seen[id] {
			t.Errorf("seed %d: the replay does not publish what was published: %s", seed, e.Type)
			return
		}
	}
	near, _ := l.replay(t, w.backend, replay.Config[B, C]{Until: stored.Offset, Near: true})
	for _, r := range []*replay.Result[B, C]{whole, near} {
		l.compareReplay(t, seed, w.backend, r, "")
	}
	if near.From < whole.From {
		t.Errorf("seed %d: near begins at %d, behind %d", seed, near.From, whole.From)
	}
	for subject := range whole.All() {
		if strings.Contains(subject, "\x00") { // a rule's record is folded with its subject's
			continue
		}
		one, own := l.replay(t, w.backend, replay.Config[B, C]{Until: stored.Offset, Subject: subject})
		l.compareReplay(t, seed, w.backend, one, subject)
		want := 0
		for _, s := range steps {
			if s.Key == subject {
				want++
			}
		}
		if len(own) != want {
			t.Errorf("seed %d: %s has %d steps by itself, %d among the others", seed, subject, len(own), want)
		}
		break
	}
}

func (l Simulation[B, C]) replay(t testing.TB, b Backend, c replay.Config[B, C]) (*replay.Result[B, C], []fold.Step[B]) {
	t.Helper()
	var steps []fold.Step[B]
	c.Service, c.Partition, c.Topic, c.Rejected = "simulation", b.Partition(), "log", "rejected"
	c.Fold, c.Options, c.Log, c.Snapshots = l.NewFold(), l.Options, journalLog{b.Log()}, b.Snapshots()
	c.At = func(_ context.Context, r state.Revision) (C, error) { return l.Configuration(r.Number), nil }
	c.Clock = func() time.Time { return epoch.AddDate(10, 0, 0) }
	c.Visit = func(s fold.Step[B]) { steps = append(steps, s) }
	r, err := replay.Run(context.WithoutCancel(t.Context()), c)
	if err != nil {
		t.Fatalf("replay: %v", err)
	}
	return r, steps
}

// compareReplay compares records that a replay ended with with those stored.
func (l Simulation[B, C]) compareReplay(t testing.TB, seed uint64, b Backend, r *replay.Result[B, C], only string) {
	t.Helper()
	f, records, asides := l.NewFold(), values(t, b, "r:"), values(t, b, "a:")
	for key, raw := range records {
		subject := key[len("r:"):]
		if only != "" && subject != only {
			continue
		}
		stood, exists, known, err := r.Stood(subject, raw, asides["a:"+subject])
		if err != nil || !exists || !known {
			t.Errorf("seed %d: %s stood there %t, known %t: %v", seed, subject, exists, known, err)
			continue
		}
		body, ok := r.Body(subject)
		if !ok || !bytes.Equal(f.Append(nil, body), f.Append(nil, stood)) {
			t.Errorf("seed %d: from offset %d, %s is folded again as %v, stored is %v", seed, r.From, subject, body, stood)
		}
	}
	n := 0
	for range r.All() {
		n++
	}
	if want := len(records); only == "" && n != want {
		t.Errorf("seed %d: from offset %d, %d records are folded again, %d are stored", seed, r.From, n, want)
	}
}

// journalLog is a journal as a replay reads it.
type journalLog struct{ Journal }

func (j journalLog) Range(context.Context) (start, end int64, err error) {
	start, end = j.Journal.Range()
	return start, end, nil
}

func (j journalLog) Fetch(_ context.Context, from int64) (stream.Batch, error) {
	records, err := j.Read(from, 50)
	b := stream.Batch{Records: records, Next: from}
	if n := len(records); n > 0 {
		b.Next = records[n-1].Offset + 1
	}
	return b, err
}

func (j journalLog) At(_ context.Context, offset int64) (stream.Record, bool, error) {
	records, err := j.Read(offset, 1)
	if err != nil || len(records) == 0 || records[0].Offset != offset {
		return stream.Record{}, false, err
	}
	return records[0], true, nil
}
