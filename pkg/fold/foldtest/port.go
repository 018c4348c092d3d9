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

// port is the world as one owner sees it: each call may fail, get lost, kill the owner, or stand still until long
// after.
type port[B, C any] struct {
	world *world[B, C]
	actor *actor
}

func (p *port[B, C]) Range(context.Context) (start, end int64, err error) {
	err = p.actor.call("range", func() error {
		start, end = p.world.bench.Log().Range()
		return nil
	})
	return start, end, err
}

func (p *port[B, C]) Fetch(_ context.Context, from int64, wait time.Duration, _ <-chan struct{}) (b stream.Batch, err error) {
	b.Next = from
	err = p.actor.call("fetch", func() error {
		start, end := p.world.bench.Log().Range()
		if from < start || from > end {
			return &stream.OutOfRangeError{Topic: "log", From: from, Start: start, End: end}
		}
		records, err := p.world.bench.Log().Read(from, 1+p.world.random.IntN(20))
		if err != nil {
			return err
		}
		b = stream.Batch{Records: records, Start: start, End: end, Next: from}
		if n := len(records); n > 0 {
			b.Next = records[n-1].Offset + 1
		}
		if p.actor == p.world.current && wait > 0 {
			if p.world.idle++; len(records) > 0 {
				p.world.idle = 0
			}
			if !p.world.faults {
				return nil
			}
			// Waiting takes time.
			p.world.now = p.world.now.Add(500e6)
		}
		return nil
	})
	return b, err
}

// portLog keeps the method At of a log apart from that of revisions.
type portLog[B, C any] struct{ *port[B, C] }

func (p portLog[B, C]) At(_ context.Context, offset int64) (r stream.Record, ok bool, err error) {
	err = p.actor.call("at", func() error {
		records, err := p.world.bench.Log().Read(offset, 1)
		if err == nil && len(records) > 0 && records[0].Offset == offset {
			r, ok = records[0], true
		}
		return err
	})
	return r, ok, err
}

func (p *port[B, C]) Append(_ context.Context, e *event.Event) error {
	return p.actor.call("append", func() error {
		if p.world.quiet {
			return nil
		}
		r, err := e.Record("log")
		if err != nil {
			return err
		}
		r.Key = nil
		return p.world.bench.Log().Append(r)
	})
}

func (p *port[B, C]) Committed() int64 { return p.actor.committed }

func (p *port[B, C]) Commit(_ context.Context, offset int64) error {
	return p.actor.call("floor", func() error {
		if p.actor.generation < p.world.generation {
			return stream.ErrRevoked
		}
		p.world.committed = max(p.world.committed, offset)
		return nil
	})
}

func (p *port[B, C]) Incident(code string, offset int64, err error) {
	if code != fold.IncidentRevision { // which may be long in coming: histories move the clock
		p.world.t.Errorf("incident %s at offset %d stops the partition: %v", code, offset, err)
	}
}

func (p *port[B, C]) Report(code string, offset int64, err error) {
	if code != fold.IncidentPanic && !slices.Contains(p.world.law.Incidents, code) {
		p.world.t.Errorf("incident %s at offset %d: %v", code, offset, err)
	}
}

func (p *port[B, C]) Settle(string) {}
func (p *port[B, C]) Progress()     {}

func (p *port[B, C]) Produce(_ context.Context, records ...stream.Record) error {
	return p.actor.call("publish", func() error {
		out := make([]stream.Record, len(records))
		for i, r := range records {
			r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], stream.Header{Key: topicHeader, Value: []byte(r.Topic)})
			out[i] = r
		}
		for _, r := range records {
			if r.Topic != "log" {
				continue
			}
			log := p.world.bench.Log()
			switch {
			case p.world.peers != nil:
				log = p.world.logOf(r)
			case p.world.quiet:
				continue // an undisturbed run finds it there already
			}
			if err := log.Append(r); err != nil {
				return err
			}
		}
		return p.world.bench.Outcomes().Append(out...)
	})
}

func (p *port[B, C]) Newest() state.Revision {
	if p.world.quiet {
		return state.Revision{}
	}
	return state.Revision{History: history, Number: p.world.revision}
}

func (p *port[B, C]) Changed() <-chan struct{} { return nil }

func (p *port[B, C]) InForce(state.Partition, state.Revision) {}

// At is a revision, which now and then is still being fetched.
func (p *port[B, C]) At(r state.Revision) (c C, err error) {
	err = p.actor.call("revision", func() error {
		if r.History != history {
			p.world.t.Errorf("asked for revision %s", r)
		}
		if p.world.faults && p.world.random.IntN(8) == 0 {
			return state.ErrNotReady
		}
		c = p.world.law.Configuration(r.Number)
		return nil
	})
	return c, err
}

// Wait takes time.
func (p *port[B, C]) Wait(context.Context, <-chan struct{}) error {
	return p.actor.call("wait", func() error {
		if p.world.faults {
			p.world.now = p.world.now.Add(500e6)
		}
		return nil
	})
}

type portStore[B, C any] struct{ *port[B, C] }

func (s portStore[B, C]) Open(ctx context.Context, p state.Partition, address string) (w state.Watermark, err error) {
	err = s.actor.call("open", func() error {
		w, err = s.world.bench.Store().Open(ctx, p, address)
		return err
	})
	return w, err
}

func (s portStore[B, C]) Load(ctx context.Context, p state.Partition, w state.Watermark, keys []string) (values [][]byte, err error) {
	err = s.actor.call("load", func() error {
		values, err = s.world.bench.Store().Load(ctx, p, w, keys)
		return err
	})
	return values, err
}

func (s portStore[B, C]) Peek(ctx context.Context, p state.Partition, keys []string) (state.Watermark, [][]byte, error) {
	return s.world.bench.Store().Peek(ctx, p, keys)
}

func (s portStore[B, C]) Commit(ctx context.Context, p state.Partition, from, to state.Watermark, c state.Commit) error {
	err := s.actor.call("commit", func() error { return s.world.bench.Store().Commit(ctx, p, from, to, c) })
	if err == nil {
		s.actor.commits = append(s.actor.commits, [2]int64{from.Offset, to.Offset})
	}
	return err
}

func (s portStore[B, C]) Scan(ctx context.Context, p state.Partition, prefix, cursor string, _ int) (keys []string, next string, err error) {
	err = s.actor.call("scan", func() error {
		keys, next, err = s.world.bench.Store().Scan(ctx, p, prefix, cursor, 1+s.world.random.IntN(3))
		return err
	})
	return keys, next, err
}

type portSnapshots[B, C any] struct {
	*port[B, C]
	kept fold.Snapshots
}

func (s portSnapshots[B, C]) Write(ctx context.Context, records ...*statev1.SnapshotRecord) error {
	return s.actor.call("snapshot", func() error { return s.kept.Write(ctx, records...) })
}

func (s portSnapshots[B, C]) Newest(ctx context.Context, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error), each func(*statev1.SnapshotRecord) error) (found bool, err error) {
	return s.kept.Newest(ctx, p, accept, each)
}
