package fold

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/stream"
)

// A call is a command.* record of the log. Its owner judges it where it stands there and answers after the commit that
// holds the verdict, so that who has lost the partition, whether or not it knows, never answers.

// referenceOf is what a call is known by, also under another number of its subscriber.
func referenceOf(e *event.Event) Identity { return event.Reference(e.Tenant, e.Source, e.ID) }

// Accept says that a command is counted, and what its caller is told once that is committed. Whoever holds the answer
// may read it at any later time, so nothing in it is changed afterwards. kept, some hundred bytes that follow from the
// log alone, is stored with the call: a Repeated one changes nothing and is accepted again with what Kept says.
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

// Refuse says that a command does nothing, and why; its caller is told after the next commit. Nothing may have been
// changed. Nothing is remembered: the same call is judged anew when it comes again.
func (s *Subject[B]) Refuse(err error) {
	if err == nil {
		s.batch.misused("a call was refused without a reason")
		return
	}
	if a := s.asked("refused"); a != nil {
		a.err = err
	}
}

// Counted says whether an accepted call of that event.Reference stands in the list, and what it is worth. Where it does
// not, see CallsFrom.
func (s *Subject[B]) Counted(reference Identity) (worth int64, ok bool) {
	made, ok := s.header.Calls.Find(record.CallID(reference), s.Time.UnixMilli())
	return int64(made.Worth), ok
}

// CallsFrom says how far back the list reaches: every call accepted after this log time stands in it.
func (s *Subject[B]) CallsFrom() time.Time {
	from := s.Time.UnixMilli() - record.CallsWindow
	if c := s.header.Calls; len(c) == record.CallsInRecord {
		from = max(from, c[0].At) // older ones may have been evicted out
	}
	return time.UnixMilli(from).UTC()
}

// asking is the verdict on the command being applied, in the making.
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

// verdict is what a caller is told once the batch is committed.
type verdict struct {
	call   callKey
	result callResult
	answer Answer
	err    error
}

// callKey names one try of a call. The number alone would do, but for owners whose clocks agree to the microsecond.
type callKey struct {
	number      uint64
	id, content uint64
}

// callNumberHeader is the header of a call's number: one that is above any that its owner has drawn or met before. A
// number not above the last one applied is void: its record is a copy that a produce without an answer has left, or the
// late one of an earlier owner, and its caller was told a verdict or that it is not known. Without the number a call
// that was refused could be counted by its own copy. Last is the watermark's Called, a fold over the log as all else.
const callNumberHeader = "tollgate-call"

// CallNumber is the number of a call's record, 0 where it has none: such a record was appended by hand.
func CallNumber(r *stream.Record) uint64 {
	v, _ := r.Header(callNumberHeader)
	n, err := strconv.ParseUint(string(v), 10, 64)
	if err != nil {
		return 0 // appended by hand: nobody waits for it
	}
	return n
}

// command applies one call.
func (b *batch[B]) command(en *entry[B]) error {
	r := &en.record
	identity := en.identity
	key := callKey{number: CallNumber(r), id: record.CallID(referenceOf(en.event)), content: en.event.Content()}
	if key.number != 0 {
		if key.number <= b.to.Called {
			b.counts.voidCalls++
			b.conclude(verdict{call: key, result: callMoved, err: unknownOutcome(ErrMoved)})
			return nil
		}
		b.to.Called = key.number
	}
	s := &b.none
	if en.key != "" {
		var err error
		if s, err = b.open(en.held); err != nil {
			return err
		}
		if r.Offset <= s.header.Applied {
			return nil // before a snapshot's record: whoever called asked an earlier owner
		}
		if err := b.due(s, b.to.LogTime); err != nil {
			return err
		}
		b.now = poisoned{offset: r.Offset}
	}
	if why, ok := b.marks.poison[b.now]; ok {
		b.reject(r, identity, "PANIC", why, b.logTime())
		b.conclude(verdict{call: key, result: callPanic, err: fault.New(fault.Internal, "PANIC", "the call made its owner panic: %s", why)})
		return nil
	}
	if en.key == "" {
		b.conclude(verdict{call: key, result: callFailed, err: fmt.Errorf("no record is kept for calls of type %s", en.event.Type)})
		return nil
	}
	b.place(s, en, identity)
	made, repeated := s.header.Calls.Find(key.id, b.to.LogTime)
	if repeated && made.Content != key.content {
		b.conclude(verdict{call: key, result: callReused, err: fault.New(fault.AlreadyExists, "ID_REUSED", "another call with this reference was accepted before: give each call a reference of its own")})
		return nil
	}
	s.Repeated, s.kept = repeated, made.Answer
	b.asking = new(asking)
	told := b.told
	err := b.watched(s, en.event, "", func() {
		b.apply(s, en.event)
		if why := b.asking.violation(s.Repeated, s.Exists, s.state.effect || b.told != told); why != "" {
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
		b.conclude(verdict{call: key, result: callRefused, err: a.err})
		return nil //nolint:nilerr // told by the verdict
	}
	result := callRepeated
	if !repeated {
		result = callAccepted
		if !a.unlisted {
			s.header.Calls.Add(record.AcceptedCall{ID: key.id, Content: key.content, At: b.to.LogTime, Worth: a.worth, Answer: bytes.Clone(a.kept)})
		}
		s.touch()
		s.header.Applied = r.Offset
	}
	b.conclude(verdict{call: key, result: result, answer: Answer{
		Value: a.answer, Sequence: s.header.Sequence(), Time: s.Time, Revision: s.Revision, Repeated: repeated,
	}})
	return nil
}

// violation says what is wrong with the fold's answer to a call, "" where nothing is: such a call changes nothing.
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

// conclude keeps a verdict for after the commit.
func (b *batch[B]) conclude(v verdict) {
	if v.call.number != 0 {
		b.verdicts = append(b.verdicts, v)
	}
}

// isCall says whether a record is a call that this fold judges.
func (b *batch[B]) isCall(en *entry[B]) bool {
	return b.calls && en.err == nil && event.IsCommand(en.event.Type)
}
