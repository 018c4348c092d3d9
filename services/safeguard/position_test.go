package safeguard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"

	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// A producer reads right behind the receipt for its activation: the answer is from a state in which that was worked.
func TestAReadWaitsForAnEvent(t *testing.T) {
	known := begun(t, everything())
	known.Offset = 17
	for _, test := range []struct {
		name   string
		after  *optionsv1.Position
		engine engineSays
		want   string
	}{
		{"that was worked", &optionsv1.Position{Partition: 3, Offset: 16}, engineSays{reading: known, end: 20}, ""},
		{"that is not worked in time", &optionsv1.Position{Partition: 3, Offset: 17}, engineSays{reading: known, end: 20}, reasonNotReached},
		{"behind the log's end", &optionsv1.Position{Partition: 3, Offset: 20}, engineSays{reading: known, end: 20}, reasonPosition},
		{"of another partition", &optionsv1.Position{Partition: 2, Offset: 16}, engineSays{reading: known, end: 20}, reasonPosition},
		{"at no place", &optionsv1.Position{Partition: -1, Offset: -1}, engineSays{reading: known, end: 20}, reasonPosition},
		{"in a partition that is rebuilt", &optionsv1.Position{Partition: 3, Offset: 16}, engineSays{readErr: fold.ErrUnknown, storedErr: fold.ErrUnknown}, reasonRebuilding},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := reachable(t, &test.engine, "2026-03-12T10:00", everything())
			s.timeout = 100 * time.Millisecond
			_, err := (&inventory{subscribers: s}).ListOptions(t.Context(), &optionsv1.ListOptionsRequest{Parent: wholeName, MinPosition: test.after})
			if fault.ReasonOf(err) != test.want || err != nil && test.want == "" {
				t.Errorf("list: %v", err)
			}
			_, err = (&inventory{subscribers: s}).GetDataSafeguard(t.Context(), &optionsv1.GetDataSafeguardRequest{Name: wholeName + "/options/dataSafeguard", MinPosition: test.after})
			if fault.ReasonOf(err) != test.want || err != nil && test.want == "" {
				t.Errorf("get: %v", err)
			}
		})
	}
}

// worksLater has worked an event after a while.
type worksLater struct {
	engineSays
	from  time.Time
	after time.Duration
}

func (s *worksLater) Read(ctx context.Context, key string) (fold.Reading[subscriber], error) {
	if time.Since(s.from) < s.after {
		return fold.Reading[subscriber]{Offset: 7}, nil
	}
	return s.engineSays.Read(ctx, key)
}

func TestAReadAnswersAsSoonAsTheEventIsWorked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := begun(t, everything())
		known.Offset = 8
		s := reachable(t, &engineSays{}, "2026-03-12T10:00", everything())
		began := time.Now()
		s.records = &worksLater{engineSays{reading: known, end: 8}, began, time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		got, err := (&inventory{subscribers: s}).ListOptions(ctx, &optionsv1.ListOptionsRequest{Parent: wholeName, MinPosition: &optionsv1.Position{Partition: 3, Offset: 7}})
		if took := time.Since(began); err != nil || got.GetDataSafeguard() == nil || took < time.Second || took > time.Second+positionPause {
			t.Errorf("%v, %v, after %s", got, err, took)
		}
	})
}

func TestAClassOfServiceHasNoPosition(t *testing.T) {
	s := reachable(t, &engineSays{}, "2026-03-12T10:00", everything())
	_, err := (&catalogService{catalogs: s.catalogs}).ListOptions(t.Context(), &optionsv1.ListOptionsRequest{
		Parent: "tenants/acme/classesOfService/gold", MinPosition: &optionsv1.Position{},
	})
	if fault.ReasonOf(err) != reasonRequest {
		t.Errorf("%v", err)
	}
}

// After a change of the catalog the inventory once showed the old limit with the new thresholds, and options that were
// withdrawn; Authorize by usage denied what it allowed by option.
func TestAReadIsOneJudgementByTheClassAsItIs(t *testing.T) {
	was := everything(defaultLimit("20"))
	r := begun(t, was, inState(spend.Overspend, spend.Active))
	now := everything(defaultLimit("10"))
	now.PaymentSafeguard = nil
	now.OverspendSafeguard.AlertThresholds = nil
	now.DataSafeguard.Limit = units("25")
	spent(spend.Data, "30")(&r.Body)
	s := reachable(t, &engineSays{reading: r}, "2026-03-12T10:00", now)
	got, err := list(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if d := got.GetDataSafeguard(); amount(d.GetLimit()) != "25" || !d.GetReached() || d.GetRevision() != 3 {
		t.Errorf("data: %v", d)
	}
	if o := got.GetOverspendSafeguard(); amount(o.GetCurrentLimit()) != "10" || amount(o.GetAlertThresholds()[0].GetAmount()) != "8" {
		t.Errorf("overspend: %v", o)
	}
	if got.GetPaymentSafeguard() != nil {
		t.Errorf("payment, which is not offered any more: %v", got.GetPaymentSafeguard())
	}
	for _, req := range []*optionsv1.AuthorizeRequest{ofUsage(roamingData()), ofOption(spend.Data)} {
		a, err := (&enforcement{subscribers: s}).Authorize(t.Context(), req)
		if err != nil || verdictLine(a) != "deny LIMIT_REACHED data until 2026-04-01T00:00:00" {
			t.Errorf("%v: %v, %v", req, a, err)
		}
	}
}

// Nobody knows where a subscriber stands whose class is missing, or a number that is not activated yet: once Authorize went
// by the last figure, while 113 EUR were spent of 10.
func TestWhatCannotBeCountedIsDecidedByTheTenant(t *testing.T) {
	elsewhere := everything(func(c *configv1.ClassOfService) { c.Name = "tenants/acme/classesOfService/silver" })
	pending := func(sub subscriber) *engineSays {
		return &engineSays{reading: fold.Reading[subscriber]{Exists: true, Body: sub, Revision: state.Revision{Number: 3}}}
	}
	for name, engine := range map[string]*engineSays{
		"a class that is gone":                     {reading: begun(t, everything(), spent(spend.Data, "8.5"))},
		"a number that usage waits for":            pending(subscriber{life: awaited}),
		"a terminated number that usage waits for": pending(subscriber{life: terminated, parked: []parked{{}}}),
	} {
		for _, allows := range []bool{false, true} {
			s := reachable(t, engine, "2026-03-12T10:00", elsewhere)
			c := s.catalogs.latest()
			tenant := *c.tenants["acme"]
			tenant.UnknownAllows = allows
			c.tenants["acme"] = &tenant
			for _, req := range []*optionsv1.AuthorizeRequest{ofUsage(roamingData()), ofUsage(&eventv1.UsageCharged{}), ofOption(spend.Data)} {
				want := optionsv1.AuthorizeResponse_VERDICT_DENY
				if allows {
					want = optionsv1.AuthorizeResponse_VERDICT_ALLOW
				}
				a, err := (&enforcement{subscribers: s}).Authorize(t.Context(), req)
				if err != nil || a.GetVerdict() != want || a.GetReason() != becauseUnknown {
					t.Errorf("%s, allows %t: %v, %v", name, allows, a, err)
				}
			}
		}
	}
}

func TestAChargeThatCannotBeCountedIsDecidedByTheTenant(t *testing.T) {
	for _, allows := range []bool{false, true} {
		p := newPartition(t)
		if allows {
			p.tenant.OnUnknown = configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW
		}
		waits(p)
		p.activates()
		p.configures()
		p.works()
		charge := &event.Event{ID: "r", Source: ChargeSource, Type: typeCharge, Tenant: "acme", Subject: msisdn, Time: p.now, Data: &controlv1.ChargeCommand{Amount: units("5")}}
		first := int64(len(p.log))
		p.append(charge)
		told := map[int64]*optionsv1.ChargeResponse{} // by offset: a batch may be worked more than once
		p.rules = witness{&rules{safeguards: "safeguards"}, func(j foldtest.Judgement) {
			m, _ := j.Value.(*optionsv1.ChargeResponse)
			if refused, ok := errors.AsType[*refusedCharge](j.Err); ok {
				m = refused.answer
			}
			told[j.Offset] = m
		}}
		p.works()
		p.configures(full())
		second := int64(len(p.log))
		p.append(charge) // it was not counted: now it is
		p.works()
		if m := told[first]; m.GetAllowed() != allows || m.GetRefusal() != becauseUnknown || m.GetSpent() != nil {
			t.Errorf("told %v", m)
		}
		if m := told[second]; !m.GetAllowed() || m.GetRefusal() != "" || amount(m.GetSpent()) != "5" {
			t.Errorf("told %v", m)
		}
	}
}
