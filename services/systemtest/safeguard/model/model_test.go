package model_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// story sends a partition what happens to one number, at a clock that it moves.
type story struct {
	t         *testing.T
	partition *model.Partition
	now       time.Time
	n         int
}

func euros(units int64) *money.Money { return model.Money(units*model.Unit, "EUR") }

// class offers all three options: 50 EUR of roaming data, an overspend limit that the subscriber sets, 100 EUR of payments of
// 30 at most.
func class(edits ...func(*configv1.ClassOfService)) *configv1.ClassOfService {
	c := &configv1.ClassOfService{
		Name:               "tenants/acme/classesOfService/gold",
		DataSafeguard:      &configv1.DataSafeguardOption{Limit: euros(50), SecondNotice: euros(70), TimeZone: "Europe/Berlin"},
		OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "EUR"},
		PaymentSafeguard:   &configv1.PaymentSafeguardOption{Limit: euros(100), PerPaymentLimit: euros(30)},
	}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02T15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func (s *story) configured(classes ...*configv1.ClassOfService) {
	s.partition.Configure(s.now, &configv1.Snapshot{
		Tenants:          []*configv1.Tenant{{Name: "tenants/acme", Subscribers: &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(30 * time.Second)}}},
		ClassesOfService: classes,
	})
}

func (s *story) happens(kind string, data proto.Message, edits ...func(*event.Event)) *event.Event {
	s.n++
	e := &event.Event{ID: string(rune('a' + s.n)), Source: "crm", Type: kind, Tenant: "acme", Subject: "44", Time: s.now, Data: data}
	for _, edit := range edits {
		edit(e)
	}
	s.partition.Happen(s.now, e)
	return e
}

func (s *story) activated() {
	s.configured(class())
	s.happens("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold"})
	s.partition.Take()
}

func (s *story) uses(units int64, edits ...func(*event.Event)) *event.Event {
	return s.happens("usage.charged", &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: euros(units)}, edits...)
}

func (s *story) refunds(units int64, of string) {
	s.happens("usage.charged", &eventv1.UsageCharged{
		Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: euros(-units), Corrects: &eventv1.Correction{Id: "x", Time: timestamppb.New(at(of))},
	})
}

func (s *story) changes(c *controlv1.ChangeCommand) model.Answer {
	e := s.happens("command.change", c)
	answers := s.partition.Answers(e.ID)
	return answers[len(answers)-1]
}

func (s *story) charges(units int64) model.Answer {
	e := s.happens("command.charge", &controlv1.ChargeCommand{Amount: euros(units)}, func(e *event.Event) { e.Source = "tollgate/charge" })
	answers := s.partition.Answers(e.ID)
	return answers[len(answers)-1]
}

// outcomes are what was published, short: kind, option, and what matters of it.
func (s *story) outcomes() []string {
	all := []string{}
	for _, x := range s.partition.Take() {
		words := strings.Fields(x.String())[1:]
		keep := 5
		if x.Kind == "rejected" {
			keep = 2
		}
		if x.Second {
			words[0] = "notice"
		}
		all = append(all, strings.Join(words[:min(keep, len(words))], " "))
	}
	return all
}

func (s *story) refused(a model.Answer, code string) {
	s.t.Helper()
	if !slices.Contains(append(a.Codes, a.Refusals...), code) {
		s.t.Errorf("answered %+v, want %s", a, code)
	}
}

func TestModel_FollowsTheRules(t *testing.T) {
	for _, tc := range []struct {
		name  string
		story func(s *story)
		want  []string
	}{
		{"at activation data and payment are active, overspend is not", func(s *story) {
			s.configured(class())
			s.happens("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold"})
		}, []string{"activated data active 0/50 EUR", "activated payment active 0/100 EUR"}},
		{"exactly at the limit is reached", func(s *story) {
			s.activated()
			s.uses(40)
			s.uses(10)
		}, []string{"alert data active 40/50 EUR", "reached data active 50/50 EUR"}},
		{"the event that crosses is counted whole; the overshoot is reported", func(s *story) {
			s.activated()
			s.uses(55)
		}, []string{"alert data active 55/50 EUR", "reached data active 55/50 EUR", "overshoot data active 55/50 EUR"}},
		{"limit 0 blocks from the start", func(s *story) {
			s.configured(class(func(c *configv1.ClassOfService) { c.DataSafeguard.Limit = euros(0); c.PaymentSafeguard = nil }))
			s.happens("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold"})
		}, []string{"activated data active 0/0 EUR", "reached data active 0/0 EUR"}},
		{"refunds lower spent, not peak", func(s *story) {
			s.activated()
			s.uses(50)
			s.refunds(20, "2026-03-10T09:00")
			s.uses(20)
		}, []string{"alert data active 50/50 EUR", "reached data active 50/50 EUR", "released data active 30/50 EUR", "reached data active 50/50 EUR"}},
		{"a refund of an earlier period gives no room back", func(s *story) {
			s.activated()
			s.now = at("2026-04-01T10:00")
			s.uses(50)
			s.partition.Take()
			s.refunds(20, "2026-03-10T09:00")
			s.partition.Pass(at("2026-04-01T11:00"))
		}, []string{"late data active 50/50 EUR"}},
		{"once per identity", func(s *story) {
			s.activated()
			e := s.uses(30)
			s.partition.Happen(s.now, e)
			other := *e
			other.Data = &eventv1.UsageCharged{Net: euros(1)}
			s.partition.Happen(s.now, &other)
			s.uses(9)
		}, []string{"rejected ID_REUSED"}},
		{"checked against all before any changes", func(s *story) {
			s.activated()
			s.happens("usage.charged", &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, OutOfBundle: true, Net: model.Money(50*model.Unit, "CHF")})
			s.happens("usage.charged", &eventv1.UsageCharged{ThirdParty: true, Roaming: true, Category: eventv1.UsageCharged_CATEGORY_DATA, Gross: euros(50)})
			s.uses(39)
		}, []string{"rejected CURRENCY_MISMATCH", "rejected AMOUNT_MISSING"}},
		{"the second notice is published once a period, in every state", func(s *story) {
			s.activated()
			s.changes(&controlv1.ChangeCommand{Option: model.Data, State: model.Permanently})
			s.uses(69)
			s.uses(1)
			s.uses(100)
		}, []string{"opted_out data permanently_inactive 0/50 EUR", "notice data permanently_inactive 70/50 EUR"}},
		{"re-activation continues from the true figure and publishes nothing of what is below", func(s *story) {
			s.activated()
			s.changes(&controlv1.ChangeCommand{Option: model.Data, State: model.Temporarily})
			s.uses(45)
			s.changes(&controlv1.ChangeCommand{Option: model.Data, State: model.Active})
			s.uses(5)
		}, []string{"opted_out data temporarily_inactive 0/50 EUR", "activated data active 45/50 EUR", "reached data active 50/50 EUR"}},
		{"temporarily inactive becomes active by itself when the next period starts, at 00:00 local time", func(s *story) {
			s.activated()
			s.changes(&controlv1.ChangeCommand{Option: model.Data, State: model.Temporarily})
			s.partition.Pass(at("2026-03-31T21:59"))
			s.partition.Take()
			s.partition.Pass(at("2026-03-31T22:00"))
		}, []string{"renewed data active 0/50 EUR", "activated data active 0/50 EUR"}},
		{"overspend needs a limit to activate; 0 is allowed, and blocks", func(s *story) {
			s.activated()
			s.refused(s.changes(&controlv1.ChangeCommand{Option: model.Overspend, State: model.Active}), "LIMIT_REQUIRED")
			s.changes(&controlv1.ChangeCommand{Option: model.Overspend, State: model.Active, CurrentLimit: euros(0)})
		}, []string{"limit_changed overspend active 0/0 EUR", "activated overspend active 0/0 EUR", "reached overspend active 0/0 EUR"}},
		{"at renewal the next limit becomes the current one", func(s *story) {
			s.activated()
			s.changes(&controlv1.ChangeCommand{Option: model.Overspend, State: model.Active, CurrentLimit: euros(10), NextLimit: euros(0)})
			s.partition.Take()
			s.partition.Pass(at("2026-04-01T00:00"))
		}, []string{
			"renewed data active 0/50 EUR", "limit_changed overspend active 0/0 EUR", "renewed overspend active 0/0 EUR", "reached overspend active 0/0 EUR",
			"renewed payment active 0/100 EUR",
		}},
		{"the renewal day changes once a period, and the running one ends at its next occurrence", func(s *story) {
			s.activated()
			day := int32(20)
			s.changes(&controlv1.ChangeCommand{Option: model.Payment, RenewalDay: &day})
			day2 := int32(21)
			s.refused(s.changes(&controlv1.ChangeCommand{Option: model.Payment, RenewalDay: &day2}), "RENEWAL_DAY_CHANGED")
			s.partition.Pass(at("2026-03-20T00:00"))
		}, []string{"renewal_day_changed payment active 0/100 EUR", "renewed payment active 0/100 EUR"}},
		{"any other edge is refused, and nothing of the call happens", func(s *story) {
			s.activated()
			day := int32(20)
			s.refused(s.changes(&controlv1.ChangeCommand{Option: model.Payment, State: model.Permanently, RenewalDay: &day}), "STATE_NOT_ELIGIBLE")
		}, []string{}},
		{"a charge is allowed up to the cap and the month's limit, exactly", func(s *story) {
			s.activated()
			s.refused(s.charges(31), "CARRIER_BILLING.UNAUTHORIZED_AMOUNT")
			for range 3 {
				s.charges(30)
			}
			s.refused(s.charges(11), "CARRIER_BILLING.USER_AMOUNT_THRESHOLD_OVERPASSED")
			s.charges(10)
			s.refused(s.charges(1), "CARRIER_BILLING.USER_AMOUNT_THRESHOLD_OVERPASSED")
		}, []string{"alert payment active 90/100 EUR", "reached payment active 100/100 EUR"}},
		{"a lower limit in the catalog is reached at the next event", func(s *story) {
			s.activated()
			s.uses(30)
			s.configured(class(func(c *configv1.ClassOfService) { c.DataSafeguard.Limit = euros(20) }))
			s.happens("usage.charged", &eventv1.UsageCharged{Net: euros(1)})
		}, []string{"limit_changed data active 30/20 EUR", "reached data active 30/20 EUR"}},
		{"an option that another class does not offer is not blocked; spend stays for when it is offered again", func(s *story) {
			s.activated()
			bare := class(func(c *configv1.ClassOfService) { c.DataSafeguard = nil })
			bare.Name = "tenants/acme/classesOfService/bare"
			s.configured(class(), bare)
			s.uses(50)
			s.partition.Take()
			s.happens("subscriber.cos_changed", &eventv1.SubscriberClassOfServiceChanged{ClassOfService: "bare"})
			s.happens("subscriber.cos_changed", &eventv1.SubscriberClassOfServiceChanged{ClassOfService: "gold"})
		}, []string{"released data active 50/50 EUR", "deactivated data active 50/50 EUR", "activated data active 50/50 EUR", "reached data active 50/50 EUR"}},
		{"an inactive overspend safeguard blocks where the class has it so", func(s *story) {
			s.configured(class(func(c *configv1.ClassOfService) {
				c.DataSafeguard, c.PaymentSafeguard = nil, nil
				c.OverspendSafeguard.InactivePolicy = configv1.InactivePolicy_INACTIVE_POLICY_BLOCK
			}))
			s.happens("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold"})
		}, []string{"reached overspend inactive 0/- EUR"}},
		{"usage of an unknown number waits for its activation, in order", func(s *story) {
			s.configured(class())
			before := s.now
			s.uses(30)
			s.uses(20)
			s.now = s.now.Add(29 * time.Second)
			s.happens("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold"}, func(e *event.Event) { e.Time = before })
		}, []string{"activated data active 0/50 EUR", "activated payment active 0/100 EUR", "alert data active 50/50 EUR", "reached data active 50/50 EUR"}},
		{"else the timer rejects it", func(s *story) {
			s.configured(class())
			s.uses(30)
			s.partition.Pass(s.now.Add(30 * time.Second))
		}, []string{"rejected SUBSCRIBER_UNKNOWN"}},
		{"a termination publishes released", func(s *story) {
			s.activated()
			s.uses(50)
			s.partition.Take()
			s.happens("subscriber.terminated", &eventv1.SubscriberTerminated{})
		}, []string{"released data active 50/50 EUR", "deactivated data active 50/50 EUR", "deactivated payment active 0/100 EUR"}},
		{"a recycled number never pays for its previousNumbers owner", func(s *story) {
			s.activated()
			s.happens("subscriber.terminated", &eventv1.SubscriberTerminated{})
			s.now = s.now.Add(time.Hour)
			s.happens("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold"})
			s.partition.Take()
			s.uses(60, func(e *event.Event) { e.Time = s.now.Add(-time.Minute) })
		}, []string{"rejected BEFORE_ACTIVATION"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &story{t: t, partition: model.New(), now: at("2026-03-10T09:00")}
			tc.story(s)
			if got := s.outcomes(); !slices.Equal(got, tc.want) {
				t.Errorf("published\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

func TestTable_FollowsTheSequenceAlone(t *testing.T) {
	table := model.Table{}
	apply := func(kind string, sequence, previous int64) {
		table.Apply("44", kind, &eventv1.Safeguard{Option: model.Payment, Sequence: sequence, PreviousSequence: previous})
	}
	apply("reached", 5, 0)
	apply("released", 7, 5)
	apply("reached", 5, 0) // a replay
	if e := table["44"]; e.Blocked[model.Payment-1] || e.Missed != 0 {
		t.Errorf("after a replay %+v", *e)
	}
	apply("reached", 9, 8)
	if e := table["44"]; !e.Blocked[model.Payment-1] || e.Missed != 1 {
		t.Errorf("after a gap %+v", *e)
	}
}

// Between what is rejected under another number and what is rejected under the number itself there is no order, but each event's
// rejections have theirs, and none is missing.
func TestCompare_RejectedElsewhereHasNoOrderWithOthers(t *testing.T) {
	rejected := func(cause, reason string, elsewhere bool) model.Outcome {
		return model.Outcome{Subject: "44", Kind: "rejected", Cause: cause, Reasons: []string{reason}, Elsewhere: elsewhere}
	}
	a, b, c := rejected("a", "SUBSCRIBER_UNKNOWN", true), rejected("b", "SUBSCRIBER_UNKNOWN", false), rejected("c", "AMOUNT_MISSING", false)
	if wrong := model.Compare([]model.Outcome{b, a, c, a}, []model.Outcome{a, b, a, c}); len(wrong) > 0 {
		t.Errorf("another order beside what was rejected elsewhere: %v", wrong)
	}
	if len(model.Compare([]model.Outcome{b, a, c}, []model.Outcome{a, c, b})) == 0 {
		t.Error("another order of what was rejected under the number itself is not seen")
	}
	if len(model.Compare([]model.Outcome{b, a, c, a}, []model.Outcome{a, b, c})) == 0 {
		t.Error("a rejection elsewhere that is missing is not seen")
	}
}
