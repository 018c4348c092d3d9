package ingest

import (
	"context"
	"net"
	"strconv"
	"testing"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// tenantService answers a page a tenant.
type tenantService struct {
	configv1.UnimplementedTenantServiceServer
	names []string
}

func (s *tenantService) ListTenants(_ context.Context,
	req *configv1.ListTenantsRequest) (*configv1.ListTenantsResponse, error) {
	at, _ := strconv.Atoi(req.GetPageToken())
	res := &configv1.ListTenantsResponse{Tenants: []*configv1.Tenant{{Name: "tenants/" + s.names[at]}}}
	if at++; at < len(s.names) {
		res.NextPageToken = strconv.Itoa(at)
	}
	return res, nil
}

func TestTenants_EverySourceRefusesUnknownTenants(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		listener, err := (&net.ListenConfig{}).Listen(f.ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		configv1.RegisterTenantServiceServer(server, &tenantService{names: []string{"other", "acme"}})
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		t.Cleanup(func() {
			server.Stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		r := f.start(func(cfg *Config) { cfg.Configuration.Address = listener.Addr().String() })

		of := func(id, tenant string) *event.Event {
			e := usage(id, "447700900001", 100)
			e.Tenant = tenant
			return e
		}
		check := func(source string, err error) {
			t.Helper()
			if v := fault.ViolationsOf(err); fault.ReasonOf(err) != reason.UnknownTenant || len(v) != 1 ||
				v[0].Field != "tenant" {
				t.Errorf("%s: %v", source, err)
			}
		}
		_, err = r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: of("1", "unknown").Proto()})
		check("Publish", err)
		batch, err := r.ingest.PublishBatch(f.ctx, &ingestv1.PublishBatchRequest{Events: []*eventv1.Event{of("2",
			"acme").Proto(), of("3", "unknown").Proto(), of("4", "other").Proto()}})
		if err != nil {
			t.Fatal(err)
		}
		checkResults(t, batch.GetResults(), check)
		if a := r.post(structured(t, "5", map[string]any{"tenant": "unknown"}),
			map[string]string{"Content-Type": event.ContentTypeCloudEvent}); a.Status != 400 ||
			a.Reason != reason.UnknownTenant {
			t.Errorf("%+v", a)
		}
		f.produce(stream.Record{Value: bytesOf(t, of("6", "unknown"))},
			stream.Record{Value: bytesOf(t, of("7", "acme"))})
		if rejected := f.read(stream.EventsRejected, 1); len(rejected) != 1 ||
			headersOf(rejected[0])[event.HeaderReason] != reason.UnknownTenant {
			t.Errorf("%v", rejected)
		}
		if got := len(f.read(stream.EventsOrdered, 3)); got != 3 {
			t.Errorf("%d events were accepted", got)
		}
	})
}
