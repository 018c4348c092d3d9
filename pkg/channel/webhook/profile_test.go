package webhook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/channeltest"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rules"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// of is an event of the CRM or of billing.
func of(typ, subject string, data proto.Message) *event.Event {
	return &event.Event{
		ID: `e 1/"ü"%`, Source: "crm/<main>", Type: typ, Tenant: "acme", Subject: subject, Time: channeltest.Noon, ReceivedAt: channeltest.Noon,
		Correlation: "order-7", Data: data,
	}
}

func aClient() *eventv1.Account {
	return &eventv1.Account{
		Id: "42", Name: "Zoë Quinn", DisplayName: `Z "Q"`, Status: "active", Balance: channeltest.EUR(0, 0), BillDay: 28, Language: "en",
		CompanyAddress: &eventv1.PostalAddress{Company: "Q & Co", Lines: []string{"1 High St", ""}, Country: "GB"},
	}
}

func aPackage() *eventv1.PackageChanged {
	return &eventv1.PackageChanged{
		Account: &eventv1.Account{Id: "7"}, Package: &eventv1.AccountPackage{Id: "p-9", Name: "Roam 5 GB", Status: "active", Start: timestamppb.New(channeltest.Noon)},
		PreviousStatus: "assigned", Reason: "first use", Contact: &eventv1.Contact{Email: "zoe@example.com"},
	}
}

func aBucket() *eventv1.BalanceChanged {
	return &eventv1.BalanceChanged{
		Bucket: &eventv1.UsageBucket{
			Id: "b", Unit: "byte", Granted: 5e9, Used: 4e9, Remaining: 1e9, Percent: 80, GrantedAmount: channeltest.EUR(10, 0),
			DeductedAmount: channeltest.EUR(0, 1), ActualAmount: channeltest.EUR(-3, -500_000_000), ValidTo: timestamppb.New(time.Unix(1_800_000_000, 1_000)),
		},
		ThresholdPercent: 80, Level: eventv1.BalanceChanged_LEVEL_SUBSCRIBER,
	}
}

// escaped are parameters whose text needs escapes.
var escaped = []rules.Parameter{{Name: "to \"whom\"", Template: "<Zoë> & Co"}, {Name: "empty", Template: ""}}

func TestProfiles_AreTheGoldenBytesAndHeaders(t *testing.T) {
	first := channel.Position{Sequence: 2, Previous: "dlv_06eaih8afco4kfkf2nc8j8cvio"}
	swapped := of("subscriber.sim_swapped", "447700900123", &eventv1.SubscriberSimSwapped{OldIccid: "8944000000000000001", NewIccid: "8944000000000000002"})
	changed := &eventv1.ClientChanged{Client: aClient(), ChangedFields: []string{"company_address.city", "status", "billDay", "balance_due", "client"}}
	changed.Client.Status = ""
	fields, err := structpb.NewStruct(map[string]any{"tier": "gold", "age": 40.0, "tags": []any{"a", nil, true}})
	if err != nil {
		t.Fatal(err)
	}
	custom := of("client.custom_fields_updated", "client/42", &eventv1.ClientCustomFieldsUpdated{Id: "42", CustomFields: fields})
	usage := of("usage.charged", "447700900123", &eventv1.UsageCharged{
		Category: eventv1.UsageCharged_CATEGORY_DATA, Net: channeltest.EUR(0, 0), Gross: channeltest.EUR(0, 30_000_000), VisitedCountry: "FR",
	})
	everywhere := []webhook.Profile{webhook.Tollgate, webhook.CloudEventsBinary, webhook.Transatel, webhook.Jerasoft, webhook.Ocsio}
	foreign := []webhook.Profile{webhook.Transatel, webhook.Jerasoft, webhook.Ocsio}
	// The examples of deploy/docs/receive.md.
	payment := of("payment.processed", "account/7", &eventv1.PaymentChanged{Payment: &eventv1.Payment{Id: "p-4711", Amount: channeltest.EUR(12, 500_000_000), Method: "card"}})
	moved := of("subscriber.cos_changed", "447700900123", &eventv1.SubscriberClassOfServiceChanged{PreviousClassOfService: "silver", ClassOfService: "gold"})
	updated := of("client.updated", "client/42", &eventv1.ClientChanged{Client: &eventv1.Account{Id: "42", Status: "suspended"}, ChangedFields: []string{"status"}})
	for _, e := range []*event.Event{payment, moved, updated} {
		e.ID, e.Source = "e-1", "billing"
	}
	texts := []rules.Parameter{{Name: "text", Template: "Thank you."}, {Name: "amount", Template: "12.50"}}
	for _, tc := range []struct {
		name     string
		event    *event.Event
		profiles []webhook.Profile
		personal bool
		at       channel.Position
		params   []rules.Parameter
	}{
		{"alert", channeltest.Alert(), everywhere, false, first, nil},
		{"charged-personal", channeltest.Charged(), foreign, true, channel.Position{}, nil},
		{"noticed-escaped", channeltest.Noticed(), []webhook.Profile{webhook.Tollgate, webhook.Transatel, webhook.Jerasoft}, false, first, escaped},
		{"usage", usage, everywhere, false, channel.Position{}, nil},
		{"activated-personal", channeltest.Activated(), foreign, true, channel.Position{}, nil},
		{"swapped", swapped, foreign, false, channel.Position{}, nil},
		{"swapped-personal", swapped, foreign, true, channel.Position{}, nil},
		{"bucket", of("usage.threshold_exceeded", "account/7", aBucket()), foreign, false, channel.Position{}, nil},
		{"package", of("package.assigned", "package/p-9", aPackage()), foreign, false, channel.Position{}, nil},
		{"package-closed", of("package.closed", "package/p-9", aPackage()), []webhook.Profile{webhook.Jerasoft}, false, channel.Position{}, escaped},
		{"client", of("client.created", "client/42", &eventv1.ClientChanged{Client: aClient()}), []webhook.Profile{webhook.Jerasoft}, false, channel.Position{}, nil},
		{"client-personal", of("client.created", "client/42", &eventv1.ClientChanged{Client: aClient()}), []webhook.Profile{webhook.Jerasoft}, true, channel.Position{}, nil},
		{"client-updated", of("client.updated", "client/042", changed), []webhook.Profile{webhook.Jerasoft}, false, channel.Position{}, nil},
		{"client-updated-personal", of("client.updated", "client/42", changed), []webhook.Profile{webhook.Jerasoft}, true, channel.Position{}, nil},
		{"client-archived", of("client.archived", "client/42", changed), []webhook.Profile{webhook.Jerasoft}, true, channel.Position{}, escaped},
		{"client-zero", of("client.balance.depleted", "client/42", &eventv1.ClientBalance{Id: "42"}), []webhook.Profile{webhook.Jerasoft}, true, channel.Position{}, nil},
		{"custom", custom, []webhook.Profile{webhook.Jerasoft}, false, channel.Position{}, nil},
		{"custom-personal", custom, everywhere, true, channel.Position{}, nil},
		{"account-without", of("account.created", "account/7", &eventv1.AccountChanged{}), []webhook.Profile{webhook.Jerasoft}, true, channel.Position{}, nil},
		{"failed", of("billrun.failed", "", &eventv1.BillRunFailed{AccountId: "7"}), []webhook.Profile{webhook.Jerasoft, webhook.CloudEventsBinary}, true, channel.Position{}, nil},
		{"example", payment, []webhook.Profile{webhook.Tollgate}, false, first, texts[:1]},
		{"example", payment, []webhook.Profile{webhook.CloudEventsBinary, webhook.Ocsio}, false, first, nil},
		{"example", payment, []webhook.Profile{webhook.Parameters}, false, first, texts},
		{"example", moved, []webhook.Profile{webhook.Transatel}, false, first, nil},
		{"example", updated, []webhook.Profile{webhook.Jerasoft}, false, first, nil},
	} {
		for _, profile := range tc.profiles {
			name := profile.String() + "-" + tc.name
			t.Run(name, func(t *testing.T) {
				m, err := render(t, tc.event, webhook.Endpoint{Profile: profile, IncludePersonal: tc.personal}, tc.at, tc.params...)
				if err != nil {
					t.Fatal(err)
				}
				golden(t, name+".json", m.Body)
				head := "content-type: " + m.ContentType + "\n"
				for _, h := range m.Headers {
					head += h.Name + ": " + h.Value + "\n"
				}
				golden(t, name+".headers", []byte(head))
				var any map[string]any
				if err := json.Unmarshal(m.Body, &any); err != nil {
					t.Errorf("%v: %s", err, m.Body)
				}
			})
		}
	}
}

// The page for receivers shows bodies as they are, but for spaces.
func TestProfiles_AreShownToReceiversAsTheyAre(t *testing.T) {
	page, err := os.ReadFile("../../../deploy/docs/receive.md")
	if err != nil {
		t.Fatal(err)
	}
	for mark, profile := range map[string]webhook.Profile{
		"tollgate": webhook.Tollgate, "binary": webhook.CloudEventsBinary, "transatel": webhook.Transatel, "jerasoft": webhook.Jerasoft,
		"parameters": webhook.Parameters, "ocsio": webhook.Ocsio,
	} {
		_, block, found := strings.Cut(string(page), "```json "+mark+"\n")
		block, _, _ = strings.Cut(block, "```")
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(block)); err != nil || !found {
			t.Errorf("%s: %v", mark, err)
			continue
		}
		want, err := os.ReadFile(filepath.Join("testdata", profile.String()+"-example.json"))
		if err != nil || compact.String() != string(want) {
			t.Errorf("%v: shown\n%s\nwhich is\n%s", err, &compact, want)
		}
	}
}

// A receiver with a library of CloudEvents reads the event, its extensions and its data.
func TestProfiles_BinaryIsReadByCloudEvents(t *testing.T) {
	e := channeltest.Alert()
	m, err := render(t, e, webhook.Endpoint{Profile: webhook.CloudEventsBinary, IncludePersonal: true}, channel.Position{Sequence: 7, Previous: "dlv_p"})
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"Content-Type": {m.ContentType}}
	for _, own := range m.Headers {
		h.Set(own.Name, own.Value)
	}
	ce, err := binding.ToEvent(t.Context(), cehttp.NewMessage(h, io.NopCloser(bytes.NewReader(m.Body))))
	if err != nil {
		t.Fatal(err)
	}
	if err := ce.Validate(); err != nil {
		t.Error(err)
	}
	ext := ce.Extensions()
	if ce.ID() != e.ID || ce.Source() != e.Source || ce.Type() != e.Type || ce.Subject() != e.Subject || !ce.Time().Equal(channeltest.Noon) ||
		ext["sequence"] != "0000000000000000007" || ext["previous"] != "dlv_p" || ext["notification"] != "reached" || ext["tenant"] != "acme" {
		t.Errorf("%s", ce)
	}
	var data eventv1.Safeguard
	if err := protojson.Unmarshal(ce.Data(), &data); err != nil || !proto.Equal(&data, e.Data) {
		t.Errorf("%v: %v", err, &data)
	}
}

// Keys that a profile puts beside the data's own must not meet one of those.
func TestProfiles_KeysOfABodyAreThereOnce(t *testing.T) {
	for _, typ := range event.Types() {
		full := proto.Clone(typ.Data)
		channeltest.Fill(full.ProtoReflect())
		for _, profile := range profiles {
			m, err := render(t, of(typ.Name, "447700900123", full), webhook.Endpoint{Profile: profile, IncludePersonal: true}, channel.Position{Sequence: 1, Previous: "p"})
			if err != nil {
				t.Fatal(err)
			}
			if twice := repeatedKey(json.NewDecoder(strings.NewReader(string(m.Body)))); twice != "" {
				t.Errorf("%s of %s has %q twice: %s", profile, typ.Name, twice, m.Body)
			}
		}
	}
}

// repeatedKey is a key that stands twice in an object.
func repeatedKey(d *json.Decoder) string {
	t, err := d.Token()
	if err != nil {
		return ""
	}
	switch t {
	case json.Delim('{'):
		seen := map[any]bool{}
		for d.More() {
			key, err := d.Token()
			if err != nil || seen[key] {
				return fmt.Sprint(key)
			}
			seen[key] = true
			if twice := repeatedKey(d); twice != "" {
				return twice
			}
		}
		_, _ = d.Token()
	case json.Delim('['):
		for d.More() {
			if twice := repeatedKey(d); twice != "" {
				return twice
			}
		}
		_, _ = d.Token()
	}
	return ""
}

// A notification that finds out by itself that a client's balance turned has the names of the events for it.
func TestProfiles_FiringsOfABalanceHaveTheNamesOfTheirEvents(t *testing.T) {
	for firing, want := range map[string]string{
		"depleted": `{"event":{"dt":"2026-03-14T12:00:00.123Z","events_id":"clients.balance_zero","object_id":42},"data":{}}`,
		"restored": `{"event":{"dt":"2026-03-14T12:00:00.123Z","events_id":"clients.balance_notzero","object_id":42},"data":{}}`,
		"":         `"clients.update"`,
	} {
		e := of("client.updated", "client/42", &eventv1.ClientChanged{Client: &eventv1.Account{Id: "42"}})
		r := compiled(t, []string{e.Type})
		o := (&rules.Occasion{Event: e, Now: channeltest.Noon}).Of(firing)
		bodies := map[webhook.Profile]string{}
		for _, profile := range []webhook.Profile{webhook.Jerasoft, webhook.Tollgate} {
			to := webhook.Endpoint{Profile: profile}
			m, err := r.Render(r.Actions[0], o, to.Planning(), r.Recipients(r.Actions[0], o, "e").To[0], channel.Position{})
			if err != nil {
				t.Fatal(err)
			}
			bodies[profile] = string(m.Body)
		}
		if !strings.Contains(bodies[webhook.Jerasoft], want) {
			t.Errorf("%q is %s, want %s", firing, bodies[webhook.Jerasoft], want)
		}
		if has := strings.Contains(bodies[webhook.Tollgate], `"firing":"`+firing+`"`); has != (firing != "") {
			t.Errorf("%q is %s", firing, bodies[webhook.Tollgate])
		}
	}
}

// The names that integrators branch on, as the systems they come from have them.
func TestProfiles_TypesHaveTheNamesOfTheirSystems(t *testing.T) {
	safeguard := func(option eventv1.Safeguard_Option) *eventv1.Safeguard { return &eventv1.Safeguard{Option: option} }
	for _, tc := range []struct {
		typ                 string
		data                proto.Message
		transatel, jerasoft string
	}{
		{"client.created", nil, "client.created", "clients.create"},
		{"client.updated", nil, "client.updated", "clients.update"},
		{"client.deleted", nil, "client.deleted", "clients.delete"},
		{"client.archived", nil, "client.archived", "clients.archive"},
		{"client.custom_fields_updated", nil, "client.custom_fields_updated", "clients.custom_fields.update"},
		{"client.balance.depleted", nil, "client.balance.depleted", "clients.balance_zero"},
		{"client.balance.restored", nil, "client.balance.restored", "clients.balance_notzero"},
		{"account.created", nil, "account.created", "clients.accounts.create"},
		{"account.updated", nil, "account.updated", "clients.accounts.update"},
		{"account.deleted", nil, "account.deleted", "clients.accounts.delete"},
		{"account.cancelled", nil, "account.cancelled", "account.cancelled"},
		{"package.assigned", nil, "OCS/PRODUCT/PRELOADED", "clients.subscriptions.assign"},
		{"package.activated", nil, "OCS/PRODUCT/ACTIVATED", "clients.subscriptions.activate"},
		{"package.deactivated", nil, "OCS/PRODUCT/TERMINATED", "clients.subscriptions.deactivate"},
		{"package.renewed", nil, "OCS/PRODUCT/RENEWED", "clients.subscriptions.renew"},
		{"package.closed", nil, "OCS/PRODUCT/EXPIRED", "clients.subscriptions.close"},
		{"package.cancelled", nil, "OCS/PRODUCT/CANCELED", "package.cancelled"},
		{"package.status_changed", nil, "package.status_changed", "package.status_changed"},
		{"usage.threshold_exceeded", nil, "OCS/RESOURCE/THRESHOLD", "usage.threshold_exceeded"},
		{"balance.threshold_reached", nil, "OCS/RESOURCE/THRESHOLD", "balance.threshold_reached"},
		{"subscriber.cos_changed", nil, "CONNECTIVITY-MANAGEMENT/SUBSCRIBER/MODIFIED", "subscriber.cos_changed"},
		{"subscriber.suspended", nil, "CONNECTIVITY-MANAGEMENT/SUBSCRIBER/MODIFIED", "subscriber.suspended"},
		{"subscriber.resumed", nil, "CONNECTIVITY-MANAGEMENT/SUBSCRIBER/MODIFIED", "subscriber.resumed"},
		{"subscriber.msisdn_changed", nil, "CONNECTIVITY-MANAGEMENT/MSISDN/SWAPPED", "subscriber.msisdn_changed"},
		{"subscriber.sim_swapped", nil, "CONNECTIVITY-MANAGEMENT/SIMCARD/SWAPPED", "subscriber.sim_swapped"},
		{"subscriber.activated", nil, "subscriber.activated", "subscriber.activated"},
		{"safeguard.reached", safeguard(eventv1.Safeguard_OPTION_DATA), "OCS/OPTION/DATA-SAFEGUARD/REACHED", "safeguard.reached"},
		{"safeguard.opted_out", safeguard(eventv1.Safeguard_OPTION_OVERSPEND), "OCS/OPTION/OVERSPEND-SAFEGUARD/OPTED-OUT", "safeguard.opted_out"},
		{"safeguard.renewal_day_changed", safeguard(eventv1.Safeguard_OPTION_PAYMENT), "OCS/OPTION/PAYMENT-SAFEGUARD/RENEWAL-DAY-CHANGED", "safeguard.renewal_day_changed"},
		{"safeguard.late", safeguard(0), "safeguard.late", "safeguard.late"},
	} {
		typ, ok := event.Lookup(tc.typ)
		if !ok {
			t.Fatal(tc.typ)
		}
		if tc.data == nil {
			tc.data = typ.Data
		}
		var theirs struct {
			Header struct{ EventType string } `json:"header"`
			Event  struct {
				EventsID string `json:"events_id"`
			} `json:"event"`
		}
		for _, profile := range []webhook.Profile{webhook.Transatel, webhook.Jerasoft} {
			m, err := render(t, of(tc.typ, "client/42", tc.data), webhook.Endpoint{Profile: profile}, channel.Position{})
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(m.Body, &theirs); err != nil {
				t.Fatal(err)
			}
		}
		if theirs.Header.EventType != tc.transatel || theirs.Event.EventsID != tc.jerasoft {
			t.Errorf("%s is %s and %s", tc.typ, theirs.Header.EventType, theirs.Event.EventsID)
		}
	}
}
