package queue

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/ingest/queue/window"
)

const (
	// filterPerSecond is what the filter of a stream may cost, in units of pkg/expr; beyond it the stream waits. Ordinary
	// filters take some ten units, and a unit a hundredth of a microsecond: a tenth of a core where it is all used.
	filterPerSecond = 5_000_000
	// keptBytes bounds the events that a stream keeps for sending; those beyond it are read again.
	keptBytes = 4 << 20
	// eventBytes is what an event takes in the window, whatever its size.
	eventBytes = 256
	// memoryWait is the pause of a stream for which the budget of all callers has no room.
	memoryWait = 100 * time.Millisecond
)

// fill reads from each partition what is there and has room; moved: something was read.
func (s *subscriber) fill(ctx context.Context, now time.Time) (moved bool, err error) {
	for range s.parts {
		s.mu.Lock()
		room := s.w.Room()
		i := s.turn
		next := s.w.Next(i)
		s.mu.Unlock()
		if room == 0 || now.Before(s.quiet) {
			return moved, nil
		}
		s.turn = (s.turn + 1) % len(s.parts)
		p := s.parts[i]
		at := p.place
		at.offset = next
		b, err := s.q.source.get(p.topic, at, s.waiter)
		if err != nil {
			return moved, s.unreadable(p, next, err)
		}
		if b == nil {
			continue
		}
		read, err := s.take(ctx, i, b, room, now)
		if err != nil {
			return moved, err
		}
		moved = moved || read
	}
	return moved, nil
}

// unreadable is why a stream can't go on in a partition.
func (s *subscriber) unreadable(p partition, offset int64, err error) error {
	if gone, ok := errors.AsType[*stream.OutOfRangeError](err); ok {
		p.start, p.end = gone.Start, gone.End
		return expired(p, offset)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	s.logger().Error("log not read for a subscription", zap.String("topic", p.topic), zap.Int32("partition", p.partition),
		zap.Int64("offset", offset), zap.Error(err))
	return fault.New(fault.Unavailable, reasonLog, "offset %d of %s/%d can't be read now, subscribe again", offset, p.topic, p.partition).After(time.Second)
}

// take adds what is the subscriber's of a batch; moved: at least a record was passed.
func (s *subscriber) take(ctx context.Context, i int, b *batch, room int, now time.Time) (moved bool, err error) {
	s.mu.Lock()
	from := s.w.Next(i)
	kept := s.w.Bytes()
	s.mu.Unlock()
	s.events = s.events[:0]
	next, failed, size := b.next, int64(0), 0
	for _, it := range b.of(s.tenant, from) {
		if len(s.events) == room || now.Before(s.quiet) {
			next = it.offset
			break
		}
		rule := s.selection.rule(ctx, it.typ, it.received)
		if rule == nil {
			s.undecided(it, now)
			next = it.offset
			break
		}
		out := rule.of(it.value)
		if out.cost > 0 {
			s.quiet = now.Add(s.filter.ReserveN(now, int(min(out.cost, filterPerSecond))).DelayFrom(now))
		}
		if out.failed {
			failed++
			s.q.filterFailed(s, it)
		}
		if out.value == nil {
			continue
		}
		e := window.Event{Offset: it.offset, Key: it.key, Name: it.name}
		if kept+size+len(out.value) <= keptBytes {
			e.Value = out.value
			size += len(out.value)
		}
		s.events = append(s.events, e)
	}
	if !s.reserve(size, now) {
		return false, nil
	}
	for k := range s.events {
		s.events[k].Value = bytes.Clone(s.events[k].Value) // the batch may go
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filterErrors += failed
	for _, e := range s.events {
		if err := s.w.Add(i, e); err != nil {
			return false, err
		}
	}
	s.w.Pass(i, next)
	return next > from, nil
}

// undecided lets the stream wait before an event of a type that is not known, while configuration can't be asked: passing it over
// would lose it.
func (s *subscriber) undecided(it item, now time.Time) {
	s.quiet = now.Add(time.Second)
	s.q.waits.Write(zapcore.WarnLevel, func() []zap.Field {
		return []zap.Field{zap.String("tenant", s.tenant), zap.String("subscription", s.name), zap.String("type", it.typ)}
	})
}

// reserve takes the memory of s.events of the budget: without their values where that has no room for them, and not at
// all where it is spent; the stream waits then.
func (s *subscriber) reserve(size int, now time.Time) bool {
	bare := int64(len(s.events)) * eventBytes
	taken := bare + int64(size)
	if s.hold.Take(taken) != nil {
		if taken = bare; s.hold.Take(taken) != nil {
			s.quiet = now.Add(memoryWait)
			return false
		}
		for k := range s.events {
			s.events[k].Value = nil
		}
	}
	s.mu.Lock()
	s.taken += taken
	s.mu.Unlock()
	return true
}

// release gives back what acknowledged events took. It requires mu.
func (s *subscriber) release() {
	needs := int64(s.w.Unacked()+s.w.Held())*eventBytes + int64(s.w.Bytes())
	if s.taken > needs {
		s.hold.Give(s.taken - needs)
		s.taken = needs
	}
}

func (q *Queue) filterFailed(s *subscriber, it item) {
	q.metrics.filterErrors.Inc()
	q.failures.Write(zapcore.WarnLevel, func() []zap.Field {
		return []zap.Field{zap.String("tenant", s.tenant), zap.String("subscription", s.name), zap.String("type", it.typ), zap.Int64("offset", it.offset)}
	})
}
