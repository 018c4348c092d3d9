package safeguard

import (
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/state"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Callable says that calls are judged here.
func (f *fold) Callable() {}

var _ state.Callable = (*fold)(nil)

// answer is what a call is answered with: the subscriber as the call leaves it. Of a call that is repeated it is what the
// record says by now, which may be a mark.
type answer struct {
	sub subscriber
	// class by which the subscriber was judged; nil where it is gone.
	class *class
	// refusal says why a charge was not counted; empty of one that was, and of a change.
	refusal string
	// sequence of the last event said about the subscriber.
	sequence int64
}

// refusedCharge is the error of a charge that would pass a limit: nothing was counted, and the same charge is judged
// anew when it comes again. It carries the answer.
type refusedCharge struct{ answer answer }

func (r *refusedCharge) Error() string { return "charge refused: " + r.answer.refusal }

// call judges one and answers it.
func (f *fold) call(s *state.Subject[subscriber], t *turn) {
	value, err := f.judge(s, t)
	reply(s, t.event, value, err)
}

func reply(s *state.Subject[subscriber], e *event.Event, value answer, err error) {
	_, reapply := e.Data.(*eventv1.CommandReapply)
	switch {
	case err != nil:
		s.Refuse(err)
	case reapply:
		s.AcceptUnlisted(value) // or a few would push out the references of charges
	default:
		s.Accept(value)
	}
}

func (f *fold) judge(s *state.Subject[subscriber], t *turn) (answer, error) {
	if s.Repeated { // it was counted; nothing is judged anew
		return f.answer(s, &s.Body, ""), nil
	}
	// A reference is the caller's for its calls, and may be that of several subscribers' at once: what follows bears ids of
	// this one's.
	t.identity = event.Derive(s.Identity, "subscriber", t.msisdn)
	switch refusal, err := t.call(); {
	case err != nil:
		return answer{}, err
	case refusal != "":
		return answer{}, &refusedCharge{f.answer(s, &t.sub, refusal)}
	}
	f.conclude(s, t)
	return f.answer(s, &s.Body, ""), nil
}

// call does what a call asks for. A refusal is a charge's, which would pass a limit; an error is any other reason why
// nothing may happen.
func (t *turn) call() (refusal string, err error) {
	switch data := t.event.Data.(type) {
	case *eventv1.CommandChange:
		return "", t.changeOption(data)
	case *eventv1.CommandCharge:
		return t.charge(data)
	case *eventv1.CommandReapply:
		return "", t.reapply(data)
	}
	return "", errUnknownCall
}

func (f *fold) answer(s *state.Subject[subscriber], sub *subscriber, refusal string) answer {
	return answer{sub: *sub, class: f.catalog.class(tenantOf(s.Key), sub.class), refusal: refusal, sequence: s.LastSequence()}
}

// memory tells what is remembered of a number: the calls that were accepted of late, and whether the event in hand was
// sent on from it.
type memory interface {
	Counted(id event.Identity) bool
	CallsFrom() time.Time
	SentOn() bool
}
