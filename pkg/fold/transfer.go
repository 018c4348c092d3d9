package fold

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// Transfer moves the record to another subject of the event's tenant, in whatever partition of the log: its owner takes
// it over by Import, at the transfer's position there. The caller decides what stays under this key:
// the record until the transfer is settled, then a tombstone that knows where later events are to be forwarded. The log's
// topic is topic.
func (s *Subject[B]) Transfer(topic string, e *event.Event, to string) error {
	t := s.Export()
	t.Msisdn = e.Subject
	return s.send(topic, event.TypeTransfer, s.TransferIdentity(), e, to, t)
}

// CommandIdentity is that of what follows from the command in hand: one that is worked again is another.
func (s *Subject[B]) CommandIdentity() Identity { return s.atPlace("command", s.Identity, s.Offset) }

// TransferIdentity is that of a transfer that the event in hand causes. An event whose transfer was refused may come
// again: that is another transfer, hence the position.
func (s *Subject[B]) TransferIdentity() Identity { return s.atPlace("transfer", s.Identity, s.Offset) }

func (s *Subject[B]) atPlace(what string, of Identity, offset int64) Identity {
	return event.Derive(of, what, s.Topic, strconv.Itoa(int(s.Partition)), strconv.FormatInt(offset, 10))
}

// Settle reports the end of a transfer, the event in hand, to the key that it came from: taken over, or refused for a
// reason.
func (s *Subject[B]) Settle(topic string, e *event.Event, reason, detail string) error {
	t, ok := e.Data.(*controlv1.Transfer)
	if !ok {
		return fmt.Errorf("settle %s: it is no transfer", e.Type)
	}
	return s.send(topic, event.TypeTransferSettled, s.atPlace("settled", s.Identity, s.Offset), e, t.GetMsisdn(),
		&controlv1.TransferSettled{Transfer: e.ID, Msisdn: e.Subject, Reason: reason, Detail: detail})
}

// Release puts an event that the record has held, an ordinary one or a transfer, back into the log, at its end and for
// the subject to, whose record this is: it is met there as if it came then. Value and offset are those it came with.
func (s *Subject[B]) Release(topic string, e *event.Event, to string, identity Identity, value []byte, offset int64) error {
	return s.send(topic, event.TypeForward, s.atPlace("release", identity, offset), e, to, &controlv1.Forward{Event: value, Msisdn: e.Subject})
}

// Forward sends an event on to another subject of its tenant, as it came and under its own id. Whether the event was
// counted is known where the record is; here it is remembered that it was sent on, see SentOn.
func (s *Subject[B]) Forward(topic string, e *event.Event, to string) error {
	// A repeat has other bytes, hence the position in its id, as in a rejection's.
	id := s.atPlace("forward", s.Identity, s.Offset)
	if err := s.send(topic, event.TypeForward, id, e, to, &controlv1.Forward{Event: s.record.Value, Msisdn: e.Subject}); err != nil {
		return err
	}
	if s.Forwarded == "" {
		s.state.sentOn = true
		s.touch()
	}
	return nil
}

// SentOn reports whether the event in hand came to this key itself and was forwarded from it before, within the window in
// which ids are remembered. Where the key has another subject by now, the event is not that one's.
func (s *Subject[B]) SentOn() bool {
	if s.id == 0 {
		return false
	}
	_, known := s.find(s.id.SentOn())
	return known
}

func (s *Subject[B]) send(topic, name string, id Identity, e *event.Event, to string, data proto.Message) error {
	r, err := (&event.Event{
		ID: id.String(), Source: "tollgate/" + s.batch.config.service, Type: name, Tenant: e.Tenant, Subject: to,
		Time: s.Time, ReceivedAt: s.Time, Correlation: e.Correlation, Trace: e.Trace, Data: data,
	}).Record(topic)
	if err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	s.Emit(r)
	return nil
}

// Export is the whole record as it now is, with everything beside it. The bytes follow from the log alone: what this
// partition knows of it by itself (applied offset, lists, numbers of segments) is left out.
func (s *Subject[B]) Export() *controlv1.Transfer {
	h := s.header
	h.Epoch, h.Applied, h.Listed, h.Moved = 0, -1, 0, false
	h.PreviousCreators, h.Unpublished = nil, false
	h.IDs.Segments = slices.Clone(h.IDs.Segments)
	h.IDs.Next = uint64(len(h.IDs.Segments))
	t := &controlv1.Transfer{}
	for i, x := range s.header.IDs.Segments {
		h.IDs.Segments[i].Number = uint64(i)
		t.IdSegments = append(t.IdSegments, bytes.Clone(s.segmentIDs(x.Number)))
	}
	t.SideRecord = bytes.Clone(s.SideRecord())
	t.Record = s.batch.append(h.Append(nil), s.Body)
	return t
}

// Import makes of the subject what Export has of another: body, timers, sequence, ids, calls and the side record.
// A record that stands here gives its ids, its calls and its sequence to it, and nothing else. The event in hand
// becomes the creator, so that the transfer once more does nothing. Where the bytes are none of a record, an error
// is returned and nothing has changed.
func (s *Subject[B]) Import(t *controlv1.Transfer) error {
	h, raw, err := record.DecodeHeader(t.GetRecord())
	if err != nil {
		return fmt.Errorf("take over a record: %w", err)
	}
	body, err := s.batch.decode(raw)
	if err != nil {
		return fmt.Errorf("take over a record: %w", err)
	}
	for _, b := range t.GetIdSegments() {
		if !record.IsSegment(b) {
			return errors.New("take over a record: a segment of its ids can't be read")
		}
	}
	if n := len(t.GetIdSegments()); n != len(h.IDs.Segments) {
		return fmt.Errorf("take over a record: it has %d segments of ids, %d came along", len(h.IDs.Segments), n)
	}
	old := s.header
	h.Epoch, h.Applied, h.Listed = old.Epoch, old.Applied, old.Listed
	h.Succeeds(&old, s.Identity)
	h.Unpublished, h.PreviousSequence = true, old.Sequence()
	h.Last = max(h.Last, old.Last)
	h.Side = old.Side
	h.Calls = old.Calls.Join(h.Calls)
	s.adopt(&h.IDs, &old.IDs, t.GetIdSegments())
	s.header = h
	if n := len(h.IDs.Segments); n > 0 {
		s.header.Schedule(record.ExpiryTimer, s.batch.expiryDue(s.Key, h.IDs.Segments[n-1].Newest))
	}
	s.Body, s.Exists = body, true
	s.KeepSideRecord(t.GetSideRecord())
	s.touch()
	return nil
}

// adopt makes of the ids of a record that comes those of both, under the numbers of this one's segments.
func (s *Subject[B]) adopt(come, own *record.IDs, segments [][]byte) {
	all := slices.Clone(own.Segments)
	next := own.Next
	put := func(x record.Segment, raw []byte) {
		x.Number = next
		next++
		all = append(all, x)
		s.batch.putSegment(s, x.Number, raw)
	}
	for i, x := range come.Segments {
		put(x, bytes.Clone(segments[i]))
	}
	if own.Count+come.Count <= record.IDsInRecord {
		come.Join(own)
	} else {
		put(own.Segment(), own.AppendList(nil))
	}
	record.ByAge(all)
	come.Segments, come.Next, come.Evicted = all, next, come.Evicted+own.Evicted
}

// unwrap makes of a record that forwards an event the event itself, for the subject it is forwarded to. Its content is
// that of the bytes it had.
func (en *entry[B]) unwrap() {
	f, ok := en.event.Data.(*controlv1.Forward)
	if !ok {
		en.err = errors.New("a system.forward without its event")
		return
	}
	inner, err := event.Decode(f.GetEvent())
	if err != nil {
		en.err = fmt.Errorf("event that was forwarded: %w", err)
		return
	}
	inner.Trace = en.event.Trace
	if event.IsControl(inner.Type) && inner.Type != event.TypeTransfer {
		en.err = fmt.Errorf("%s was forwarded, which is no event", inner.Type)
		return
	}
	// Where the event is rejected, it is so as it was sent: to the number it was sent to.
	as, err := inner.Record(en.record.Topic)
	if err != nil {
		en.err = fmt.Errorf("event that was forwarded: %w", err)
		return
	}
	as.Value, as.Topic, as.Partition, as.Offset, as.Time = f.GetEvent(), en.record.Topic, en.record.Partition, en.record.Offset, en.record.Time
	en.inner, en.identity = &as, inner.Identity()
	if inner.Subject != en.event.Subject { // else it was held here, and is met as if it came now
		en.from = inner.Subject
	}
	to := *inner
	to.Subject = en.event.Subject
	en.event = &to
}

// source is the record that an entry's event came in.
func (en *entry[B]) source() *stream.Record {
	if en.inner != nil {
		return en.inner
	}
	return &en.record
}
