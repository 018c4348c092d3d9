package ingest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// value is a metric of the replica.
func (r *replica) value(name string) float64 {
	r.f.Helper()
	families, err := r.env.Metrics.Gather()
	if err != nil {
		r.f.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	r.f.Fatalf("there is no %s", name)
	return 0
}

// With the broker away 200 callers of 187 KB held 376 MB, and more callers more.
func TestBudget_BoundsAllCallersTogether(t *testing.T) {
	t.Parallel()
	const budget, callers = 32 << 20, 120
	f := newFixture(t, streamtest.Embedded(t))
	link := streamtest.NewLink()
	r := f.start(func(c *Config) { c.GRPC.MaxHeldBytes, c.Kafka.Dial = budget, link.Dial })
	if a := r.post(structured(t, "first", nil),
		map[string]string{"Content-Type": "application/cloudevents+json"}); a.Status != http.StatusOK {
		t.Fatalf("%+v", a)
	}
	link.Cut()

	var events []*eventv1.Event
	batch := []byte("[")
	for i := range 800 {
		id := strings.Repeat("x", 60) + string(rune('a'+i%26))
		events = append(events, usage(id, "447700900001", 1).Proto())
		if i > 0 {
			batch = append(batch, ',')
		}
		batch = append(batch, structured(t, id, nil)...)
	}
	batch = append(batch, ']')
	answers := make(chan error, callers)
	for i := range callers {
		go func() {
			if i%2 == 0 {
				_, err := r.ingest.PublishBatch(f.ctx, &ingestv1.PublishBatchRequest{Events: events})
				answers <- err
				return
			}
			req, err := http.NewRequestWithContext(f.ctx, http.MethodPost, "http://"+r.http+"/v1/events",
				bytes.NewReader(batch))
			if err != nil {
				answers <- err
				return
			}
			req.Header.Set("Authorization", "Bearer "+testKey)
			req.Header.Set("Content-Type", event.ContentTypeBatch)
			res, err := r.browser.Do(req)
			if err != nil {
				answers <- err
				return
			}
			defer res.Body.Close()
			if res.StatusCode == http.StatusTooManyRequests && res.Header.Get("Retry-After") != "" {
				answers <- fault.New(fault.Throttled, "BUSY", "by HTTP")
				return
			}
			answers <- nil
		}()
	}
	// For a third of them there is no room, whatever is measured.
	for range callers / 3 {
		err := <-answers
		if fault.KindOf(err) != fault.Throttled || fault.ReasonOf(err) != "BUSY" {
			t.Fatalf("with the broker away one was answered %v", err)
		}
	}
	stream, err := r.ingest.PublishStream(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	f.until("a stream is turned away too", func() bool {
		if err := stream.Send(&ingestv1.PublishStreamRequest{Events: events}); err != nil {
			_, err := stream.Recv()
			e, ok := errors.AsType[*fault.Error](err)
			if !ok || e.Reason != "BUSY" || e.RetryAfter <= 0 {
				t.Errorf("it ended with %v", err)
			}
			return true
		}
		return false
	})
	if held := r.value("tollgate_ingest_held_bytes"); held > budget || held < budget/2 {
		t.Errorf("%v bytes are held of %d", held, budget)
	}
	if r.value("tollgate_ingest_busy_total") == 0 {
		t.Error("nothing is counted as turned away")
	}
	link.Mend()
	f.until("all is answered", func() bool { return r.value("tollgate_ingest_held_bytes") == 0 })
	if a := r.post(structured(t, "last", nil),
		map[string]string{"Content-Type": "application/cloudevents+json"}); a.Status != http.StatusOK {
		t.Errorf("after it all: %+v", a)
	}
}

// What is dense, many values in few bytes, weighs as what it becomes.
func TestBudget_DenseEventsWeighMore(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t))
	r := f.start(func(c *Config) { c.GRPC.MaxMessageBytes, c.GRPC.MaxHeldBytes = 1<<20, 4<<20 })
	values := make([]*structpb.Value, 20_000)
	for i := range values {
		values[i] = structpb.NewBoolValue(true)
	}
	data, err := anypb.New(&structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewListValue(&structpb.ListValue{Values: values})}})
	if err != nil {
		t.Fatal(err)
	}
	dense := usage("dense", "447700900001", 1).Proto()
	dense.Type, dense.Data = "custom.dense", data
	if size := len(data.GetValue()); size > 128<<10 {
		t.Fatalf("it has %d bytes", size)
	}
	refused := func(way string, err error) {
		t.Helper()
		if reason := fault.ReasonOf(err); reason != "BUSY" && reason != "UNDECODABLE" {
			t.Errorf("%s: %v", way, err)
		}
	}
	_, err = r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: dense})
	refused("alone", err)
	_, err = r.ingest.PublishBatch(f.ctx, &ingestv1.PublishBatchRequest{Events: []*eventv1.Event{dense, dense}})
	refused("in a batch", err)
	stream, err := r.ingest.PublishStream(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&ingestv1.PublishStreamRequest{Events: []*eventv1.Event{dense, dense}}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	refused("in a stream", err)
	body := []byte("[" + strings.Repeat("{},", 100_000) + "{}]")
	if a := r.post(body,
		map[string]string{"Content-Type": event.ContentTypeBatch}); a.Status != http.StatusTooManyRequests {
		t.Errorf("in JSON: %+v", a)
	}
}

// A body without a length takes of the budget as it comes.
func TestBudget_TakesABodyWithoutLengthAsItIsRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t))
	r := f.start(func(c *Config) { c.GRPC.MaxMessageBytes, c.GRPC.MaxHeldBytes = 1<<20, 4<<20 })
	post := func(size int, headers map[string]string) (int, http.Header) {
		req, err := http.NewRequestWithContext(f.ctx, http.MethodPost, "http://"+r.http+"/v1/events",
			struct{ *strings.Reader }{strings.NewReader(strings.Repeat(" ", size))})
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+testKey)
		req.Header.Set("Content-Type", event.ContentTypeBatch)
		for name, value := range headers {
			req.Header.Set(name, value)
		}
		res, err := r.browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode, res.Header
	}
	if status, headers := post(2<<20, nil); status != http.StatusTooManyRequests || headers.Get("Retry-After") != "1" {
		t.Errorf("more than there is room for: %d, %v", status, headers)
	}
	if status, _ := post(512<<10, nil); status != http.StatusBadRequest {
		t.Errorf("as much as there is room for: %d", status)
	}
	f.until("nothing is held", func() bool { return r.value("tollgate_ingest_held_bytes") == 0 })
}

// net/http lets a caller that still sends read the answer before the reset only where its request has the body it made.
func TestBudget_LeavesTheRequestOfTheServerItsBody(t *testing.T) {
	t.Parallel()
	budget, err := rpc.NewBudget(1<<20, daemon.NewEnv("ingest", zap.NewNop()))
	if err != nil {
		t.Fatal(err)
	}
	d := &httpAPI{limits: &limiter{}, budget: budget}
	req := httptest.NewRequest(http.MethodPost, "/v1/events", struct{ io.Reader }{strings.NewReader("x")})
	made, metered := req.Body, false
	d.withinBudget(func(_ http.ResponseWriter, r *http.Request) { metered = r.Body != made })(httptest.NewRecorder(), req)
	if !metered || req.Body != made {
		t.Errorf("the handler's body is metered: %t, the server's is its own: %t", metered, req.Body == made)
	}
}
