package queue

import (
	"context"
	"encoding/base64"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/services/ingest/queue/window"
)

const (
	// perResponse is how many events a response has: of a thousand that may be without an ack half, so that a consumer works
	// on one response while the next is on its way.
	perResponse = window.MaxUnacked / 2
	// responseBytes is what a response has at most, but for a single event that is larger.
	responseBytes = 384 << 10
	// followEvery is how often a stream follows a log that has nothing of its tenant.
	followEvery = 250 * time.Millisecond
)

// run reads and sends until ctx ends.
func (s *subscriber) run(ctx context.Context) error {
	timer := time.NewTimer(followEvery)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := s.q.env.Clock()
		moved, err := s.fill(ctx, now)
		if err != nil {
			return err
		}
		sent, err := s.send(ctx, now)
		if err != nil {
			return err
		}
		if moved || sent {
			continue
		}
		timer.Reset(s.pause(now))
		select {
		case <-s.waiter.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// pause is how long nothing has to be done.
func (s *subscriber) pause(now time.Time) time.Duration {
	d := followEvery
	if now.Before(s.quiet) {
		d = min(d, s.quiet.Sub(now))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if due, ok := s.w.Due(); ok {
		d = min(d, due.Sub(now))
	}
	return max(d, time.Millisecond)
}

// send sends what may be sent, in one response or, where the events are large, several.
func (s *subscriber) send(ctx context.Context, now time.Time) (bool, error) {
	s.mu.Lock()
	due, some := s.w.Due()
	if !s.w.Sendable() && (!some || due.After(now)) {
		s.mu.Unlock()
		return false, nil
	}
	before := s.cursorPositions()
	s.sendings = s.w.Take(now, perResponse, s.sendings[:0])
	after := s.cursorPositions()
	failed := s.filterErrors
	s.mu.Unlock()
	if len(s.sendings) == 0 {
		return false, nil
	}
	buf := s.buffer[:0]
	again := 0
	for i, one := range s.sendings {
		value := one.Value
		if value == nil {
			var err error
			if value, err = s.load(ctx, one); err != nil {
				return false, err
			}
			if value == nil {
				continue // it is not the subscriber's any more
			}
		}
		if len(buf) > 0 && len(buf)+len(value) > responseBytes {
			if err := s.out.SendMsg(rawMessage(buf)); err != nil {
				return false, err
			}
			buf = buf[:0]
		}
		positions := before
		if i == len(s.sendings)-1 {
			positions = after
		}
		buf = s.appendEvent(buf, one, value, positions)
		if one.Number > 1 {
			again++
		}
	}
	if failed > 0 {
		buf = protowire.AppendTag(buf, fieldFilterErrors, protowire.VarintType)
		buf = protowire.AppendVarint(buf, uint64(failed))
	}
	if err := s.out.SendMsg(rawMessage(buf)); err != nil {
		return false, err
	}
	if s.buffer = buf; cap(buf) > 2*responseBytes {
		s.buffer = nil
	}
	s.q.metrics.sent.Add(float64(len(s.sendings)))
	s.q.metrics.again.Add(float64(again))
	s.mu.Lock()
	s.w.Written(s.sendings[0].Seq, s.q.env.Clock())
	s.mu.Unlock()
	return true, nil
}

// load reads an event again whose value was not kept; nil where it is not for the subscriber by now.
func (s *subscriber) load(ctx context.Context, one window.Sending) ([]byte, error) {
	p := s.parts[one.Partition]
	at := p.place
	at.offset = one.Offset
	it, tenant, err := s.q.source.load(ctx, p.topic, at)
	if err != nil {
		return nil, s.unreadable(p, one.Offset, err)
	}
	if tenant == s.tenant {
		rule := s.selection.rule(ctx, it.typ, it.received)
		if rule == nil {
			return nil, fault.New(fault.Unavailable, reasonLog, "the event type %s can't be read now, subscribe again", it.typ).After(time.Second)
		}
		if out := rule.of(it.value); out.value != nil {
			return out.value, nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.Ack(window.Ref{Partition: one.Partition, Offset: one.Offset})
	return nil, nil
}

// cursorPositions are those of all partitions as cursors have them, in text. It requires mu.
func (s *subscriber) cursorPositions() string {
	var room [512]byte
	raw := room[:0]
	for i := 0; i < len(s.parts); {
		topic, n := s.parts[i].place.topic, 0
		for i+n < len(s.parts) && s.parts[i+n].place.topic == topic {
			n++
		}
		raw = appendTopic(raw, topic, n)
		for ; n > 0; n-- {
			raw = protowire.AppendVarint(raw, uint64(s.w.Unsent(i)))
			i++
		}
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// Fields of SubscribeResponse and QueuedEvent.
const (
	fieldEvents       protowire.Number = 1
	fieldStream       protowire.Number = 2
	fieldFilterErrors protowire.Number = 3

	fieldEvent     protowire.Number = 1
	fieldCursor    protowire.Number = 2
	fieldSending   protowire.Number = 3
	fieldMaybeSeen protowire.Number = 4
)

// appendEvent writes one of a response's events, around the event's own bytes.
func (s *subscriber) appendEvent(b []byte, one window.Sending, value []byte, positions string) []byte {
	number := uint64(one.Number)
	size := 1 + protowire.SizeBytes(len(value)) + 1 + protowire.SizeBytes(headText+len(positions)) + 1 + protowire.SizeVarint(number)
	if one.MaybeSeen {
		size += 2
	}
	b = protowire.AppendTag(b, fieldEvents, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, fieldEvent, protowire.BytesType)
	b = protowire.AppendBytes(b, value)
	b = protowire.AppendTag(b, fieldCursor, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(headText+len(positions)))
	at := s.parts[one.Partition].place
	at.offset = one.Offset
	b = appendHead(b, &cursor{subscription: s.of, stream: s.id, seq: one.Seq, event: at})
	b = append(b, positions...)
	b = protowire.AppendTag(b, fieldSending, protowire.VarintType)
	b = protowire.AppendVarint(b, number)
	if one.MaybeSeen {
		b = protowire.AppendTag(b, fieldMaybeSeen, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}

// rawMessage is a message that is encoded already: one without fields keeps bytes it does not know.
func rawMessage(b []byte) *emptypb.Empty {
	m := &emptypb.Empty{}
	m.ProtoReflect().SetUnknown(b)
	return m
}

func encodeFirst(stream string) *emptypb.Empty {
	return rawMessage(protowire.AppendString(protowire.AppendTag(nil, fieldStream, protowire.BytesType), stream))
}
