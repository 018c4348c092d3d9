package account

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tollgate/tollgate/pkg/event"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestOutcome_HasEveryField(t *testing.T) {
	p := newPartition(t)
	active(p, renews("Europe/Berlin", 7))
	p.at("2026-03-04T09:00")
	cause := p.uses("40", func(e *event.Event) { e.Correlation = "tx-1" })
	p.works()
	got, err := event.Decode(p.out[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	sequence := p.now.UnixMilli()
	want := &event.Event{
		ID:     event.Derive(cause.Identity(), "data", "alert", "80%").String(),
		Source: "tollgate/safeguard", Type: "safeguard.alert", Tenant: "acme", Subject: msisdn,
		Time: p.now, ReceivedAt: p.now, Correlation: "tx-1",
		Data: &eventv1.Safeguard{
			Option: eventv1.Safeguard_OPTION_DATA, State: eventv1.Safeguard_STATE_ACTIVE, Spent: units("40"), Limit: units("50"),
			PeriodStart: stamp("2026-02-06T23:00"), PeriodEnd: stamp("2026-03-06T23:00"), RenewalDay: 7,
			Cause:  &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Source: "crm", Id: cause.ID, Type: "usage.charged"}}},
			Reason: "USAGE", Sequence: sequence, PreviousSequence: moment("2026-03-02T09:00").UnixMilli(),
			Threshold: &eventv1.Threshold{Percent: 80, Amount: units("40")},
			// 40 in 25 days and 10 hours: the 10 that are left take a quarter of that.
			Forecast: stamp("2026-03-10T17:30"), CauseReceivedAt: stamp("2026-03-04T09:00"),
			ClassOfService: "gold", Imsi: "234150999999999", Language: "en",
			AlertThresholds: []*eventv1.Threshold{{Percent: 80, Amount: units("40")}},
		},
	}
	if !got.Equal(want) {
		t.Errorf("got  %v\nwant %v\n%s", got, want, cmp.Diff(want.Data, got.Data, protocmp.Transform()))
	}
}

// What a charge brought about names the call and when it came: lead time is reckoned from there.
func TestOutcome_ReachedByAChargeHasItsReference(t *testing.T) {
	p := newPartition(t)
	whole(p)
	p.at("2026-03-04T09:00")
	for i := range 6 {
		p.commands(fmt.Sprintf("c-%d", i), &controlv1.ChargeCommand{Amount: units("50")}, TypeCharge)
	}
	p.works()
	for _, r := range p.out {
		got, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		d, ok := got.Data.(*eventv1.Safeguard)
		if !ok || got.Type != TypePrefix+KindReached {
			continue
		}
		want := &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Source: ChargeSource, Id: "c-5", Type: TypeCharge}}}
		if diff := cmp.Diff(want, d.GetCause(), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
		if d.GetTransactionReference() != "c-5" || d.GetReason() != becauseCharge || !d.GetCauseReceivedAt().AsTime().Equal(p.now) {
			t.Errorf("%v", d)
		}
		return
	}
	t.Error("no limit was reached")
}
