package scenario

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// A receiver that answers 410 has its endpoint suspended, which the configuration service shows; set to active where it is
// active, the endpoint gets what waited, in order, and shows that it is well.
func TestEndpoint_IsSuspendedShownAndActivated(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		var back atomic.Bool
		taken := make(chan string, 100)
		receiver, err := fleet.StartReceiver(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !back.Load() {
				w.WriteHeader(http.StatusGone)
				return
			}
			taken <- r.Header.Get("tollgate-sequence")
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer receiver.Close()
		const name = "tenants/acme/endpoints/crm"
		members := startAll(t, ctx, f, &configv1.Tenant{Name: "tenants/acme", Outbound: receiver.Policy()},
			&configv1.Endpoint{Name: name, Url: receiver.URL("/"), Secrets: []string{receiver.Secret}, CaCertificates: receiver.Authority},
			&configv1.Notification{
				Name: "tenants/acme/notifications/n", Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"client.updated"}},
				Actions: []*configv1.Action{{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: name}}}},
			})
		ingest, err := f.Dial(members["ingest"].Address("grpc"))
		if err != nil {
			t.Fatal(err)
		}
		config, err := f.Dial(members["config"].Address("grpc"))
		if err != nil {
			t.Fatal(err)
		}
		endpoints := configv1.NewEndpointServiceClient(config)
		publishClient(t, ctx, ingest, "1")
		publishClient(t, ctx, ingest, "2")

		suspended := awaitHealth(t, ctx, endpoints, name, configv1.EndpointState_ENDPOINT_STATE_SUSPENDED)
		if h := suspended.GetHealth(); h.GetReason() != "gone" || h.GetLastStatus() != http.StatusGone || h.GetActivation() != 1 || suspended.GetActivation() != 1 {
			t.Errorf("%v", suspended)
		}
		back.Store(true)
		activated, err := endpoints.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{
			Endpoint:   &configv1.Endpoint{Name: name, Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"status"}},
		})
		if err != nil || activated.GetActivation() != 2 {
			t.Fatal(activated, err)
		}
		for _, want := range []string{"1", "2"} {
			select {
			case got := <-taken:
				if got != want {
					t.Errorf("delivery %s arrived, want %s", got, want)
				}
			case <-ctx.Done():
				t.Fatalf("delivery %s did not arrive", want)
			}
		}
		well := awaitHealth(t, ctx, endpoints, name, configv1.EndpointState_ENDPOINT_STATE_HEALTHY)
		if h := well.GetHealth(); h.GetActivation() != 2 || h.GetFailures() != 0 || h.GetLastSuccess() == nil {
			t.Errorf("%v", well)
		}
	})
}

// awaitHealth asks until the state is shown.
func awaitHealth(t *testing.T, ctx context.Context, endpoints configv1.EndpointServiceClient, name string, state configv1.EndpointState) *configv1.Endpoint {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		e, err := endpoints.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if e.GetHealth().GetState() == state {
			return e
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("not %s, but %v", state, e.GetHealth())
		}
	}
}
