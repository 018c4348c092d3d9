package webhook

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

const testKey = "tg_a-key-of-a-test"

// tester calls TestService as it is deployed.
func (f *fixture) tester() deliveryv1.TestServiceClient {
	f.Helper()
	f.cfg.GRPC.KeyHashes = append(f.cfg.GRPC.KeyHashes, rpc.HashKey(testKey))
	r := f.start()
	address, err := r.env.Listeners.Wait(f.ctx, "grpc")
	if err != nil {
		f.Fatal(err)
	}
	conn, err := rpc.Dial(address, testKey, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	return deliveryv1.NewTestServiceClient(conn)
}

// sendTest sends one, and waits for the service to have its configuration.
func (f *fixture) sendTest(client deliveryv1.TestServiceClient, req *deliveryv1.SendTestRequest) (*deliveryv1.SendTestResponse, error) {
	for {
		answer, err := client.SendTest(f.ctx, req)
		if fault.ReasonOf(err) != "CONFIG_NOT_READ" {
			return answer, err
		}
	}
}

func named(name string) *deliveryv1.SendTestRequest {
	return &deliveryv1.SendTestRequest{Target: &deliveryv1.SendTestRequest_Name{Name: name}}
}

func TestSendTest_IsSentAsDeliveriesAreAndRecordedNowhere(t *testing.T) {
	onServers(t, func(f *fixture) {
		r := newReceiver(f.T, "r")
		f.configureWith(func(e *configv1.Endpoint) { e.Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT; e.Paused = true }, r)
		client := f.tester()
		answer, err := f.sendTest(client, named(r.name))
		if err != nil {
			f.Fatal(err)
		}
		a := answer.GetAttempt()
		got := r.receipts(f, 1)[0]
		if got.verified != nil || got.id != a.GetDelivery() || got.body != string(answer.GetBody()) || got.sequence != "" {
			t.Errorf("received %+v, answered %v", got, answer)
		}
		var body struct{ Type, Tenant, ID string }
		if err := json.Unmarshal(answer.GetBody(), &body); err != nil || body.Type != "safeguard.alert" || body.Tenant != "acme" || !strings.HasPrefix(body.ID, "test-") {
			t.Errorf("sent %s: %v", answer.GetBody(), err)
		}
		if a.GetStatus() != 204 || a.GetEndpoint() != r.name || a.GetPhases().GetTotal() == nil || a.GetOffset() != 0 || a.GetTopic() != "" {
			t.Errorf("%v", a)
		}
		for _, h := range a.GetRequestHeaders() {
			if h.GetValue() == "hush" {
				t.Error("a key is answered")
			}
		}
		f.attempts(func(all []*deliveryv1.Attempt) bool {
			if len(all) != 0 {
				t.Errorf("recorded %v", all)
			}
			return true
		})

		r.respond(func(int) int { return http.StatusTeapot })
		if answer, err = f.sendTest(client, named(r.name)); err != nil || answer.GetAttempt().GetStatus() != 418 || string(answer.GetAttempt().GetResponseBody()) != "because" {
			t.Errorf("%v %v", answer, err)
		}
		r.server.Close()
		if answer, err = f.sendTest(client, named(r.name)); err != nil || answer.GetAttempt().GetErrorClass() != "connect" {
			t.Errorf("%v %v", answer, err)
		}
	})
}

func TestSendTest_OfAnEndpointThatIsNotStored(t *testing.T) {
	onServers(t, func(f *fixture) {
		r, stored := newReceiver(f.T, "r"), newReceiver(f.T, "stored")
		f.configureWith(func(*configv1.Endpoint) {}, stored)
		client := f.tester()
		inline := func(change func(*configv1.Endpoint)) *deliveryv1.SendTestRequest {
			e := &configv1.Endpoint{Name: r.name, Url: stored.url + "/x", CaCertificates: stored.ca, Secrets: []string{stored.secret}}
			change(e)
			return &deliveryv1.SendTestRequest{Target: &deliveryv1.SendTestRequest_Endpoint{Endpoint: e}}
		}
		answer, err := f.sendTest(client, inline(func(*configv1.Endpoint) {}))
		if err != nil || answer.GetAttempt().GetStatus() != 204 || answer.GetAttempt().GetEndpoint() != r.name {
			t.Errorf("%v %v", answer, err)
		}
		if got := stored.receipts(f, 1)[0]; got.verified != nil {
			t.Errorf("%+v", got)
		}
		_, err = f.sendTest(client, inline(func(e *configv1.Endpoint) {
			e.Name, e.Url, e.Secrets, e.CaCertificates = "tenants/nobody/endpoints/x", "http://u:p@10.0.0.1:22/", []string{"whsec_****abcd"}, "x"
		}))
		fields := map[string]bool{}
		for _, v := range fault.ViolationsOf(err) {
			fields[v.Field] = true
		}
		for _, want := range []string{"endpoint.name", "endpoint.url", "endpoint.secrets[0]", "endpoint.ca_certificates"} {
			if !fields[want] {
				t.Errorf("%s is not among the violations of %v", want, err)
			}
		}
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("%v", err)
		}
		for name, req := range map[string]*deliveryv1.SendTestRequest{
			"no target":       {},
			"an unknown name": named("tenants/acme/endpoints/none"),
			"another kind":    named("tenants/acme"),
		} {
			if _, err := f.sendTest(client, req); fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s: %v", name, err)
			}
		}
		addressed := named(stored.name)
		addressed.To = "ana@example.com"
		if _, err := f.sendTest(client, addressed); fault.KindOf(err) != fault.Invalid {
			t.Errorf("an address beside an endpoint: %v", err)
		}
		wrong := inline(func(*configv1.Endpoint) {})
		wrong.Type = "no.such"
		if _, err := f.sendTest(client, wrong); fault.KindOf(err) != fault.Invalid {
			t.Errorf("a type that is not known: %v", err)
		}
		if n := len(stored.receipts(f, 1)); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestSendTest_NeedsAKey(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.configureWith(func(*configv1.Endpoint) {})
		r := f.start()
		address, err := r.env.Listeners.Wait(f.ctx, "grpc")
		if err != nil {
			f.Fatal(err)
		}
		conn, err := rpc.Dial(address, "tg_wrong")
		if err != nil {
			f.Fatal(err)
		}
		defer conn.Close()
		stranger := deliveryv1.NewTestServiceClient(conn)
		_, err = stranger.SendTest(metadata.NewOutgoingContext(f.ctx, nil), named("x"), grpc.WaitForReady(true))
		for status.Code(err) == codes.Unavailable && f.ctx.Err() == nil { // until tenants' keys are known
			_, err = stranger.SendTest(f.ctx, named("x"))
		}
		if fault.KindOf(err) != fault.Unauthenticated && status.Code(err) != codes.Unauthenticated {
			t.Errorf("%v", err)
		}
	})
}

// Every type renders in every profile.
func TestSendTest_EveryTypeInEveryProfile(t *testing.T) {
	for number, profile := range configv1.PayloadProfile_name {
		decoded, faults := webhook.Decode(&configv1.Endpoint{Name: "tenants/acme/endpoints/e", Profile: configv1.PayloadProfile(number)})
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		e := prepare(decoded, &configclient.Tenant{}, nil)
		tests := &tests{clock: time.Now}
		for _, typ := range event.Types() {
			d, err := tests.delivery(e, typ.Name)
			if err != nil || !json.Valid(d.Body) || d.ID == "" {
				t.Errorf("%s in %s: %v", typ.Name, profile, err)
			}
		}
	}
}

func TestSendTest_AtMostSixteenAtOnce(t *testing.T) {
	full := &tests{requests: service.NewTests(func() *configclient.Snapshot { return &configclient.Snapshot{} })}
	for range service.MaxTests {
		if _, _, err := full.requests.Begin(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := full.SendTest(context.Background(), named("x")); fault.KindOf(err) != fault.Throttled {
		t.Errorf("%v", err)
	}
}
