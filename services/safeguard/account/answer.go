package account

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// answer is what a command that was accepted is answered with.
func (v *View) answer(e *event.Event) proto.Message {
	switch data := e.Data.(type) {
	case *controlv1.ChargeCommand:
		return v.charged("")
	case *controlv1.ChangeCommand:
		switch OptionOf(data.GetOption()) {
		case spend.Data:
			return v.DataSafeguard()
		case spend.Overspend:
			return v.OverspendSafeguard()
		case spend.Payment:
			return v.PaymentSafeguard()
		}
	}
	return nil
}

// Options shows those that the subscriber has. The names of the resources are their reader's to fill in.
func (v *View) Options() *optionsv1.ListOptionsResponse {
	m := &optionsv1.ListOptionsResponse{}
	if v.Subscriber.Options[spend.Data].Offered() {
		m.DataSafeguard = v.DataSafeguard()
	}
	if v.Subscriber.Options[spend.Overspend].Offered() {
		m.OverspendSafeguard = v.OverspendSafeguard()
	}
	if v.Subscriber.Options[spend.Payment].Offered() {
		m.PaymentSafeguard = v.PaymentSafeguard()
	}
	return m
}

// DataSafeguard shows one option. The name of the resource is its reader's to fill in.
func (v *View) DataSafeguard() *optionsv1.DataSafeguard {
	d := &v.Subscriber.Options[spend.Data]
	m := &optionsv1.DataSafeguard{
		State: StateOnWire(d.State), Limit: MoneyOf(d.Limit, d.Currency), Currency: d.Currency,
		EligibleStates: v.eligibleOnWire(spend.Data), RenewalDay: int32(d.RenewalDay),
		PeriodStart: timestamppb.New(d.Period.Start), PeriodEnd: timestamppb.New(d.Period.End),
		Sequence: v.Sequence, Revision: v.Subscriber.Revision, Staleness: durationpb.New(v.Staleness),
		LimitSource: optionsv1.Source_SOURCE_CLASS_OF_SERVICE, RenewalDaySource: sourceOf(d.OwnDay),
	}
	if d.State == spend.Active {
		m.Spent, m.Reached, m.Forecast = MoneyOf(d.Count.Spent, d.Currency), proto.Bool(d.Blocked), v.forecastOnWire(spend.Data)
	}
	return m
}

// OverspendSafeguard shows one option. The name of the resource is its reader's to fill in.
func (v *View) OverspendSafeguard() *optionsv1.OverspendSafeguard {
	d := &v.Subscriber.Options[spend.Overspend]
	m := &optionsv1.OverspendSafeguard{
		State: StateOnWire(d.State), Currency: d.Currency,
		Spent: MoneyOf(d.Count.Spent, d.Currency), Reached: proto.Bool(d.Blocked),
		EligibleStates: v.eligibleOnWire(spend.Overspend), AlertThresholds: thresholdsOnWire(d.thresholdsUnder(v.offer(spend.Overspend)), d),
		RenewalDay: int32(d.RenewalDay), PeriodStart: timestamppb.New(d.Period.Start), PeriodEnd: timestamppb.New(d.Period.End),
		Sequence: v.Sequence, Revision: v.Subscriber.Revision, Staleness: durationpb.New(v.Staleness),
		AlertThresholdsSource: sourceOf(len(d.Thresholds) > 0), RenewalDaySource: sourceOf(d.OwnDay),
	}
	if d.Limited {
		m.CurrentLimit, m.CurrentLimitSource = MoneyOf(d.Limit, d.Currency), sourceOf(d.OwnLimit)
	}
	m.NextLimit = MoneyWhere(d.HasNext, d.Next, d.Currency)
	if d.State == spend.Active {
		m.Forecast = v.forecastOnWire(spend.Overspend)
	}
	return m
}

// PaymentSafeguard shows one option. The name of the resource is its reader's to fill in.
func (v *View) PaymentSafeguard() *optionsv1.PaymentSafeguard {
	d := &v.Subscriber.Options[spend.Payment]
	m := &optionsv1.PaymentSafeguard{
		State: StateOnWire(d.State), Limit: MoneyOf(d.Limit, d.Currency), Currency: d.Currency,
		PerPaymentLimit: MoneyWhere(d.PerPayment != spend.Max, d.PerPayment, d.Currency),
		EligibleStates:  v.eligibleOnWire(spend.Payment), RenewalDay: int32(d.RenewalDay),
		PeriodStart: timestamppb.New(d.Period.Start), PeriodEnd: timestamppb.New(d.Period.End),
		Sequence: v.Sequence, Revision: v.Subscriber.Revision, Staleness: durationpb.New(v.Staleness),
		LimitSource: optionsv1.Source_SOURCE_CLASS_OF_SERVICE, RenewalDaySource: sourceOf(d.OwnDay),
	}
	if d.State == spend.Active {
		m.Spent, m.Reached, m.Forecast = MoneyOf(d.Count.Spent, d.Currency), proto.Bool(d.Blocked), v.forecastOnWire(spend.Payment)
	}
	return m
}

func (v *View) eligibleOnWire(o spend.Option) []eventv1.Safeguard_State {
	var states []eventv1.Safeguard_State
	for _, next := range v.eligible(o) {
		states = append(states, StateOnWire(next))
	}
	return states
}

func (v *View) forecastOnWire(o spend.Option) *timestamppb.Timestamp {
	at, ok := v.forecast(o)
	if !ok {
		return nil
	}
	return timestamppb.New(at)
}

// sourceOf is whose a value is.
func sourceOf(own bool) optionsv1.Source {
	if own {
		return optionsv1.Source_SOURCE_SUBSCRIBER
	}
	return optionsv1.Source_SOURCE_CLASS_OF_SERVICE
}

// charged shows where the payments of the period stand behind a charge. Where that is not known, on_unknown of the tenant
// decides: only the class of service could decide otherwise.
func (v *View) charged(refusal string) *optionsv1.ChargeResponse {
	m := &optionsv1.ChargeResponse{Allowed: refusal == "", Refusal: refusal, Sequence: v.Sequence}
	if refusal == ReasonUnknown {
		m.Allowed = v.catalog.Tenant(v.Tenant).UnknownAllows
		return m
	}
	d := &v.Subscriber.Options[spend.Payment]
	m.Spent, m.Limit = MoneyOf(d.Count.Spent, d.Currency), MoneyOf(d.Limit, d.Currency)
	m.PerPaymentLimit = MoneyWhere(d.PerPayment != spend.Max, d.PerPayment, d.Currency)
	m.PeriodEnd = timestamppb.New(d.Period.End)
	return m
}

// encodeAnswer is an answer as it is stored with its command.
func encodeAnswer(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("encode the answer to a command: " + err.Error()) // every field of it is UTF-8
	}
	return b
}

func decodeAnswer(e *event.Event, b []byte) proto.Message {
	var m proto.Message
	switch data := e.Data.(type) {
	case *controlv1.ChargeCommand:
		m = &optionsv1.ChargeResponse{}
	case *controlv1.ChangeCommand:
		switch OptionOf(data.GetOption()) {
		case spend.Data:
			m = &optionsv1.DataSafeguard{}
		case spend.Overspend:
			m = &optionsv1.OverspendSafeguard{}
		case spend.Payment:
			m = &optionsv1.PaymentSafeguard{}
		}
	}
	if m == nil {
		panic("what is repeated is no command with an answer") // it was accepted with the same content
	}
	if err := proto.Unmarshal(b, m); err != nil {
		panic("decode the answer to a command: " + err.Error()) // we wrote it
	}
	return m
}
