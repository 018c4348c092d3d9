package ingest

import (
	"bytes"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// A batch may have events of a tenant that the key does not reach: they are refused, the others are accepted.
func TestBatch_AnEventOfAnotherTenantIsRefusedByItself(t *testing.T) {
	f := newFixture(t, streamtest.Embedded(t))
	env := daemon.NewEnv("ingest", zap.NewNop())
	at := time.Now() // what is refused is counted by minute
	env.Clock = func() time.Time { return at }
	keys, err := rpc.NewServer(f.cfg.GRPC, env)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	metrics := newMetrics(prometheus.NewRegistry())
	publisher := newPublisher(f.client, anyTenant(), env.Clock, metrics, nil)
	defer func() {
		if err := publisher.producer.Close(f.ctx); err != nil {
			t.Error(err)
		}
	}()
	caller := &access.Caller{ID: "c0ffee00", Key: &access.Key{Name: "tenants/acme/apiKeys/erp", Tenant: "acme"}}
	ctx := keys.Authorizer().WithCaller(f.ctx, caller, access.PublishHTTP, "192.0.2.7:4711")

	other := usage("g-2", "447700900002", 1)
	other.Tenant = "other"
	all := &ingestv1.PublishBatchRequest{Events: []*eventv1.Event{
		usage("g-1", "447700900001", 1).Proto(), other.Proto(), usage("g-3", "447700900003", 1).Proto(),
	}}
	g := &grpcAPI{publisher: publisher, limits: &limiter{}, log: newRejections(env.Log, "grpc"), metrics: metrics.transport("grpc")}
	res, err := g.PublishBatch(ctx, all)
	if err != nil || len(res.GetResults()) != 3 {
		t.Fatalf("%v, %v", res, err)
	}
	for i, r := range res.GetResults() {
		if denied := codes.Code(r.GetError().GetCode()) == codes.PermissionDenied; denied != (i == 1) || (r.GetReceipt() == nil) != (i == 1) {
			t.Errorf("gRPC, event %d: %v", i, r)
		}
	}

	h := &httpAPI{
		limits: &limiter{}, env: env, cfg: f.cfg.HTTP, authorizer: keys.Authorizer(), log: newRejections(env.Log, "http"),
		metrics: metrics.transport("http"), publisher: publisher, object: event.Parser.JSON,
	}
	answer := httptest.NewRecorder()
	h.batch(ctx, answer, bytes.Join([][]byte{
		[]byte("["), structured(t, "h-1", nil), []byte(","), structured(t, "h-2", map[string]any{"tenant": "other"}), []byte(","), structured(t, "h-3", nil), []byte("]"),
	}, nil))
	a := readAnswer(t, answer.Result())
	if a.Status != 207 || len(a.Results) != 3 {
		t.Fatalf("%+v", a)
	}
	for i, r := range a.Results {
		if denied := r.Problem != nil && r.Problem.Reason == reason.TenantDenied && r.Status == 403; denied != (i == 1) || (r.Receipt == nil) != (i == 1) {
			t.Errorf("HTTP, event %d: %+v", i, r)
		}
	}
	for _, r := range f.read(stream.EventsOrdered, 4) {
		if e, err := event.Decode(r.Value); err != nil || e.Tenant != "acme" {
			t.Errorf("%v was accepted: %v", e, err)
		}
	}
	// Each of the two is counted for the audit.
	refusals := keys.Authorizer().Refusals().Take(time.Time{})
	if len(refusals) != 1 || refusals[0].Caller != "c0ffee00" || refusals[0].Count != 2 || refusals[0].Reasons[reason.TenantDenied] != 2 || refusals[0].Address != "192.0.2.7" {
		t.Errorf("counted: %+v", refusals)
	}
}
