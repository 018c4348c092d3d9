package safeguard

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestAnOutcomeSaysEverything(t *testing.T) {
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
