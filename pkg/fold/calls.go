package fold

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold/internal/pending"
	"github.com/tollgate/tollgate/pkg/fold/internal/poison"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/reason"
)

// A call is a command.* record of the log. Its owner decides it where it stands there and answers after the commit that
// holds the decision, so that who has lost the partition, whether or not it knows, never answers.

// referenceOf is what a call is known by, also under another number of its subscriber.
func referenceOf(e *event.Event) Identity { return event.Reference(e.Tenant, e.Source, e.ID) }

// Accept reports that a command is counted, and what its caller receives once that is committed. A caller that has the answer
// may read it at any later time, so nothing in it is changed afterwards. kept, some hundred bytes that follow from the
// log alone, is stored with the call: a Repeated one changes nothing and is accepted again with what Kept returns.
func (s *Subject[B]) Accept(answer any, kept []byte) { s.accept(answer, kept) }

func (s *Subject[B]) accept(answer any, kept []byte) *asking {
	a := s.asked("accepted")
	if a != nil {
		a.accepted, a.answer, a.kept = true, answer, kept
	}
	return a
}

// AcceptWorth is Accept of a command that can be taken back in part: what it is worth, not below 0, stands with it in
// the list, see Counted.
func (s *Subject[B]) AcceptWorth(answer any, kept []byte, worth int64) {
	if a := s.accept(answer, kept); a != nil {
		a.worth = uint64(worth)
	}
}

// Kept is what was stored with a Repeated command when it was accepted. It may be read only.
func (s *Subject[B]) Kept() []byte { return s.kept }

// AcceptUnlisted is Accept of a command that does no harm when it is worked again, and that takes no place in the list
// from one that would.
func (s *Subject[B]) AcceptUnlisted(answer any) {
	if a := s.accept(answer, nil); a != nil {
		a.unlisted = true
	}
}

// Refuse reports that a command does nothing, and why; its caller is answered after the next commit. Nothing may have been
// changed. Nothing is remembered: the same call is decided anew when it comes again.
func (s *Subject[B]) Refuse(err error) {
	if err == nil {
		s.batch.misused("a call was refused without a reason")
		return
	}
	if a := s.asked("refused"); a != nil {
		a.err = err
	}
}

// Counted reports whether an accepted call of that event.Reference stands in the list, and what it is worth. Where it does
// not, see CallsFrom.
func (s *Subject[B]) Counted(reference Identity) (worth int64, ok bool) {
	made, ok := s.header.Calls.Find(record.CallID(reference), s.Time.UnixMilli())
	return int64(made.Worth), ok
}

// CallsFrom is how far back the list reaches: every call accepted after this log time is in it.
func (s *Subject[B]) CallsFrom() time.Time {
	from := s.Time.UnixMilli() - record.CallsWindow
	if c := s.header.Calls; len(c) == record.CallsInRecord {
		from = max(from, c[0].At) // older ones may have been evicted out
	}
	return time.UnixMilli(from).UTC()
}

// asking is the decision on the command being applied, in the making.
type asking struct {
	accepted bool
	unlisted bool
	worth    uint64
	answer   any
	kept     []byte
	err      error
}

// asked is nil where the fold may not answer.
func (s *Subject[B]) asked(what string) *asking {
	a := s.batch.asking
	switch {
	case a == nil:
		s.batch.misused("only a command can be %s", what)
		return nil
	case a.accepted || a.err != nil:
		s.batch.misused("a call was answered twice")
		return nil
	}
	return a
}

// command applies one call.
func (b *batch[B]) command(en *entry[B]) error {
	r := &en.record
	identity := en.identity
	key := pending.Key{Number: pending.Number(r), ID: record.CallID(referenceOf(en.event)), Content: en.event.Content()}
	if key.Number != 0 {
		if key.Number <= b.to.Called {
			b.counts.Superseded++
			b.conclude(pending.Decision{Call: key, Result: pending.Moved, Err: pending.UnknownOutcome(ErrMoved)})
			return nil
		}
		b.to.Called = key.Number
	}
	s := &b.none
	if en.key != "" {
		var err error
		if s, err = b.open(en.held); err != nil {
			return err
		}
		if r.Offset <= s.header.Applied {
			return nil // before a snapshot's record: its caller asked an earlier owner
		}
		if err := b.due(s, b.to.LogTime); err != nil {
			return err
		}
		b.now = poison.Place{Offset: r.Offset}
	}
	if why, ok := b.earlier.At(b.now); ok {
		b.reject(r, identity, reason.Panic, why, b.logTime())
		b.conclude(pending.Decision{Call: key, Result: pending.Panic, Err: fault.New(fault.Internal, reason.Panic, "the call made its owner panic: %s", why)})
		return nil
	}
	if en.key == "" {
		b.conclude(pending.Decision{Call: key, Result: pending.Failed, Err: fmt.Errorf("no record is kept for calls of type %s", en.event.Type)})
		return nil
	}
	b.place(s, en, identity)
	made, repeated := s.header.Calls.Find(key.ID, b.to.LogTime)
	if repeated && made.Content != key.Content {
		b.conclude(pending.Decision{Call: key, Result: pending.Reused, Err: fault.New(fault.AlreadyExists, reason.IDReused, "another call with this reference was accepted before: give each call a reference of its own")})
		return nil
	}
	s.Repeated, s.kept = repeated, made.Answer
	b.asking = new(asking)
	emitted := b.emitted
	err := b.watched(s, en.event, "", func() {
		b.apply(s, en.event)
		if why := b.asking.violation(s.Repeated, s.Exists, s.state.effect || b.emitted != emitted); why != "" {
			b.misused("%s", why)
		}
	})
	s.Repeated, s.kept = false, nil
	a := b.asking
	b.asking = nil
	if err != nil {
		return err
	}
	if a.err != nil {
		b.conclude(pending.Decision{Call: key, Result: pending.Refused, Err: a.err})
		return nil //nolint:nilerr // the decision has it
	}
	result := pending.Repeated
	if !repeated {
		result = pending.Accepted
		if !a.unlisted {
			s.header.Calls.Add(record.AcceptedCall{ID: key.ID, Content: key.Content, At: b.to.LogTime, Worth: a.worth, Answer: bytes.Clone(a.kept)})
		}
		s.touch()
		s.header.Applied = r.Offset
	}
	b.conclude(pending.Decision{Call: key, Result: result, Answer: Answer{
		Value: a.answer, Sequence: s.header.Sequence(), Time: s.Time, Revision: s.Revision, Repeated: repeated,
	}})
	return nil
}

// violation is what is wrong with the fold's answer to a call, "" where nothing is: such a call changes nothing.
func (a *asking) violation(repeated, exists, changed bool) string {
	switch {
	case !a.accepted && a.err == nil:
		return "a call was neither accepted nor refused"
	case a.err != nil && changed:
		return "a call was refused after a change"
	case a.accepted && !exists:
		return "an accepted call has no record to stand in"
	case repeated && changed:
		return "a repeated call made a change"
	case repeated && a.err != nil:
		return "a call was refused that had been accepted"
	}
	return ""
}

// conclude keeps a decision for after the commit.
func (b *batch[B]) conclude(v pending.Decision) {
	if v.Call.Number != 0 {
		b.decisions = append(b.decisions, v)
	}
}

// isCall reports whether a record is a call that this fold decides.
func (b *batch[B]) isCall(en *entry[B]) bool {
	return b.calls && en.err == nil && event.IsCommand(en.event.Type)
}
