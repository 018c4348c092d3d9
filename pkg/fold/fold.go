package fold

import (
	"bytes"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/foreign"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Fold is what a service makes of its log. All of it is pure: no I/O, no clock, no randomness, no order of a map, and
// nothing remembered between calls but the configuration; everything else stands in records. B is the body of a
// subject's record, C the configuration.
//
// An engine asks for one Fold per partition, since partitions may be at different revisions.
type Fold[B, C any] interface {
	// Configure takes the configuration in force from here on. An error is ours: the partition waits.
	Configure(c C) error
	// Decode reads the bytes that Append wrote.
	Decode(b []byte) (B, error)
	Append(dst []byte, body B) []byte
	// Select returns what is to be loaded before an event is applied.
	Select(e *event.Event) Selection
	// Apply folds one event, which has not been counted before, into its subject. A panic is caught: the event is
	// rejected as PANIC. A command, where the engine takes calls, is accepted or refused, also where it is Repeated or
	// its subject has no record.
	Apply(s *Subject[B], e *event.Event)
	// Fire works a timer that is due. It is no longer scheduled.
	Fire(s *Subject[B], name string, due time.Time)
}

// Selection is what an event needs.
type Selection struct {
	// Key of the record, "" where the event needs none.
	Key string
	// Rules are records of rules, each selected once, of a RuleFold. Those beyond 200, or beyond 512 KiB together, are
	// left out: see Subject.RulesLeft. An event may need them without its subject's record.
	Rules []Rule
	// Memo is handed to Apply: what Select found out on the way.
	Memo any
	// AllIDs asks for all ids remembered for the subject: for an event that leads to Transfer or Remembers. Without it
	// those are loaded that show whether the event itself was counted before. An event or a timer that turns out to
	// need more is applied again, with its whole batch, once that is loaded.
	AllIDs bool
}

// Subject is a subject's record during one event or timer; its methods add what follows.
type Subject[B any] struct {
	// Key of the record, as Select gave it.
	Key string
	// Exists is whether there is a record.
	Exists bool
	// Body of the record, the zero value where there is none. Changes count once Save is called.
	Body B
	// Memo is what Select found out.
	Memo any
	// Results are what ApplyRule returned of the selected rules, in their order, nil of those whose record had counted
	// the event before; RulesLeft is how many more were selected than one event may change.
	Results   []any
	RulesLeft int
	// Forwarded is the subject that the event was sent to, where it was forwarded from there; see Options.Transfers.
	Forwarded string

	// Time is the log time at the event, or the timer's due time: the time of outcomes.
	Time time.Time
	// EventTime is the event's own time, but not after the log time; zero for a timer.
	EventTime time.Time
	// FutureTimestamp is set where the event's own time is more than five minutes after the log time.
	FutureTimestamp bool
	// Identity of the event or of the timer; what follows derives its own.
	Identity Identity
	// Topic (with prefix), Partition and Offset of the log record; the offset is -1 for a timer.
	Topic     string
	Partition int32
	Offset    int64
	// Revision of the configuration in force.
	Revision int64
	// Repeated is set for a command that was accepted before, within 24 h of log time: nothing is changed, and it is
	// accepted again; see Kept.
	Repeated bool

	batch    *batch[B]
	header   record.Header
	id       record.ID      // the event's, where it was not forwarded
	record   *stream.Record // the event's own
	state    subjectState
	segments map[uint64][]byte // id segments written in this batch, encoded
	side     []byte            // as far as read or written
	kept     []byte            // with the command in hand, where it is repeated
}

// subjectState is what a batch knows of a record beside its content.
type subjectState struct {
	dirty  bool
	stored bool // the store has a value under the key
	effect bool // the current event changed the record
	waits  bool // its id is not to be remembered yet
	sentOn bool // it was forwarded, and is remembered as such

	sideStored bool // the store has a side record
	sideKnown  bool // it was read, or written anew
	sideDirty  bool
}

// Save keeps the record with this body. The event's id enters it.
func (s *Subject[B]) Save(body B) {
	s.Body = body
	s.Exists = true
	if s.header.Creator == (Identity{}) && !s.state.waits {
		s.header.Creator = s.Identity
	}
	s.touch()
}

// Delete drops the record, its timers, its ids and its side record. Its last sequence goes with it: keep a record as a
// tombstone where a subject may come back.
func (s *Subject[B]) Delete() {
	if s.batch.rule != nil {
		s.batch.misused("the record of a rule is deleted by a timer only")
		return
	}
	s.Exists = false
	s.touch()
	s.forget()
}

// forget makes it as if the record had never been, also for what follows in the same batch; only the numbers of
// segments go on, since puts and deletes of a batch are one step.
func (s *Subject[B]) forget() {
	var none B
	s.Body = none
	for _, x := range s.header.IDs.Segments {
		s.batch.dropSegment(s.Key, x.Number)
	}
	s.setSide(nil)
	s.header = record.Header{Applied: s.header.Applied, IDs: record.IDs{Next: s.header.IDs.Next}}
}

// SideRecord is what is kept beside the record, nil where nothing is. It may be read only.
func (s *Subject[B]) SideRecord() []byte {
	if !s.state.sideKnown && s.header.Side {
		s.side = s.batch.beside(record.SideKey(s.Key))
	}
	s.state.sideKnown = true
	return s.side
}

// KeepSideRecord keeps bytes under a key of their own beside the record, so that what seldom changes is not written
// with it each time; nil drops them. They go with the record: one that is not saved, or deleted, has none.
func (s *Subject[B]) KeepSideRecord(b []byte) {
	if !s.notOfRule("side record") && !bytes.Equal(s.SideRecord(), b) {
		s.setSide(bytes.Clone(b))
		s.touch()
	}
}

func (s *Subject[B]) setSide(b []byte) {
	if s.header.Side = len(b) > 0; !s.header.Side {
		b = nil
	}
	s.side = b
	s.state.sideKnown, s.state.sideDirty = true, true
}

// Creator is the identity of the event that created the record.
func (s *Subject[B]) Creator() Identity { return s.header.Creator }

// Schedule sets the subject's timer of that name, or moves it; times are cut to the ms. It fires at its due time,
// however late it is worked.
func (s *Subject[B]) Schedule(name string, due time.Time) {
	written, err := s.batch.memory.timers.Written(name)
	if err != nil {
		s.batch.misused("%w", err)
		return
	}
	s.header.Schedule(written, due.UnixMilli())
	s.touch()
}

// Cancel drops the timer of that name, if there is one.
func (s *Subject[B]) Cancel(name string) {
	written, err := s.batch.memory.timers.Written(name)
	if err != nil {
		s.batch.misused("%w", err)
		return
	}
	s.header.Cancel(written)
	s.touch()
}

// Due is when the timer of that name is due.
func (s *Subject[B]) Due(name string) (time.Time, bool) {
	written, err := s.batch.memory.timers.Written(name)
	for _, t := range s.header.Timers {
		if err == nil && t.Name == written {
			return time.UnixMilli(t.Due).UTC(), true
		}
	}
	return time.Time{}, false
}

// NextSequence gives out the next sequence of the subject and the one before, 0 at first: max(last + 1, ms of Time). It
// rises through rebuilds that lost something.
func (s *Subject[B]) NextSequence() (sequence, previous int64) {
	if s.notOfRule("sequence") {
		return 0, 0
	}
	previous = s.header.Sequence()
	s.header.Last = max(s.header.Last+1, s.Time.UnixMilli())
	s.header.Unpublished = false
	s.touch()
	return s.header.Last, previous
}

// LastSequence is the one given out last, 0 where none was.
func (s *Subject[B]) LastSequence() int64 { return s.header.Sequence() }

// Emit publishes an outcome before the commit that holds its cause. The bytes must follow from the arguments alone; the
// record's time is Time. One that is too large for its topic is a misuse: the event is rejected as after a panic, the
// partition goes on.
func (s *Subject[B]) Emit(r stream.Record) {
	if n := sizeOf(r); n > maxOutcome {
		s.batch.misused("an outcome for %s takes %d bytes, at most %d", r.Topic, n, maxOutcome)
		return
	}
	if s.batch.rule != nil {
		s.batch.misused("the record of a rule publishes at its timers only")
		return
	}
	r.Time = s.Time
	s.batch.emit(r)
}

// Foreign is an outcome for a topic that is not ours.
type Foreign = foreign.Outcome

// EmitForeign publishes an outcome to a topic that is not ours, as Emit does to others; its records are stamped already.
func (s *Subject[B]) EmitForeign(f Foreign) {
	if s.batch.emitted++; s.batch.from.Status != state.Rebuilding {
		s.batch.foreign = append(s.batch.foreign, f)
		s.batch.size += sizeOf(f.Record)
	}
}

// Reject sends the log record to the rejected topic, as it came, with a code in UPPER_SNAKE and a text on what to
// do. The event changes nothing: call it before any change.
func (s *Subject[B]) Reject(reason, detail string) {
	if s.batch.rule != nil {
		s.batch.misused("the record of a rule rejects nothing")
		return
	}
	s.batch.reject(s.record, s.Identity, reason, detail, s.Time)
}

// RejectLoudly is Reject of what needs a person: it is an incident as well, of the same code.
func (s *Subject[B]) RejectLoudly(reason, detail string) {
	before := len(s.batch.rejections)
	s.Reject(reason, detail)
	if len(s.batch.rejections) > before {
		s.batch.rejections[before].incident = detail
	}
}

func (s *Subject[B]) touch() {
	s.state.effect = true
	s.batch.touch(s)
}
