package account

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// keepsAnswers is the fold, and keeps what it answered.
func (p *partition) keepsAnswers(answers map[int64]proto.Message) fold.Fold[Subscriber, *Catalog] {
	return witness{NewRules("safeguards"), func(j foldtest.Decision) {
		m, _ := j.Value.(proto.Message)
		answers[j.Offset] = m // a batch may be worked more than once
	}}
}

// A call under its reference once more is answered as it was, with the figures of then, whatever became of the subscriber:
// another class without the option, the end, another number.
func TestCommand_RepeatedIsAnsweredAsBefore(t *testing.T) {
	for name, becomes := range map[string]func(p *partition){
		"spent on":                          func(p *partition) { p.pays("7"); p.overspends("8") },
		"of a class that does not offer it": func(p *partition) { p.reclasses("silver") },
		"of a class that is gone":           func(p *partition) { p.configures() },
		"terminated":                        func(p *partition) { p.terminates() },
		"gone to another number": func(p *partition) {
			p.publishes("subscriber.msisdn_changed", &eventv1.SubscriberMsisdnChanged{NewMsisdn: newNumber})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t)
			p.configures(full(), silver(func(c *configv1.ClassOfService) { c.OverspendSafeguard, c.PaymentSafeguard = nil, nil }))
			p.activates()
			day := int32(10)
			calls := []*event.Event{
				{ID: "c", Source: ChargeSource, Type: TypeCharge, Data: &controlv1.ChargeCommand{Amount: units("5")}},
				{ID: "o", Source: ChangeSource, Type: TypeChange, Data: &controlv1.ChangeCommand{Option: overspend, CurrentLimit: units("20"), State: turnedOn, RenewalDay: &day}},
			}
			answers := map[int64]proto.Message{}
			p.rules = p.keepsAnswers(answers)
			call := func() (from int64) {
				from = int64(len(p.Records))
				for _, e := range calls {
					again := *e
					again.Tenant, again.Subject, again.Time = "acme", msisdn, p.now
					p.append(&again)
				}
				p.works()
				return from
			}
			first := call()
			becomes(p)
			p.works()
			second := call()
			for i := range int64(len(calls)) {
				both := [2]proto.Message{answers[first+i], answers[second+i]}
				if both[0] == nil {
					t.Fatalf("answered %v", both)
				}
				if diff := cmp.Diff(both[0], both[1], protocmp.Transform()); diff != "" {
					t.Error(diff)
				}
				switch m := both[0].(type) {
				case *optionsv1.ChargeResponse:
					if !m.GetAllowed() || amount(m.GetSpent()) != "5" {
						t.Errorf("the charge: %v", m)
					}
				case *optionsv1.OverspendSafeguard: // its period ends on the day that was asked for
					if amount(m.GetCurrentLimit()) != "20" || !m.GetPeriodEnd().AsTime().Equal(moment("2026-03-10T00:00")) || m.GetCurrentLimitSource() != optionsv1.Source_SOURCE_SUBSCRIBER {
						t.Errorf("the change: %v", m)
					}
				}
			}
		})
	}
}
