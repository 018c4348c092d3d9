package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// deciding are those that an action passes on its way to whom it is notified.
var deciding = []string{"config", "provision", "trigger", "webhook"}

// debtor is the client that the handler forbids.
const debtor = "666"

// askedOf is a handler: it forbids the debtor, and gives every other client a day of the bill.
func askedOf(w http.ResponseWriter, body []byte) {
	var q struct {
		Event struct {
			ObjectID json.Number `json:"object_id"`
		}
	}
	if err := json.Unmarshal(body, &q); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if q.Event.ObjectID == debtor {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"reason":"owes money"}`)
		return
	}
	_, _ = io.WriteString(w, `{"data":{"client":{"billDay":17}}}`)
}

// A client that a handler changes and allows is notified as it was decided; one that it forbids is not. The forbidden one is
// asked about before another of the same subject, which arrives: what is of one subject keeps its order.
func TestHooks_WhatIsDecidedIsNotifiedInTheJerasoftProfile(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		arrived := make(chan received, 100)
		receiver, err := fleet.StartReceiver(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			switch {
			case err != nil: // the sender went away
			case r.URL.Path == "/hook":
				askedOf(w, body)
			default:
				arrived <- received{r.Header, body}
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer receiver.Close()
		members := start(t, ctx, f, deciding, func() int64 {
			revision, err := f.Configure(ctx, hookResources(receiver)...)
			if err != nil {
				t.Fatal(err)
			}
			return revision
		})
		conn, err := f.Dial(members["provision"].Address("grpc"))
		if err != nil {
			t.Fatal(err)
		}
		decide := func(kind, id, key string) *provisionv1.DecideResponse {
			t.Helper()
			within, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			data, err := anypb.New(&eventv1.ClientChanged{
				Client:        &eventv1.Account{Id: id, Name: "Zoë", BillDay: 3, Balance: &money.Money{CurrencyCode: "EUR", Units: 12, Nanos: 500_000_000}},
				Contact:       &eventv1.Contact{Email: "zoe@example.com"},
				ChangedFields: map[bool][]string{true: {"balance"}}[kind == "client.updated"],
			})
			if err != nil {
				t.Fatal(err)
			}
			res, err := provisionv1.NewProvisioningServiceClient(conn).Decide(within, &provisionv1.DecideRequest{
				Tenant: "acme", Type: kind, ObjectId: id, Data: data, IdempotencyKey: key,
			})
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		if res := decide("client.created", debtor, "k-forbidden"); res.GetDecision() != provisionv1.Decision_DECISION_FORBID || res.GetReason() != "owes money" {
			t.Fatalf("got %v", res)
		}
		created := decide("client.created", "7401", "k-created")
		if created.GetDecision() != provisionv1.Decision_DECISION_ALLOW || created.GetHandlers()[0].GetOutcome() != provisionv1.Outcome_OUTCOME_CHANGED {
			t.Fatalf("got %v", created)
		}
		// No handler is asked about updates: behind it nothing of the debtor's creation is on its way.
		updated := decide("client.updated", debtor, "k-updated")
		want := map[string]string{
			created.GetEventId(): fmt.Sprintf(`{"event":{"dt":%q,"events_id":"clients.create","object_id":7401},"data":{"id":"7401","name":"Zoë","balance":"12.5","balanceCurrency":"EUR","billDay":17}}`,
				created.GetTime().AsTime().Format("2006-01-02T15:04:05.000Z")),
			updated.GetEventId(): fmt.Sprintf(`{"event":{"dt":%q,"events_id":"clients.update","object_id":666},"data":{"id":"666","balance":"12.5","balanceCurrency":"EUR"}}`,
				updated.GetTime().AsTime().Format("2006-01-02T15:04:05.000Z")),
		}
		seen := map[string]bool{}
		for len(seen) < len(want) {
			select {
			case r := <-arrived:
				if err := receiver.Verify(r.header, r.body); err != nil {
					t.Error(err)
				}
				id := ""
				for of, body := range want {
					if cmp.Equal(body, string(r.body)) {
						id = of
					}
				}
				if id == "" {
					t.Fatalf("arrived is %s\nwant one of %v", r.body, want)
				}
				seen[id] = true // a repeat has the same bytes
				if got := r.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
					t.Errorf("its type is %q", got)
				}
			case <-ctx.Done():
				t.Fatalf("only %v arrived", seen)
			}
		}
	})
}

// hookResources are a hook of one type, and a notification of two.
func hookResources(receiver *fleet.Receiver) []proto.Message {
	endpoint := &configv1.Endpoint{
		Name: "tenants/acme/endpoints/crm", Url: receiver.URL("/jerasoft"), Secrets: []string{receiver.Secret}, CaCertificates: receiver.Authority,
		Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_JERASOFT, PersonalData: configv1.PersonalData_PERSONAL_DATA_INCLUDE,
	}
	return []proto.Message{
		&configv1.Tenant{Name: "tenants/acme", Outbound: receiver.Policy()},
		endpoint,
		&configv1.Hook{
			Name: "tenants/acme/hooks/check", EventTypes: []string{"client.created"}, FailurePolicy: configv1.FailurePolicy_FAILURE_POLICY_FORBID,
			Timeout: durationpb.New(10 * time.Second),
			Handler: &configv1.Hook_Http{Http: &configv1.HttpHandler{Url: receiver.URL("/hook"), CaCertificates: receiver.Authority}},
		},
		&configv1.Notification{
			Name: "tenants/acme/notifications/clients", Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"client.created", "client.updated"}},
			Actions: []*configv1.Action{{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: endpoint.GetName()}}}},
		},
	}
}
