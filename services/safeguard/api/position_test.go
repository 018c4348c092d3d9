package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// A producer reads right behind the receipt for its activation: the answer is from a state in which that was worked.
func TestMinPosition_WaitsForAnEvent(t *testing.T) {
	known := begun(t, safeguardtest.Full())
	known.Offset = 17
	for _, test := range []struct {
		name   string
		after  *optionsv1.Position
		engine fakeEngine
		want   string
	}{
		{"that was worked", &optionsv1.Position{Partition: 3, Offset: 16}, fakeEngine{reading: known, end: 20}, ""},
		{"that is not worked in time", &optionsv1.Position{Partition: 3, Offset: 17}, fakeEngine{reading: known, end: 20}, ReasonNotReached},
		{"behind the log's end", &optionsv1.Position{Partition: 3, Offset: 20}, fakeEngine{reading: known, end: 20}, ReasonPosition},
		{"of another partition", &optionsv1.Position{Partition: 2, Offset: 16}, fakeEngine{reading: known, end: 20}, ReasonPosition},
		{"of no partition and offset", &optionsv1.Position{Partition: -1, Offset: -1}, fakeEngine{reading: known, end: 20}, ReasonPosition},
		{"in a partition that is rebuilt", &optionsv1.Position{Partition: 3, Offset: 16}, fakeEngine{readErr: fold.ErrUnknown, storedErr: fold.ErrUnknown}, ReasonRebuilding},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := reachable(t, &test.engine, "2026-03-12T10:00", safeguardtest.Full())
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
	fakeEngine
	from  time.Time
	after time.Duration
}

func (s *worksLater) Read(ctx context.Context, key string) (fold.Reading[account.Subscriber], error) {
	if time.Since(s.from) < s.after {
		return fold.Reading[account.Subscriber]{Offset: 7}, nil
	}
	return s.fakeEngine.Read(ctx, key)
}

func TestMinPosition_AnswersAsSoonAsTheEventIsWorked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := begun(t, safeguardtest.Full())
		known.Offset = 8
		s := reachable(t, &fakeEngine{}, "2026-03-12T10:00", safeguardtest.Full())
		began := time.Now()
		s.records = &worksLater{fakeEngine{reading: known, end: 8}, began, time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		got, err := (&inventory{subscribers: s}).ListOptions(ctx, &optionsv1.ListOptionsRequest{Parent: wholeName, MinPosition: &optionsv1.Position{Partition: 3, Offset: 7}})
		if took := time.Since(began); err != nil || got.GetDataSafeguard() == nil || took < time.Second || took > time.Second+positionPause {
			t.Errorf("%v, %v, after %s", got, err, took)
		}
	})
}

func TestMinPosition_NotOfAClassOfService(t *testing.T) {
	s := reachable(t, &fakeEngine{}, "2026-03-12T10:00", safeguardtest.Full())
	_, err := (&catalogService{catalogs: s.catalogs}).ListOptions(t.Context(), &optionsv1.ListOptionsRequest{
		Parent: "tenants/acme/classesOfService/gold", MinPosition: &optionsv1.Position{},
	})
	if fault.ReasonOf(err) != account.ReasonRequest {
		t.Errorf("%v", err)
	}
}

// After a change of the catalog the inventory once showed the old limit with the new thresholds, and options that were
// withdrawn; Authorize by usage denied what it allowed by option.
func TestRead_IsOneDecisionByTheClassAsItIs(t *testing.T) {
	was := safeguardtest.Full(safeguardtest.DefaultLimit("20"))
	r := begun(t, was, inState(spend.Overspend, spend.Active))
	now := safeguardtest.Full(safeguardtest.DefaultLimit("10"))
	now.PaymentSafeguard = nil
	now.OverspendSafeguard.AlertThresholds = nil
	now.DataSafeguard.Limit = safeguardtest.Units("25")
	spent(spend.Data, "30")(&r.Body)
	s := reachable(t, &fakeEngine{reading: r}, "2026-03-12T10:00", now)
	got, err := list(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if d := got.GetDataSafeguard(); safeguardtest.Amount(d.GetLimit()) != "25" || !d.GetReached() || d.GetRevision() != 3 {
		t.Errorf("data: %v", d)
	}
	if o := got.GetOverspendSafeguard(); safeguardtest.Amount(o.GetCurrentLimit()) != "10" || safeguardtest.Amount(o.GetAlertThresholds()[0].GetAmount()) != "8" {
		t.Errorf("overspend: %v", o)
	}
	if got.GetPaymentSafeguard() != nil {
		t.Errorf("payment, which is not offered any more: %v", got.GetPaymentSafeguard())
	}
	for _, req := range []*optionsv1.AuthorizeRequest{ofUsage(roamingData()), ofOption(spend.Data)} {
		a, err := (&enforcement{subscribers: s}).Authorize(t.Context(), req)
		if err != nil || decisionLine(a) != "deny LIMIT_REACHED data until 2026-04-01T00:00:00" {
			t.Errorf("%v: %v, %v", req, a, err)
		}
	}
}

// The spend is not known of a subscriber whose class is missing, or of a number that is not activated yet: Authorize once used
// the last figure, while 113 EUR were spent of 10.
func TestAuthorize_UncountableByTheTenant(t *testing.T) {
	elsewhere := safeguardtest.Full(func(c *configv1.ClassOfService) { c.Name = "tenants/acme/classesOfService/silver" })
	pending := func(sub account.Subscriber) *fakeEngine {
		return &fakeEngine{reading: fold.Reading[account.Subscriber]{Exists: true, Body: sub, Revision: state.Revision{Number: 3}}}
	}
	for name, engine := range map[string]*fakeEngine{
		"a class that is gone":          {reading: begun(t, safeguardtest.Full(), spent(spend.Data, "8.5"))},
		"a number that usage waits for": pending(account.Subscriber{Life: account.LifePending}),
	} {
		for _, allows := range []bool{false, true} {
			s := reachable(t, engine, "2026-03-12T10:00", elsewhere)
			if allows {
				s.catalogs = only(catalogUnder(t, 3, allowsTenant, elsewhere))
			}
			for _, req := range []*optionsv1.AuthorizeRequest{ofUsage(roamingData()), ofUsage(&eventv1.UsageCharged{}), ofOption(spend.Data)} {
				want := optionsv1.AuthorizeResponse_DECISION_DENY
				if allows {
					want = optionsv1.AuthorizeResponse_DECISION_ALLOW
				}
				a, err := (&enforcement{subscribers: s}).Authorize(t.Context(), req)
				if err != nil || a.GetDecision() != want || a.GetReason() != account.ReasonUnknown {
					t.Errorf("%s, allows %t: %v, %v", name, allows, a, err)
				}
			}
		}
	}
}
