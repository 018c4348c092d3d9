package delivery

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// Consumers of these topics that do not know our messages filter by headers.
func TestRecord_HeadersNameTenantAndCorrelation(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	d := &Delivery{
		ID: "dlv_1", Tenant: "acme", Endpoint: "tenants/acme/endpoints/crm", Correlation: "order-7", PlannedAt: at,
		Event: EventReference{ID: "1", Source: "s", Type: "client.created", Subject: "client/1", Time: at},
	}
	planned, err := d.Record("deliveries")
	if err != nil {
		t.Fatal(err)
	}
	read, err := Decode(planned)
	if err != nil {
		t.Fatal(err)
	}
	attempt, err := AttemptRecord("attempts", "tollgate/webhook", read, &deliveryv1.Attempt{Number: 1}, at)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := DeadRecord("dead", "tollgate/webhook", read, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]stream.Record{"planned": planned, "attempted": attempt, "dead": dead} {
		for header, want := range map[string]string{event.HeaderTenant: "acme", event.HeaderCorrelation: "order-7", event.HeaderSubject: "client/1"} {
			if got, _ := r.Header(header); string(got) != want {
				t.Errorf("%s: %s is %q", name, header, got)
			}
		}
	}
}
