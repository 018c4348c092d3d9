package account

import (
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
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

// RefusedCharge is the error of a charge that was not counted: nothing changed, and the same charge is decided anew when it
// comes again. It carries the answer.
type RefusedCharge struct{ Answer *optionsv1.ChargeResponse }

func (r *RefusedCharge) Error() string { return "charge refused: " + r.Answer.GetRefusal() }

// worthOf is the amount of a charge that was accepted.
func worthOf(c *controlv1.ChargeCommand) spend.Amount {
	worth, err := spend.AmountOf(c.GetAmount().GetUnits(), c.GetAmount().GetNanos())
	if err != nil {
		panic("a charge of no amount was accepted: " + err.Error())
	}
	return worth
}

// command does what a command asks for. A refusal is that of a charge, which is not counted; an error is any other reason
// why nothing is done.
func (t *turn) command() (refusal string, err error) {
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
	return "", errUnknownCommand
}
