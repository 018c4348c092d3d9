package safeguard

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

func init() {
	event.RegisterControl(&controlv1.ChangeCommand{}, &controlv1.ChargeCommand{}, &controlv1.ReapplyCommand{})
}

// refusedCharge is the error of a charge that was not counted: nothing changed, and the same charge is judged anew when it
// comes again. It carries the answer.
type refusedCharge struct{ answer *optionsv1.ChargeResponse }

func (r *refusedCharge) Error() string { return "charge refused: " + r.answer.GetRefusal() }

// call judges one and answers it.
func (f *rules) call(s *fold.Subject[subscriber], t *turn) {
	value, err := f.judge(s, t)
	reply(s, t.event, value, err)
}

func reply(s *fold.Subject[subscriber], e *event.Event, value proto.Message, err error) {
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
func (f *rules) judge(s *fold.Subject[subscriber], t *turn) (proto.Message, error) {
	if s.Repeated {
		return decodeAnswer(t.event, s.Kept()), nil
	}
	refusal, err := t.call()
	if err != nil {
		return nil, err
	}
	st := standing{place: place{t.tenant, t.msisdn}, sub: t.sub, catalog: f.catalog, class: t.class(), now: s.Time}
	st.reading = fold.Reading[subscriber]{Exists: true, Sequence: s.LastSequence(), Time: s.Time}
	if refusal != "" {
		return nil, &refusedCharge{st.charged(refusal)}
	}
	f.conclude(s, t)
	st.sub, st.reading.Sequence = s.Body, s.LastSequence()
	return st.answer(t.event), nil
}

// answer is what a call that was accepted is answered with.
func (st *standing) answer(e *event.Event) proto.Message {
	switch data := e.Data.(type) {
	case *controlv1.ChargeCommand:
		return st.charged("")
	case *controlv1.ChangeCommand:
		switch optionOf(data.GetOption()) {
		case spend.Data:
			m := st.data()
			m.Name = ""
			return m
		case spend.Overspend:
			m := st.overspend()
			m.Name = ""
			return m
		case spend.Payment:
			m := st.payment()
			m.Name = ""
			return m
		}
	}
	return nil
}

// encodeAnswer is an answer as it is kept with its call.
func encodeAnswer(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("encode the answer to a call: " + err.Error()) // every field of it is UTF-8
	}
	return b
}

func decodeAnswer(e *event.Event, b []byte) proto.Message {
	var m proto.Message
	switch data := e.Data.(type) {
	case *controlv1.ChargeCommand:
		m = &optionsv1.ChargeResponse{}
	case *controlv1.ChangeCommand:
		switch optionOf(data.GetOption()) {
		case spend.Data:
			m = &optionsv1.DataSafeguard{}
		case spend.Overspend:
			m = &optionsv1.OverspendSafeguard{}
		case spend.Payment:
			m = &optionsv1.PaymentSafeguard{}
		}
	}
	if m == nil {
		panic("a call is repeated that is none") // it was accepted with the same content
	}
	if err := proto.Unmarshal(b, m); err != nil {
		panic("what is kept of a call is no answer: " + err.Error()) // we wrote it
	}
	return m
}

// call does what a call asks for. A refusal is a charge's, which was not counted; an error is any other reason why
// nothing may happen.
func (t *turn) call() (refusal string, err error) {
	if t.exists && t.sub.leaving != nil {
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
