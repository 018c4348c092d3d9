package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

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

const (
	wireActive      = eventv1.Safeguard_STATE_ACTIVE
	wireInactive    = eventv1.Safeguard_STATE_INACTIVE
	wireTemporarily = eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE
	wirePermanently = eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE
)

const wholeName = "tenants/acme/subscribers/" + safeguardtest.MSISDN

const ofClass, ofSubscriber = optionsv1.Source_SOURCE_CLASS_OF_SERVICE, optionsv1.Source_SOURCE_SUBSCRIBER

func list(ctx context.Context, s *subscribers) (*optionsv1.ListOptionsResponse, error) {
	return (&inventory{subscribers: s}).ListOptions(ctx, &optionsv1.ListOptionsRequest{Parent: wholeName})
}

// A row has what a subscriber is, and every column that is shown: what is not named is absent.
func TestInventory_ShowsItsFieldsAndNoOthers(t *testing.T) {
	berlin := func(c *configv1.ClassOfService) {
		c.DataSafeguard.TimeZone, c.OverspendSafeguard.TimeZone, c.PaymentSafeguard.TimeZone = "Europe/Berlin", "Europe/Berlin", "Europe/Berlin"
	}
	start, end := safeguardtest.Stamp("2026-02-28T23:00"), safeguardtest.Stamp("2026-03-31T22:00")
	age := durationpb.New(300 * time.Millisecond)
	data := func(edit func(*optionsv1.DataSafeguard)) *optionsv1.ListOptionsResponse {
		m := &optionsv1.DataSafeguard{
			Name: wholeName + "/options/dataSafeguard", Limit: safeguardtest.Units("50"), Currency: "EUR", RenewalDay: 1, PeriodStart: start, PeriodEnd: end,
			Sequence: 42, Revision: 3, Staleness: age, LimitSource: ofClass, RenewalDaySource: ofClass,
		}
		edit(m)
		return &optionsv1.ListOptionsResponse{DataSafeguard: m}
	}
	overspend := func(edit func(*optionsv1.OverspendSafeguard)) *optionsv1.ListOptionsResponse {
		m := &optionsv1.OverspendSafeguard{
			Name: wholeName + "/options/overspendSafeguard", Currency: "EUR", RenewalDay: 1, PeriodStart: start, PeriodEnd: end,
			Spent: safeguardtest.Units("0"), Sequence: 42, Revision: 3, Staleness: age, AlertThresholds: []*eventv1.Threshold{{Percent: 80}},
			Reached: proto.Bool(false), AlertThresholdsSource: ofClass, RenewalDaySource: ofClass,
		}
		edit(m)
		return &optionsv1.ListOptionsResponse{OverspendSafeguard: m}
	}
	payment := func(edit func(*optionsv1.PaymentSafeguard)) *optionsv1.ListOptionsResponse {
		m := &optionsv1.PaymentSafeguard{
			Name: wholeName + "/options/paymentSafeguard", Limit: safeguardtest.Units("300"), PerPaymentLimit: safeguardtest.Units("50"), Currency: "EUR", RenewalDay: 1,
			PeriodStart: start, PeriodEnd: end, Sequence: 42, Revision: 3, Staleness: age, LimitSource: ofClass, RenewalDaySource: ofClass,
		}
		edit(m)
		return &optionsv1.ListOptionsResponse{PaymentSafeguard: m}
	}
	for _, test := range []struct {
		name  string
		class func(*configv1.ClassOfService)
		is    []func(*account.Subscriber)
		want  *optionsv1.ListOptionsResponse
	}{
		{"data, active, with something spent", nil, []func(*account.Subscriber){spent(spend.Data, "25")}, data(func(m *optionsv1.DataSafeguard) {
			m.State, m.Spent, m.Reached, m.EligibleStates = wireActive, safeguardtest.Units("25"), proto.Bool(false), []eventv1.Safeguard_State{wireTemporarily, wirePermanently}
			m.Forecast = safeguardtest.Stamp("2026-03-23T19:00") // as much again, in as long: 11 days and 10 hours from the log's time
		})},
		{"data, reached", nil, []func(*account.Subscriber){spent(spend.Data, "50")}, data(func(m *optionsv1.DataSafeguard) {
			m.State, m.Spent, m.Reached, m.EligibleStates = wireActive, safeguardtest.Units("50"), proto.Bool(true), []eventv1.Safeguard_State{wireTemporarily, wirePermanently}
		})},
		{"data, off for this period", nil, []func(*account.Subscriber){spent(spend.Data, "60"), inState(spend.Data, spend.TemporarilyInactive)}, data(func(m *optionsv1.DataSafeguard) {
			m.State, m.EligibleStates = wireTemporarily, []eventv1.Safeguard_State{wireActive, wirePermanently}
		})},
		{"data, off for good", nil, []func(*account.Subscriber){spent(spend.Data, "60"), inState(spend.Data, spend.PermanentlyInactive)}, data(func(m *optionsv1.DataSafeguard) {
			m.State, m.EligibleStates = wirePermanently, []eventv1.Safeguard_State{wireActive}
		})},
		{"data, of a class that does not offer to turn it off for a period", func(c *configv1.ClassOfService) {
			c.DataSafeguard.States = []eventv1.Safeguard_State{wireActive, wirePermanently}
		}, []func(*account.Subscriber){spent(spend.Data, "0")}, data(func(m *optionsv1.DataSafeguard) {
			m.State, m.Spent, m.Reached, m.EligibleStates = wireActive, safeguardtest.Units("0"), proto.Bool(false), []eventv1.Safeguard_State{wirePermanently}
		})},
		{"overspend, never activated", nil, []func(*account.Subscriber){spent(spend.Overspend, "7")}, overspend(func(m *optionsv1.OverspendSafeguard) {
			m.State, m.Spent, m.EligibleStates = wireInactive, safeguardtest.Units("7"), []eventv1.Safeguard_State{wireActive}
		})},
		{"overspend, active with limits of its own", nil, []func(*account.Subscriber){
			limited(spend.Overspend, "20"), next(spend.Overspend, "30"), inState(spend.Overspend, spend.Active), spent(spend.Overspend, "20"),
		}, overspend(func(m *optionsv1.OverspendSafeguard) {
			m.State, m.Spent, m.Reached, m.EligibleStates = wireActive, safeguardtest.Units("20"), proto.Bool(true), []eventv1.Safeguard_State{wireInactive}
			m.CurrentLimit, m.NextLimit, m.CurrentLimitSource = safeguardtest.Units("20"), safeguardtest.Units("30"), ofSubscriber
			m.AlertThresholds[0].Amount = safeguardtest.Units("16")
		})},
		{"overspend, inactive where that blocks", func(c *configv1.ClassOfService) {
			c.OverspendSafeguard.InactivePolicy = configv1.InactivePolicy_INACTIVE_POLICY_BLOCK
		}, []func(*account.Subscriber){spent(spend.Overspend, "0")}, overspend(func(m *optionsv1.OverspendSafeguard) {
			m.State, m.Reached, m.EligibleStates = wireInactive, proto.Bool(true), []eventv1.Safeguard_State{wireActive}
		})},
		{"overspend, with alert thresholds of the subscriber", nil, []func(*account.Subscriber){func(s *account.Subscriber) {
			s.Options[spend.Overspend].Thresholds = []spend.Threshold{{Amount: 5 * spend.Unit}}
		}}, overspend(func(m *optionsv1.OverspendSafeguard) {
			m.State, m.EligibleStates, m.AlertThresholds = wireInactive, []eventv1.Safeguard_State{wireActive}, []*eventv1.Threshold{{Amount: safeguardtest.Units("5")}}
			m.AlertThresholdsSource = ofSubscriber
		})},
		{"data, renewed on a day of the subscriber's", nil, []func(*account.Subscriber){inState(spend.Data, spend.PermanentlyInactive), func(s *account.Subscriber) {
			s.Options[spend.Data].OwnDay = true
		}}, data(func(m *optionsv1.DataSafeguard) {
			m.State, m.EligibleStates, m.RenewalDaySource = wirePermanently, []eventv1.Safeguard_State{wireActive}, ofSubscriber
		})},
		{"payment, active", nil, []func(*account.Subscriber){spent(spend.Payment, "299")}, payment(func(m *optionsv1.PaymentSafeguard) {
			m.State, m.Spent, m.Reached, m.EligibleStates = wireActive, safeguardtest.Units("299"), proto.Bool(false), []eventv1.Safeguard_State{wireInactive}
			m.Forecast = safeguardtest.Stamp("2026-03-12T09:00")
			m.Forecast.Seconds += 3298 // of 300 EUR one is left, after 11 days and 10 hours
		})},
		{"payment, inactive", nil, []func(*account.Subscriber){spent(spend.Payment, "300"), inState(spend.Payment, spend.Inactive)}, payment(func(m *optionsv1.PaymentSafeguard) {
			m.State, m.EligibleStates = wireInactive, []eventv1.Safeguard_State{wireActive}
		})},
		{"payment, without a cap of one payment", func(c *configv1.ClassOfService) { c.PaymentSafeguard.PerPaymentLimit = nil },
			[]func(*account.Subscriber){spent(spend.Payment, "0")}, payment(func(m *optionsv1.PaymentSafeguard) {
				m.State, m.Spent, m.Reached, m.EligibleStates, m.PerPaymentLimit = wireActive, safeguardtest.Units("0"), proto.Bool(false), []eventv1.Safeguard_State{wireInactive}, nil
			})},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := safeguardtest.Full(berlin)
			if test.class != nil {
				test.class(c)
			}
			s := &fakeEngine{reading: begun(t, c, test.is...)}
			got, err := list(t.Context(), reachable(t, s, "2026-03-12T10:00", c))
			if err != nil {
				t.Fatal(err)
			}
			want := &optionsv1.ListOptionsResponse{Subscriber: &optionsv1.Subscriber{
				Name: wholeName, ClassOfService: "gold", Imsi: "234150999999999", Language: "en", ActivateTime: safeguardtest.Stamp("2026-03-02T09:00"),
			}}
			if diff := cmp.Diff(want.GetSubscriber(), got.GetSubscriber(), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			switch { // the option that the row is about
			case test.want.GetDataSafeguard() != nil:
				want = &optionsv1.ListOptionsResponse{DataSafeguard: got.GetDataSafeguard()}
			case test.want.GetOverspendSafeguard() != nil:
				want = &optionsv1.ListOptionsResponse{OverspendSafeguard: got.GetOverspendSafeguard()}
			default:
				want = &optionsv1.ListOptionsResponse{PaymentSafeguard: got.GetPaymentSafeguard()}
			}
			if diff := cmp.Diff(test.want, want, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInventory_AppliesRenewalsDueByTheClock(t *testing.T) {
	c := safeguardtest.Full()
	r := begun(t, c, spent(spend.Data, "50"), inState(spend.Data, spend.TemporarilyInactive),
		limited(spend.Overspend, "10"), next(spend.Overspend, "30"), inState(spend.Overspend, spend.Active), spent(spend.Overspend, "10"), spent(spend.Payment, "300"))
	before, err := list(t.Context(), reachable(t, &fakeEngine{reading: r}, "2026-03-31T23:59", c))
	if err != nil || before.GetDataSafeguard().GetState() != wireTemporarily || !before.GetOverspendSafeguard().GetReached() || !before.GetPaymentSafeguard().GetReached() {
		t.Errorf("a minute before: %v, %v", before, err)
	}
	after, err := list(t.Context(), reachable(t, &fakeEngine{reading: r}, "2026-06-01T00:00", c))
	data, overspend, payment := after.GetDataSafeguard(), after.GetOverspendSafeguard(), after.GetPaymentSafeguard()
	switch {
	case err != nil:
		t.Fatal(err)
	case data.GetState() != wireActive || safeguardtest.Amount(data.GetSpent()) != "0" || data.GetReached() || data.GetRevision() != 3 || data.GetSequence() != 42:
		t.Errorf("data, three periods later: %v", data)
	case !data.GetPeriodStart().AsTime().Equal(safeguardtest.Moment("2026-06-01T00:00")) || !data.GetPeriodEnd().AsTime().Equal(safeguardtest.Moment("2026-07-01T00:00")):
		t.Errorf("the period: %v", data)
	case safeguardtest.Amount(overspend.GetCurrentLimit()) != "30" || overspend.GetNextLimit() != nil || overspend.GetReached() || safeguardtest.Amount(overspend.GetSpent()) != "0":
		t.Errorf("overspend: %v", overspend)
	case payment.GetReached() || safeguardtest.Amount(payment.GetSpent()) != "0" || payment.GetForecast() != nil:
		t.Errorf("payment: %v", payment)
	}
}

func TestInventory_NotFound(t *testing.T) {
	dataOnly := safeguardtest.Full(func(c *configv1.ClassOfService) { c.OverspendSafeguard, c.PaymentSafeguard = nil, nil })
	ready := func(sub account.Subscriber) *fakeEngine {
		return &fakeEngine{reading: fold.Reading[account.Subscriber]{Exists: true, Body: sub, Revision: state.Revision{Number: 3}}}
	}
	for _, test := range []struct {
		name   string
		engine *fakeEngine
		reason string
	}{
		{"a number without a record", &fakeEngine{}, account.ReasonNotFound},
		{"a subscriber that is gone", ready(account.Subscriber{Life: account.LifeTerminated}), account.ReasonNotFound},
		{"a number whose subscriber has another by now", ready(account.Subscriber{Life: account.LifeMoved}), account.ReasonNotFound},
		{"a number that usage waits for", ready(account.Subscriber{Life: account.LifePending}), account.ReasonNotFound},
		{"an option that the class does not offer", &fakeEngine{reading: begun(t, dataOnly)}, account.ReasonNotOffered},
	} {
		s := reachable(t, test.engine, "2026-03-12T10:00", dataOnly)
		_, err := (&inventory{subscribers: s}).GetPaymentSafeguard(t.Context(), &optionsv1.GetPaymentSafeguardRequest{Name: wholeName + "/options/paymentSafeguard"})
		if fault.KindOf(err) != fault.NotFound || fault.ReasonOf(err) != test.reason {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	got, err := list(t.Context(), reachable(t, &fakeEngine{reading: begun(t, dataOnly)}, "2026-03-12T10:00", dataOnly))
	if err != nil || got.GetDataSafeguard() == nil || got.GetOverspendSafeguard() != nil || got.GetPaymentSafeguard() != nil {
		t.Errorf("a class with one option lists %v, %v", got, err)
	}
	_, err = list(t.Context(), reachable(t, ready(account.Subscriber{Life: account.LifePending}), "2026-03-12T10:00", dataOnly))
	if fault.ReasonOf(err) != account.ReasonNotFound {
		t.Errorf("a number that usage waits for lists %v", err)
	}
}

// A partition that is rebuilt, or whose owner is away, answers from the store where that has it, and otherwise that it
// does not know: never that there is no such subscriber.
func TestInventory_RebuildingWhereNotKnown(t *testing.T) {
	forwardedCall := metadata.NewIncomingContext(t.Context(), metadata.Pairs(sentOn, "1"))
	noOwner := &fold.NotOwnerError{Address: "127.0.0.1:1"}
	gold := safeguardtest.Full()
	known := begun(t, gold)
	for _, test := range []struct {
		name   string
		ctx    context.Context
		engine fakeEngine
		reason string
		reads  int // of the store
	}{
		{"while the partition is rebuilt", t.Context(), fakeEngine{readErr: fold.ErrUnknown, storedErr: fold.ErrUnknown, stored: known}, ReasonRebuilding, 1},
		{"while the store does not answer", t.Context(), fakeEngine{readErr: errors.New("no answer"), storedErr: errors.New("no answer")}, ReasonRebuilding, 1},
		{"where neither the owner nor the store answers", t.Context(), fakeEngine{readErr: noOwner, storedErr: fold.ErrUnknown}, ReasonRebuilding, 1},
		{"where a call was sent on to a replica that is not the owner either", forwardedCall, fakeEngine{readErr: noOwner, stored: known}, reasonMoved, 0},
		{"while the partition is opened here", t.Context(), fakeEngine{readErr: fold.ErrUnknown, stored: known}, "", 1},
		{"where the owner does not answer", t.Context(), fakeEngine{readErr: noOwner, stored: known}, "", 1},
		{"where the partition is here", t.Context(), fakeEngine{reading: known, storedErr: errors.New("not asked")}, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := &inventory{subscribers: reachable(t, &test.engine, "2026-03-12T10:00", gold)}
			peers := NewReplicas()
			t.Cleanup(peers.Close)
			f := &forwarding{local: v.subscribers, peers: peers}
			list := request(f, optionsv1.OptionInventoryService_ListOptions_FullMethodName, v.ListOptions)
			got, err := list(test.ctx, &optionsv1.ListOptionsRequest{Parent: wholeName})
			if test.engine.storedReads != test.reads {
				t.Errorf("the store was read %d times", test.engine.storedReads)
			}
			if test.reason == "" {
				if err != nil || got.GetDataSafeguard().GetStaleness().AsDuration() != 300*time.Millisecond {
					t.Errorf("%v, %v", got, err)
				}
				return
			}
			if fault.ReasonOf(err) != test.reason || status.Code(fault.Status(err).Err()) != codes.Unavailable {
				t.Fatalf("%v", err)
			}
			if e, ok := errors.AsType[*fault.Error](err); !ok || e.RetryAfter <= 0 {
				t.Errorf("no word about when to ask again: %v", err)
			}
		})
	}
}
