package ingest

import (
	"bytes"
	"context"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// decoded calls PublishBatch with a message of the wire, and returns the refusal and how many
// events it was handed.
func decoded(t *testing.T, wire []byte) (events int, err error) {
	t.Helper()
	for _, m := range bounded().Methods {
		if m.MethodName != "PublishBatch" {
			continue
		}
		api := &grpcAPI{limits: &limiter{}}
		decode := func(into any) error { return proto.Unmarshal(wire, into.(proto.Message)) }
		_, err = m.Handler(api, t.Context(), decode, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo,
			handler grpc.UnaryHandler) (any, error) {
			events = len(req.(*ingestv1.PublishBatchRequest).GetEvents())
			if events <= maxBatch {
				return nil, nil // it would be published
			}
			return handler(ctx, req)
		})
		return events, err
	}
	t.Fatal("there is no PublishBatch")
	return 0, nil
}

// Eight mebibytes of empty events were four million messages in memory before they were counted.
func TestPublishBatch_IsCountedBeforeItIsDecoded(t *testing.T) {
	empty := []byte{0x0a, 0x00}
	wire := bytes.Repeat(empty, 1<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	events, err := decoded(t, wire)
	runtime.ReadMemStats(&after)
	if events != maxBatch+1 || fault.ReasonOf(err) != reason.BatchTooLarge {
		t.Errorf("%d events decoded: %v", events, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 8*uint64(len(wire)) {
		t.Errorf("%d bytes took %d bytes of memory", len(wire), took)
	}
	if events, err := decoded(t, bytes.Repeat(empty, maxBatch)); events != maxBatch || err != nil {
		t.Errorf("as many as are allowed: %d, %v", events, err)
	}
	if _, err := decoded(t,
		[]byte{0x0a, 0x02, 0x0a, 0x05}); fault.ReasonOf(fault.FromGRPC(err)) != reason.Undecodable {
		t.Errorf("malformed: %v", err)
	}
	whole := &ingestv1.PublishBatchRequest{Events: []*eventv1.Event{usage("1", "447700900001", 1).Proto()}}
	wire, err = proto.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if got := upTo(maxBatch+1, wire); !bytes.Equal(got, wire) {
		t.Error("a batch was changed")
	}
}

func TestPublishStream_MessageIsCountedBeforeItIsDecoded(t *testing.T) {
	one, two := usage("1", "447700900001", 1).Proto(), usage("2", "447700900001", 1).Proto()
	for name, tt := range map[string]struct {
		req  *ingestv1.PublishStreamRequest
		want []*eventv1.Event
	}{
		"one event":               {&ingestv1.PublishStreamRequest{Event: one}, []*eventv1.Event{one}},
		"several":                 {&ingestv1.PublishStreamRequest{Events: []*eventv1.Event{two, one}}, []*eventv1.Event{two, one}},
		"one and several":         {&ingestv1.PublishStreamRequest{Event: one, Events: []*eventv1.Event{two, two}}, []*eventv1.Event{one, two, two}},
		"none is one without all": {&ingestv1.PublishStreamRequest{}, []*eventv1.Event{{}}},
	} {
		wire, err := proto.Marshal(tt.req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := eventsOf(wire)
		if err != nil || len(got) != len(tt.want) {
			t.Errorf("%s: %d events, %v", name, len(got), err)
			continue
		}
		for i := range got {
			var e eventv1.Event
			if err := proto.Unmarshal(got[i], &e); err != nil || !proto.Equal(&e, tt.want[i]) {
				t.Errorf("%s: event %d is %v: %v", name, i, &e, err)
			}
		}
	}
	empty := []byte{0x12, 0x00}
	if got, err := eventsOf(bytes.Repeat(empty, maxBatch)); len(got) != maxBatch || err != nil {
		t.Errorf("as many as are allowed: %d, %v", len(got), err)
	}
	if _, err := eventsOf(bytes.Repeat(empty, maxBatch+1)); fault.ReasonOf(err) != reason.BatchTooLarge {
		t.Errorf("one more: %v", err)
	}
	if _, err := eventsOf([]byte{0x12, 0x05, 0x00}); fault.ReasonOf(err) != reason.Undecodable {
		t.Errorf("cut off: %v", err)
	}
}

func TestPanic_HTTPBatchRejectsItsEventAlone(t *testing.T) {
	env := daemon.NewEnv("ingest", zap.NewNop())
	metrics := newMetrics(prometheus.NewRegistry())
	d := &httpAPI{limits: &limiter{},
		env: env, cfg: DefaultConfig().HTTP, log: newRejections(env.Log, "http"), metrics: metrics.transport("http"),
		publisher: &publisher{tenants: anyTenant(), clock: env.Clock, metrics: metrics},
		object: func(p event.Parser, object []byte) (*event.Event, error) {
			if string(object) == `"panic"` {
				panic("at the disco")
			}
			return p.JSON(object)
		},
	}
	answer := httptest.NewRecorder()
	d.batch(t.Context(), answer, []byte(`["bad","panic","bad"]`))
	a := readAnswer(t, answer.Result())
	if a.Status != 207 || len(a.Results) != 3 {
		t.Fatalf("%+v", a)
	}
	for i, want := range []string{reason.Undecodable, reason.Panic, reason.Undecodable} {
		if got := a.Results[i].Problem.Reason; got != want {
			t.Errorf("event %d: %s, not %s", i, got, want)
		}
	}
}

func TestPanic_SingleEventIsAnswered(t *testing.T) {
	f := newFixture(t, streamtest.Embedded(t))
	metrics := newMetrics(prometheus.NewRegistry())
	env := daemon.NewEnv("ingest", zap.NewNop())
	keys, err := rpc.NewServer(f.cfg.GRPC, daemon.NewEnv("keys", zap.NewNop()))
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	d := &httpAPI{limits: &limiter{},
		env: env, cfg: f.cfg.HTTP, authorizer: keys.Authorizer(), log: newRejections(env.Log, "http"),
		metrics:   metrics.transport("http"),
		publisher: newPublisher(f.client, anyTenant(), env.Clock, metrics, nil),
		one:       func(event.Parser, request) (*event.Event, error) { panic("at the disco") },
	}
	req := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/events", strings.NewReader("{}"))
	req.Header.Set("Authorization", "Bearer "+testKey)
	answer := httptest.NewRecorder()
	d.events(answer, req)
	if a := readAnswer(t, answer.Result()); a.Reason != reason.Panic {
		t.Errorf("%+v", a)
	}
}
