package foldtest

import (
	"context"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// faulty is the history as one owner sees it: each call may fail, get lost, kill the owner, or stand still until long
// after.
type faulty[B, C any] struct {
	history      *history[B, C]
	runningOwner *runningOwner
}

func (p *faulty[B, C]) Range(context.Context) (start, end int64, err error) {
	err = p.runningOwner.call("range", func() error {
		start, end = p.history.backend.Log().Range()
		return nil
	})
	return start, end, err
}

func (p *faulty[B, C]) Fetch(_ context.Context, from int64, wait time.Duration, _ <-chan struct{}) (b stream.Batch, err error) {
	b.Next = from
	err = p.runningOwner.call("fetch", func() error {
		start, end := p.history.backend.Log().Range()
		if from < start || from > end {
			return &stream.OutOfRangeError{Topic: "log", From: from, Start: start, End: end}
		}
		records, err := p.history.backend.Log().Read(from, 1+p.history.random.IntN(20))
		if err != nil {
			return err
		}
		b = stream.Batch{Records: records, Start: start, End: end, Next: from}
		if n := len(records); n > 0 {
			b.Next = records[n-1].Offset + 1
		}
		if p.runningOwner == p.history.current && wait > 0 {
			if p.history.idle++; len(records) > 0 {
				p.history.idle = 0
			}
			if !p.history.faults {
				return nil
			}
			// Waiting takes time.
			p.history.now = p.history.now.Add(500e6)
		}
		return nil
	})
	return b, err
}

// faultyLog keeps the method At of a log apart from that of revisions.
type faultyLog[B, C any] struct{ *faulty[B, C] }

func (p faultyLog[B, C]) At(_ context.Context, offset int64) (r stream.Record, ok bool, err error) {
	err = p.runningOwner.call("at", func() error {
		records, err := p.history.backend.Log().Read(offset, 1)
		if err == nil && len(records) > 0 && records[0].Offset == offset {
			r, ok = records[0], true
		}
		return err
	})
	return r, ok, err
}

func (p *faulty[B, C]) Append(_ context.Context, e *event.Event) error {
	return p.runningOwner.call("append", func() error {
		if p.history.quiet {
			return nil
		}
		r, err := e.Record("log")
		if err != nil {
			return err
		}
		r.Key = nil
		return p.history.backend.Log().Append(r)
	})
}

func (p *faulty[B, C]) Committed() int64 { return p.runningOwner.committed }

// CommitSoon reaches the group some time, or never.
func (p *faulty[B, C]) CommitSoon(offset int64) {
	p.runningOwner.soon = max(p.runningOwner.soon, offset)
	if p.history.quiet {
		p.history.commitSoon(p.runningOwner)
	}
}

func (p *faulty[B, C]) Commit(_ context.Context, offset int64) error {
	return p.runningOwner.call("published_offset", func() error {
		if p.runningOwner.generation < p.history.generation {
			return stream.ErrRevoked
		}
		p.history.committed = max(p.history.committed, offset)
		return nil
	})
}

func (p *faulty[B, C]) Incident(code string, offset int64, err error) {
	if code != fold.IncidentRevision { // which may be long in coming: histories move the clock
		p.history.t.Errorf("incident %s at offset %d stops the partition: %v", code, offset, err)
	}
}

func (p *faulty[B, C]) Report(code string, offset int64, err error) {
	if code != fold.IncidentPanic && !slices.Contains(p.history.simulation.Incidents, code) {
		p.history.t.Errorf("incident %s at offset %d: %v", code, offset, err)
	}
}

func (p *faulty[B, C]) Settle(string) {}
func (p *faulty[B, C]) Progress()     {}
func (p *faulty[B, C]) Worked(int64)  {}

func (p *faulty[B, C]) Produce(_ context.Context, records ...stream.Record) error {
	return p.runningOwner.call("publish", func() error {
		p.history.ranAhead(p.runningOwner)
		out := make([]stream.Record, len(records))
		for i, r := range records {
			r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], stream.Header{Key: topicHeader, Value: []byte(r.Topic)})
			out[i] = r
		}
		for _, r := range records {
			if r.Topic != "log" {
				continue
			}
			log := p.history.backend.Log()
			switch {
			case p.history.peers != nil:
				log = p.history.logOf(r)
			case p.history.quiet:
				continue // an undisturbed run finds it there already
			}
			if err := log.Append(r); err != nil {
				return err
			}
		}
		return p.history.backend.Outcomes().Append(out...)
	})
}

func (p *faulty[B, C]) Newest() state.Revision {
	if p.history.quiet {
		return state.Revision{}
	}
	return state.Revision{History: revisionHistory, Number: p.history.revision}
}

func (p *faulty[B, C]) Changed() <-chan struct{} { return nil }

func (p *faulty[B, C]) InForce(state.Partition, state.Revision) {}

// At is a revision, which now and then is still being fetched.
func (p *faulty[B, C]) At(r state.Revision) (c C, err error) {
	err = p.runningOwner.call("revision", func() error {
		if r.History != revisionHistory {
			p.history.t.Errorf("asked for revision %s", r)
		}
		if p.history.faults && p.history.random.IntN(8) == 0 {
			return state.ErrNotReady
		}
		c = p.history.simulation.Configuration(r.Number)
		return nil
	})
	return c, err
}

// Wait takes time.
func (p *faulty[B, C]) Wait(context.Context, <-chan struct{}) error {
	return p.runningOwner.call("wait", func() error {
		if p.history.faults {
			p.history.now = p.history.now.Add(500e6)
		}
		return nil
	})
}

type faultyStore[B, C any] struct{ *faulty[B, C] }

func (s faultyStore[B, C]) Open(ctx context.Context, p state.Partition, address string) (w state.Watermark, err error) {
	err = s.runningOwner.call("open", func() error {
		w, err = s.history.backend.Store().Open(ctx, p, address)
		return err
	})
	return w, err
}

func (s faultyStore[B, C]) Load(ctx context.Context, p state.Partition, w state.Watermark, keys []string) (values [][]byte, err error) {
	err = s.runningOwner.call("load", func() error {
		values, err = s.history.backend.Store().Load(ctx, p, w, keys)
		return err
	})
	return values, err
}

func (s faultyStore[B, C]) Peek(ctx context.Context, p state.Partition, keys []string) (state.Watermark, [][]byte, error) {
	return s.history.backend.Store().Peek(ctx, p, keys)
}

func (s faultyStore[B, C]) Commit(ctx context.Context, p state.Partition, from, to state.Watermark, c state.Commit) error {
	s.runningOwner.span = [2]int64{from.Offset, to.Offset}
	return s.history.backend.Store().Commit(ctx, p, from, to, c)
}

func (s faultyStore[B, C]) Scan(ctx context.Context, p state.Partition, prefix, cursor string, count int) (keys []string, next string, err error) {
	return s.history.backend.Store().Scan(ctx, p, prefix, cursor, count)
}

func (s faultyStore[B, C]) Walk(ctx context.Context, p state.Partition, prefix, cursor string, _ int) (keys []string, next string, err error) {
	err = s.runningOwner.call("scan", func() error {
		keys, next, err = s.history.backend.Store().Walk(ctx, p, prefix, cursor, s.history.backend.ScanStep()*(1+s.history.random.IntN(3)))
		return err
	})
	return keys, next, err
}

type faultySnapshots[B, C any] struct {
	*faulty[B, C]
	kept fold.Snapshots
}

func (s faultySnapshots[B, C]) Write(ctx context.Context, records ...*statev1.SnapshotRecord) error {
	return s.runningOwner.call("snapshot", func() error { return s.kept.Write(ctx, records...) })
}

func (s faultySnapshots[B, C]) Newest(ctx context.Context, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error), each func(*statev1.SnapshotRecord) error) (found bool, err error) {
	return s.kept.Newest(ctx, p, accept, each)
}
