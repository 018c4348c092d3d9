// Package channeltest holds events that tests of rules and channels render.
package channeltest

import (
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Noon is the time of the events.
var Noon = time.Date(2026, 3, 14, 12, 0, 0, 123_000_000, time.UTC)

// EUR is an amount of money.
func EUR(units int64, nanos int32) *money.Money {
	return &money.Money{CurrencyCode: "EUR", Units: units, Nanos: nanos}
}

// Alert is a safeguard.alert as the safeguard publishes it.
func Alert() *event.Event {
	return &event.Event{
		ID: "9f2c4d5e6f708192a3b4c5d6e7f80910", Source: "tollgate/safeguard", Type: "safeguard.alert", Tenant: "acme",
		Subject: "447700900123", Time: Noon, ReceivedAt: Noon, Correlation: "c-1",
		Data: &eventv1.Safeguard{
			Option: eventv1.Safeguard_OPTION_DATA, State: eventv1.Safeguard_STATE_ACTIVE, Spent: EUR(40, 50_000_000), Limit: EUR(50, 0),
			PeriodStart: timestamppb.New(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)),
			PeriodEnd:   timestamppb.New(time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)), RenewalDay: 1,
			Cause:  &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Source: "rating", Id: "u-1", Type: "usage.charged"}}},
			Reason: "USAGE", Sequence: 1_773_489_600_123, PreviousSequence: 1_773_489_500_000,
			Threshold:      &eventv1.Threshold{Percent: 80, Amount: EUR(40, 0)},
			ClassOfService: "gold", Imsi: "234150000000001", Language: "en-GB",
		},
	}
}

// Charged is a safeguard.reached of a payment by call, with all that such an event carries, contact included.
func Charged() *event.Event {
	e := Alert()
	e.Type = "safeguard.reached"
	s := e.Data.(*eventv1.Safeguard)
	s.Option, s.Spent, s.Limit, s.PerPaymentLimit, s.Blocked = eventv1.Safeguard_OPTION_PAYMENT, EUR(300, 0), EUR(300, 0), EUR(50, 0), true
	s.Threshold, s.Reason, s.TransactionReference = nil, "CHARGE", "shop-17"
	s.AlertThresholds = []*eventv1.Threshold{{Percent: 80, Amount: EUR(240, 0)}, {Amount: EUR(290, 500_000_000)}}
	s.Contact = &eventv1.Contact{Name: "Zoë", Email: "zoe@example.com", Phone: "447700900123"}
	return e
}

// Noticed is a second notice of an overspend safeguard that is inactive and has no limit.
func Noticed() *event.Event {
	e := Charged()
	e.Type = "safeguard.alert"
	s := e.Data.(*eventv1.Safeguard)
	s.Option, s.State, s.Limit, s.PerPaymentLimit, s.Blocked = eventv1.Safeguard_OPTION_OVERSPEND, eventv1.Safeguard_STATE_INACTIVE, nil, nil, false
	s.Spent, s.NextLimit, s.Reason, s.TransactionReference = EUR(120, 0), EUR(25, 0), "USAGE", ""
	s.Threshold = &eventv1.Threshold{Amount: EUR(100, 0), SecondNotice: true}
	return e
}

// Activated is an activation with contact data.
func Activated() *event.Event {
	return &event.Event{
		ID: "a-1", Source: "crm/<main>", Type: "subscriber.activated", Tenant: "acme", Subject: "447700900123", Time: Noon, ReceivedAt: Noon,
		Data: &eventv1.SubscriberActivated{
			ClassOfService: "gold", Imsi: "234150000000001", Language: "en-GB",
			Contact: &eventv1.Contact{Name: "Zoë", Email: "zoe@example.com", Phone: "447700900123"},
		},
	}
}
