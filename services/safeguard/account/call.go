package account

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// Types of commands, and their sources: source, tenant and the caller's reference are the identity of a command. The id of a
// charge is its transaction reference, and a refund names both.
const (
	TypeChange  = "command.change"
	TypeCharge  = "command.charge"
	TypeReapply = "command.reapply"

	ChangeSource  = "tollgate/change"
	ChargeSource  = "tollgate/charge"
	ReapplySource = "tollgate/reapply"
)

func init() {
	event.RegisterControl(&controlv1.ChangeCommand{}, &controlv1.ChargeCommand{}, &controlv1.ReapplyCommand{})
}

// refusedCharge is the error of a charge that was not counted: nothing changed, and the same charge is judged anew when it
// comes again. It carries the answer.
type RefusedCharge struct{ Answer *optionsv1.ChargeResponse }

func (r *RefusedCharge) Error() string { return "charge refused: " + r.Answer.GetRefusal() }

// call judges one and answers it.
func (f *Rules) call(s *fold.Subject[Subscriber], t *turn) {
	value, err := f.judge(s, t)
	reply(s, t.event, value, err)
}

func reply(s *fold.Subject[Subscriber], e *event.Event, value proto.Message, err error) {
	if err != nil {
		s.Refuse(err)
		return
	}
	switch data := e.Data.(type) {
	case *controlv1.ReapplyCommand:
		s.AcceptUnlisted(value) // or a few would push out the references of charges
	case *controlv1.ChargeCommand:
		s.AcceptWorth(value, encodeAnswer(value), int64(worthOf(data)))
	default:
		s.Accept(value, encodeAnswer(value))
	}
}

// worthOf is the amount of a charge that was accepted.
func worthOf(c *controlv1.ChargeCommand) spend.Amount {
	worth, err := spend.AmountOf(c.GetAmount().GetUnits(), c.GetAmount().GetNanos())
	if err != nil {
		panic("a charge of no amount was accepted: " + err.Error())
	}
	return worth
}

// judge decides what a call is answered with, as the API says it, but for the name of the option: the subscriber as the
// call leaves it. One that is repeated is answered with what it was answered before, whatever became of the subscriber.
func (f *Rules) judge(s *fold.Subject[Subscriber], t *turn) (proto.Message, error) {
	if s.Repeated {
		return decodeAnswer(t.event, s.Kept()), nil
	}
	refusal, err := t.call()
	if err != nil {
		return nil, err
	}
	v := View{
		Tenant: t.tenant, MSISDN: t.msisdn, Exists: true, Subscriber: t.sub, Sequence: s.LastSequence(), LogTime: s.Time, Now: s.Time,
		catalog: f.catalog, class: t.class(),
	}
	if refusal != "" {
		return nil, &RefusedCharge{v.charged(refusal)}
	}
	f.conclude(s, t)
	v.Subscriber, v.Sequence = s.Body, s.LastSequence()
	return v.answer(t.event), nil
}

// call does what a call asks for. A refusal is a charge's, which was not counted; an error is any other reason why
// nothing may happen.
func (t *turn) call() (refusal string, err error) {
	if t.exists && t.sub.transferOut != nil {
		return "", fault.New(fault.Conflict, refusedPending, "the subscriber is on its way to another number: call again")
	}
	switch data := t.event.Data.(type) {
	case *controlv1.ChangeCommand:
		return "", t.changeOption(data)
	case *controlv1.ChargeCommand:
		return t.charge(data)
	case *controlv1.ReapplyCommand:
		return "", t.reapply(data)
	}
	return "", errUnknownCall
}

// memory tells what is remembered of a number: the calls that were accepted of late, what was refunded, and whether the
// event in hand was sent on from it.
type memory interface {
	Counted(reference event.Identity) (worth int64, ok bool)
	CallsFrom() time.Time
	Remembers(reference event.Identity) bool
	SentOn() bool
}
