package queue

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/ingest/queue/window"
)

const (
	// maxAcks is how many events one request acknowledges singly: more can't wait for it.
	maxAcks = window.MaxUnacked
	// maxWhy bounds the reason for which an event is given up, in bytes.
	maxWhy = 1000
)

// acked is one ack, read.
type acked struct {
	// Of these one is set: everything up to a sending, one record, or a name.
	upTo   uint64
	single *window.Ref
	name   uint64
	// givenUp is why, empty of an event that was processed.
	givenUp string
}

// request takes an ack. What is wrong in it is listed, and nothing of it counts then.
func (s *subscriber) request(ctx context.Context, r *ingestv1.SubscribeRequest) error {
	if r.GetAck() == nil {
		return fault.NewInvalid(reasonInvalid, fault.Violation{Field: "ack", Description: "must be in every request but the first"})
	}
	all, err := s.read(r.GetAck())
	if err != nil {
		return err
	}
	// First those that are given up: a cursor in the same ack is often behind them.
	for _, a := range all {
		if a.givenUp != "" {
			if err := s.giveUp(ctx, a); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	n, unknown := 0, 0
	for _, a := range all {
		switch {
		case a.givenUp != "":
			continue
		case a.upTo > 0:
			n += s.w.AckTo(a.upTo)
			continue
		}
		found := s.refs(a)
		for _, ref := range found {
			if s.w.Ack(ref) {
				n++
			} else {
				unknown++
			}
		}
		if len(found) == 0 {
			unknown++
		}
	}
	s.release()
	s.mu.Unlock()
	s.waiter.signal()
	s.q.metrics.acked.Add(float64(n))
	s.q.metrics.unknown.Add(float64(unknown))
	return nil
}

// refs are the records that an ack names. It requires mu.
func (s *subscriber) refs(a acked) []window.Ref {
	if a.single != nil {
		return []window.Ref{*a.single}
	}
	return s.w.Named(a.name)
}

// read validates an ack.
func (s *subscriber) read(a *ingestv1.Ack) ([]acked, error) {
	var f fault.Violations
	if n := len(a.GetEvents()); n > maxAcks {
		f.Add("ack.events", "must be at most %d, not %d", maxAcks, n)
		return nil, f.ErrShared(reasonInvalid)
	}
	if len(a.GetEvents()) == 0 && a.GetCursor() == "" {
		f.Add("ack", "must have a cursor or events")
	}
	out := make([]acked, 0, len(a.GetEvents())+1)
	if a.GetCursor() != "" {
		c, ref, err := s.cursor(a.GetCursor())
		switch {
		case err != nil:
			f.AddAs(reasonCursorInvalid, "ack.cursor", "%s", err)
		case c.stream == s.id:
			out = append(out, acked{upTo: c.seq})
		case ref != nil:
			out = append(out, acked{single: ref})
		}
	}
	for i, e := range a.GetEvents() {
		field := indexed("ack.events", i)
		var one acked
		switch {
		case e.GetCursor() != "":
			_, ref, err := s.cursor(e.GetCursor())
			if err != nil {
				f.AddAs(reasonCursorInvalid, field+".cursor", "%s", err)
			}
			if ref == nil {
				continue
			}
			one.single = ref
		case e.GetId() == "" || e.GetSource() == "":
			f.Add(field, "must have a cursor, or id and source")
			continue
		default:
			one.name = nameOf([]byte(e.GetSource()), []byte(e.GetSubject()), []byte(e.GetId()))
		}
		if e.GetGivenUp() != nil {
			one.givenUp = strings.ToValidUTF8(e.GetGivenUp().GetReason(), "")
			if one.givenUp == "" || len(one.givenUp) > maxWhy {
				f.Add(field+".given_up.reason", "must be 1 to %d bytes", maxWhy)
			}
		}
		out = append(out, one)
	}
	return out, f.ErrShared(reasonInvalid)
}

// cursor reads one, and the record that it names: nil of one in a topic that this stream does not read.
func (s *subscriber) cursor(text string) (c cursor, at *window.Ref, err error) {
	if c, err = parseCursor(text); err != nil {
		return c, nil, err
	}
	if c.subscription != s.of {
		return c, nil, errors.New("is of another subscription")
	}
	s.mu.Lock()
	last := s.w.Seq()
	s.mu.Unlock()
	if c.stream == s.id && (c.seq > last || c.seq == 0) {
		return c, nil, errors.New("is of an event that was never sent")
	}
	topic := false
	for i, p := range s.parts {
		topic = topic || p.place.topic == c.event.topic
		if p.place.topic == c.event.topic && p.partition == c.event.partition {
			return c, &window.Ref{Partition: i, Offset: c.event.offset}, nil
		}
	}
	if topic || int(c.event.topic) >= len(topicNames) {
		return c, nil, errors.New("names partition " + strconv.Itoa(int(c.event.partition)) + ", which does not exist")
	}
	return c, nil, nil
}

// giveUp records that the consumer can't process an event, on events.rejected, and acknowledges it once that is stored.
func (s *subscriber) giveUp(ctx context.Context, a acked) error {
	s.mu.Lock()
	var found []window.Ref
	for _, ref := range s.refs(a) {
		if _, waits := s.w.Waits(ref); waits {
			found = append(found, ref)
		}
	}
	s.mu.Unlock()
	if len(found) == 0 {
		s.q.metrics.unknown.Inc()
	}
	for _, ref := range found {
		r, err := s.record(ctx, ref)
		if err != nil {
			return err
		}
		var id event.Identity
		if e, err := event.Decode(r.Value); err == nil {
			// Several subscriptions may give up one event.
			id = event.Derive(e.Identity(), "given up", s.name)
		}
		out := event.Rejected(s.q.client.Topic(stream.EventsRejected), r, id, reasonGivenUp, "subscription "+s.name+": "+a.givenUp, s.q.env.Clock())
		if err := s.q.producer.Produce(ctx, out); err != nil {
			return s.unreadable(s.parts[ref.Partition], ref.Offset, err)
		}
		s.logger().Warn("event given up by its consumer", zap.String("topic", r.Topic), zap.Int32("partition", r.Partition),
			zap.Int64("offset", r.Offset), zap.String("reason", display.Numbers(display.Text(a.givenUp, maxWhy))))
		s.mu.Lock()
		s.w.Ack(ref)
		s.release()
		s.mu.Unlock()
		s.waiter.signal()
		s.q.metrics.givenUp.Inc()
	}
	return nil
}

// record reads a record with its headers. One that is kept no longer has none, and no value.
func (s *subscriber) record(ctx context.Context, ref window.Ref) (stream.Record, error) {
	p := s.parts[ref.Partition]
	bare := stream.Record{Topic: p.topic, Partition: p.partition, Offset: ref.Offset}
	b, err := s.q.client.FetchFrom(ctx, p.topic, p.partition, ref.Offset, fetchBytes)
	if _, gone := errors.AsType[*stream.OutOfRangeError](err); gone {
		return bare, nil
	}
	if err != nil {
		return bare, s.unreadable(p, ref.Offset, err)
	}
	for _, r := range b.Records {
		if r.Offset == ref.Offset {
			return r, nil
		}
	}
	return bare, nil
}
