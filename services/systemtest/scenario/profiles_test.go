package scenario

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// received is a request of a webhook.
type received struct {
	header http.Header
	body   []byte
}

// newSecret is a secret that stands before the receiver's own, as in a rotation that it does not know of yet.
const newSecret = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"

// sentAs is what one client.updated is sent as, by the last part of the profile's name; its parameters are text: "Zoë".
var sentAs = map[string]string{
	"TOLLGATE": `{"specversion":"1.0","id":"c 1","source":"crm","type":"client.updated","subject":"client/42","time":"2026-03-14T12:00:00.123Z",` +
		`"datacontenttype":"application/json","dataschema":"https://type.googleapis.com/tollgate.event.v1.ClientChanged","tenant":"acme",` +
		`"sequence":"0000000000000000001","notification":"of-tollgate","data":{"client":{"id":"42","balance":{"currencyCode":"EUR","units":"0","nanos":0},` +
		`"billDay":0},"changedFields":["balance"]},"parameters":{"text":"Zoë"}}`,
	"CLOUDEVENTS_BINARY": `{"client":{"id":"42","balance":{"currencyCode":"EUR","units":"0","nanos":0},"billDay":0},"changedFields":["balance"]}`,
	"TRANSATEL": `{"header":{"eventId":"EVENTID","eventType":"client.updated","eventDate":"2026-03-14T12:00:00.123Z"},"body":{"mvnoRef":"acme",` +
		`"externalReference":"order-7","client":{"id":"42","balance":"0","balanceCurrency":"EUR","billDay":0},"changedFields":["balance"],"parameters":{"text":"Zoë"}}}`,
	"JERASOFT": `{"event":{"dt":"2026-03-14T12:00:00.123Z","events_id":"clients.update","object_id":42},"data":{"id":"42","balance":"0","balanceCurrency":"EUR"},` +
		`"parameters":{"text":"Zoë"}}`,
	"PARAMETERS": `{"text":"Zoë"}`,
	"OCSIO":      `{"client":{"id":"42","balance":"0","balanceCurrency":"EUR","billDay":0},"changedFields":["balance"]}`,
}

// headersOf are those that a profile has of its own, and those of its endpoint's authentication.
var headersOf = map[string]map[string]string{
	"TOLLGATE": {"content-type": "application/cloudevents+json", "authorization": "Basic dG9sbGdhdGU6aHVzaA=="},
	"CLOUDEVENTS_BINARY": {
		"content-type": "application/json; charset=utf-8", "ce-specversion": "1.0", "ce-id": "c%201", "ce-source": "crm", "ce-type": "client.updated",
		"ce-subject": "client/42", "ce-time": "2026-03-14T12:00:00.123Z", "ce-dataschema": "https://type.googleapis.com/tollgate.event.v1.ClientChanged",
		"ce-tenant": "acme", "ce-sequence": "0000000000000000001", "ce-notification": "of-cloudevents_binary", "authorization": "Bearer hush",
	},
	"TRANSATEL":  {"content-type": "application/json; charset=utf-8", "x-api-key": "hush"},
	"JERASOFT":   {"content-type": "application/json; charset=utf-8", "authorization": ""},
	"PARAMETERS": {"content-type": "application/json; charset=utf-8", "tollgate-sequence": "1"},
	"OCSIO": {
		"content-type": "application/json; charset=utf-8", "x-ocs-io-transaction-id": "c%201", "x-ocs-io-notification-code": "of-ocsio",
		"x-ocs-io-notification-payload": "ClientChanged",
	},
}

// authOf are the ways in which the endpoints authenticate.
var authOf = map[string]*configv1.EndpointAuth{
	"TOLLGATE":           {Auth: &configv1.EndpointAuth_Basic{Basic: &configv1.BasicAuth{Username: "tollgate", Password: "hush"}}},
	"CLOUDEVENTS_BINARY": {Auth: &configv1.EndpointAuth_Bearer{Bearer: &configv1.BearerAuth{Token: "hush"}}},
	"TRANSATEL":          {Auth: &configv1.EndpointAuth_Header{Header: &configv1.HeaderAuth{Name: "X-Api-Key", Value: "hush"}}},
}

// One event, planned for an endpoint of each profile, arrives in the form of its profile, during a rotation of secrets.
func TestProfiles_ArriveAsTheyAreSpecified(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		arrived := make(chan struct {
			profile string
			received
		}, 100)
		receiver, err := fleet.StartReceiver(ctx, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // the sender went away
			}
			arrived <- struct {
				profile string
				received
			}{strings.TrimPrefix(r.URL.Path, "/"), received{r.Header, body}}
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer receiver.Close()
		publish := startProfiles(t, ctx, f, receiver)
		publish(t)
		got := map[string]received{}
		for len(got) < len(sentAs) {
			select {
			case a := <-arrived:
				got[a.profile] = a.received // a repeat has the same bytes
			case <-ctx.Done():
				t.Fatalf("only %v arrived", slices.Sorted(maps.Keys(got)))
			}
		}
		for profile, r := range got {
			checkProfile(t, profile, r, receiver)
		}
	})
}

// startProfiles configures an endpoint of each profile and starts the services; publish sends the event.
func startProfiles(t *testing.T, ctx context.Context, f *fleet.Fleet, receiver *fleet.Receiver) (publish func(t *testing.T)) {
	t.Helper()
	resources := []proto.Message{&configv1.Tenant{Name: "tenants/acme", Outbound: receiver.Policy()}}
	for _, profile := range slices.Sorted(maps.Keys(sentAs)) {
		id := strings.ToLower(profile)
		endpoint := &configv1.Endpoint{
			Name: "tenants/acme/endpoints/" + id, Url: receiver.URL("/" + profile), Secrets: []string{newSecret, receiver.Secret},
			CaCertificates: receiver.Authority, Profile: configv1.PayloadProfile(configv1.PayloadProfile_value["PAYLOAD_PROFILE_"+profile]), Auth: authOf[profile],
		}
		action := &configv1.Action{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: endpoint.GetName()}}}
		if profile != "CLOUDEVENTS_BINARY" && profile != "OCSIO" {
			action.Parameters = []*configv1.Parameter{{Name: "text", Template: "Zoë"}}
		}
		resources = append(resources, endpoint, &configv1.Notification{
			Name: "tenants/acme/notifications/of-" + id, Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"client.updated"}},
			Actions: []*configv1.Action{action},
		})
	}
	members := startAll(t, ctx, f, resources...)
	conn, err := f.Dial(members["ingest"].Address("grpc"))
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		t.Helper()
		publishClient(t, ctx, conn, "c 1")
	}
}

// publishClient publishes a client.updated of client 42.
func publishClient(t *testing.T, ctx context.Context, conn grpc.ClientConnInterface, id string) {
	t.Helper()
	data, err := anypb.New(&eventv1.ClientChanged{
		Client:        &eventv1.Account{Id: "42", Name: "Zoë", Balance: &money.Money{CurrencyCode: "EUR"}},
		Contact:       &eventv1.Contact{Email: "zoe@example.com"},
		ChangedFields: []string{"balance"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ingestv1.NewIngestServiceClient(conn).Publish(ctx, &ingestv1.PublishRequest{Event: &eventv1.Event{
		Id: id, Source: "crm", Type: "client.updated", Tenant: "acme", Subject: "client/42", Correlation: "order-7", Data: data,
		Time: timestamppb.New(time.Date(2026, 3, 14, 12, 0, 0, 123_000_000, time.UTC)),
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// startAll configures an installation, starts every service of names, and returns once all are ready and work by the
// configuration.
func startAll(t *testing.T, ctx context.Context, f *fleet.Fleet, resources ...proto.Message) map[string]*fleet.Member {
	t.Helper()
	return start(t, ctx, f, names, func() int64 {
		revision, err := f.Configure(ctx, resources...)
		if err != nil {
			t.Fatal(err)
		}
		return revision
	})
}

// start starts services, config first, and returns once all are ready and work by the revision that configure has made.
func start(t *testing.T, ctx context.Context, f *fleet.Fleet, services []string, configure func() int64) map[string]*fleet.Member {
	t.Helper()
	members := map[string]*fleet.Member{}
	var revision int64
	for _, name := range services {
		m, err := f.Start(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if members[name] = m; name == "config" {
			revision = configure()
		}
	}
	for _, name := range services {
		if err := members[name].Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{stream.EventsOrdered, stream.EventsUnordered, stream.Safeguards} {
		if err := f.AwaitRevision(ctx, topic, revision); err != nil {
			t.Fatal(err)
		}
	}
	return members
}

func checkProfile(t *testing.T, profile string, r received, receiver *fleet.Receiver) {
	t.Helper()
	want, body := sentAs[profile], string(r.body)
	if before, after, ok := strings.Cut(want, "EVENTID"); ok && len(body) > len(before)+36 {
		want = before + body[len(before):len(before)+36] + after // a UUID, held by golden files
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("%s: %s", profile, diff)
	}
	for name, value := range headersOf[profile] {
		if got := r.header.Get(name); got != value {
			t.Errorf("%s: %s is %q, want %q", profile, name, got, value)
		}
	}
	if err := receiver.Verify(r.header, r.body); err != nil {
		t.Errorf("%s: %v", profile, err)
	}
	signature := ""
	if profile == "TRANSATEL" {
		mac := hmac.New(sha256.New, []byte(receiver.Secret))
		mac.Write(r.body)
		signature = "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	if got := r.header.Get("X-TSL-Signature-256"); got != signature {
		t.Errorf("%s: X-TSL-Signature-256 is %q, want %q", profile, got, signature)
	}
}
