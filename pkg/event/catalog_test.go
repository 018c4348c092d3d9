package event_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// The names that producers and rules rely on, as the documentation lists them.
const documented = `
client.created .updated .deleted .archived .custom_fields_updated .balance.depleted .balance.restored
account.created .updated .deleted .status_changed .cancelled .contract.under_commit
package.assigned .activated .deactivated .renewed .closed .cancelled .status_changed
service.state_changed .dormant
billrun.started .completed .failed
invoice.posted .overdue .delivered
document.created .balance_changed
payment.processed .failed
refund.processed
creditnote.processed
balance.changed .adjusted .first_use .recurrence .threshold_reached
usage.charged .threshold_exceeded
subscriber.activated .terminated .suspended .resumed .msisdn_changed .sim_swapped .cos_changed .roaming_changed
safeguard.activated .deactivated .opted_out .alert .reached .released .renewed .limit_changed .renewal_day_changed .late .overshoot
sms.received
endpoint.failing .suspended .reactivated
delivery.exhausted
hook.failed
notification.failing
`

func TestCatalog_HoldsEveryDocumentedType(t *testing.T) {
	var want []string
	for line := range strings.Lines(strings.TrimSpace(documented)) {
		words := strings.Fields(line)
		entity, _, _ := strings.Cut(words[0], ".")
		want = append(want, words[0])
		for _, w := range words[1:] {
			want = append(want, entity+w)
		}
	}
	slices.Sort(want)
	var got []string
	for _, typ := range event.Types() {
		got = append(got, typ.Name)
		if entity, _, _ := strings.Cut(typ.Name, "."); entity != typ.Entity {
			t.Errorf("%s is of the entity %q", typ.Name, typ.Entity)
		}
		if found, ok := event.Lookup(typ.Name); !ok || found.Name != typ.Name || found.Data != typ.Data {
			t.Errorf("%s is not found by its name", typ.Name)
		}
		// Whatever carries this type's message is decoded.
		e := &event.Event{ID: "1", Type: typ.Name, Data: typ.Data}
		if d := decoded(t, e); !proto.Equal(d.Data, typ.Data) {
			t.Errorf("%s: decoded to %T", typ.Name, d.Data)
		}
	}
	if !slices.Equal(want, got) {
		t.Errorf("want %d types %v\ngot %d types %v", len(want), want, len(got), got)
	}
}

func TestCatalog_OnlyIndependentTypesAreUnordered(t *testing.T) {
	unordered := []string{"billrun.failed", "hook.failed", "notification.failing"}
	for _, typ := range event.Types() {
		if got, want := typ.Queue == event.Unordered, slices.Contains(unordered, typ.Name); got != want {
			t.Errorf("%s is %v", typ.Name, typ.Queue)
		}
	}
}

func TestCatalog_ControlAndReservedTypes(t *testing.T) {
	for name, want := range map[string]struct{ control, reserved bool }{
		event.TypeRevision:  {true, true},
		event.TypeTick:      {true, true},
		event.TypeGap:       {true, true},
		"command.charge":    {true, true},
		"safeguard.reached": {false, true},
		"usage.charged":     {false, false},
		"systems.created":   {false, false},
		"system":            {false, false},
	} {
		if event.IsControl(name) != want.control || event.IsReserved(name) != want.reserved {
			t.Errorf("%s: control %v, reserved %v", name, event.IsControl(name), event.IsReserved(name))
		}
	}
	if _, ok := event.Lookup(event.TypeTick); ok {
		t.Error("a control record is a type of the catalog")
	}
}

func TestWithoutContact_LeavesPersonalFieldsOut(t *testing.T) {
	full := &eventv1.SubscriberActivated{
		ClassOfService: "gold", Imsi: "234150000000001", Language: "en",
		Contact: &eventv1.Contact{Email: "a@example.org"},
	}
	kept := proto.Clone(full)
	for name, tc := range map[string]struct {
		personal bool
		want     *eventv1.SubscriberActivated
	}{
		"contact never leaves":            {true, &eventv1.SubscriberActivated{ClassOfService: "gold", Imsi: "234150000000001", Language: "en"}},
		"personal leaves only if allowed": {false, &eventv1.SubscriberActivated{ClassOfService: "gold", Language: "en"}},
	} {
		if got := event.WithoutContact(full, tc.personal); !proto.Equal(got, tc.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !proto.Equal(full, kept) {
		t.Error("the event's own data was changed")
	}
	nested := &eventv1.AccountChanged{Account: &eventv1.Account{Id: "7", Name: "Jo",
		CompanyAddress: &eventv1.PostalAddress{City: "Bonn"}}}
	if got := event.WithoutContact(nested, false); !proto.Equal(got,
		&eventv1.AccountChanged{Account: &eventv1.Account{Id: "7"}}) {
		t.Errorf("nested: %v", got)
	}
}
