package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

func batchOf(n int) []*eventv1.Event {
	out := make([]*eventv1.Event, n)
	for i := range out {
		out[i] = usage(fmt.Sprint(i), "447700900001", 1).Proto()
	}
	return out
}

func limitedFault(t *testing.T, err error, limit string) {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Throttled || f.Reason != "RATE_LIMITED" || f.RetryAfter <= 0 || f.RetryAfter > 2*time.Second || !bytes.Contains([]byte(f.Message), []byte(limit)) {
		t.Errorf("%+v", err)
	}
}

func TestLimits_RefuseAKeyAndNoOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t))
	f.stopped = time.Now()
	r := f.start(func(c *Config) {
		c.Limits.EventsPerSecond = 1000
		c.GRPC.KeyHashes = append(c.GRPC.KeyHashes, rpc.HashKey("another"))
	})
	publish := func(api ingestv1.IngestServiceClient, n int) error {
		res, err := api.PublishBatch(f.ctx, &ingestv1.PublishBatchRequest{Events: batchOf(n)})
		if err == nil && (len(res.GetResults()) != n || res.GetResults()[n-1].GetReceipt() == nil) {
			t.Errorf("%v", res)
		}
		return err
	}
	if err := publish(r.ingest, 1000); err != nil {
		t.Fatal(err)
	}
	limitedFault(t, publish(r.ingest, 1000), "events")
	_, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: batchOf(1)[0]})
	limitedFault(t, err, "events")
	one := structured(t, "a", nil)
	body := append(append(append([]byte("["), bytes.Repeat(append(one, ','), 899)...), one...), ']')
	if a := r.post(body, map[string]string{"Content-Type": "application/cloudevents-batch+json"}); a.Status != http.StatusTooManyRequests || a.Reason != "RATE_LIMITED" || a.Header.Get("Retry-After") == "" {
		t.Errorf("over HTTP: %+v", a)
	}
	address, err := r.env.Listeners.Wait(f.ctx, "grpc")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Dial(address, "another")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := publish(ingestv1.NewIngestServiceClient(conn), 1000); err != nil {
		t.Errorf("another key: %v", err)
	}
	f.clock.Store(int64(2 * time.Second))
	if err := publish(r.ingest, 1000); err != nil {
		t.Errorf("a second later: %v", err)
	}
	if n := r.value("tollgate_ingest_limited_total"); n < 3 {
		t.Errorf("%g were counted", n)
	}
}

func TestLimits_CountBytes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t))
	f.stopped = time.Now()
	r := f.start(func(c *Config) {
		c.GRPC.MaxMessageBytes, c.HTTP.MaxBodyBytes, c.Limits.BytesPerSecond = 1<<20, 1<<20, 1<<20
	})
	var err error
	for range 100 {
		if _, err = r.ingest.PublishBatch(f.ctx, &ingestv1.PublishBatchRequest{Events: batchOf(1000)}); err != nil {
			break
		}
	}
	limitedFault(t, err, "bytes")
}

func TestLimits_SlowAStreamDownAndRefuseNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t))
	f.stopped = time.Now()
	r := f.start(func(c *Config) { c.Limits.EventsPerSecond = 5000 })
	s, err := r.ingest.PublishStream(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	const messages = 8
	go func() {
		for range messages {
			if s.Send(&ingestv1.PublishStreamRequest{Events: batchOf(1000)}) != nil {
				return
			}
		}
		_ = s.CloseSend()
	}()
	if n := receipts(t, s); n != messages*1000 {
		t.Errorf("%d were accepted", n)
	}
	if n := r.value("tollgate_ingest_limited_total"); n < 1 {
		t.Error("nothing waited")
	}
}

// receipts reads a stream to its end and counts the accepted events.
func receipts(t *testing.T, s ingestv1.IngestService_PublishStreamClient) (n int) {
	t.Helper()
	for {
		res, err := s.Recv()
		if err != nil {
			return n
		}
		for _, one := range res.GetResults() {
			if one.GetReceipt() == nil {
				t.Fatalf("%v", one)
			}
			n++
		}
	}
}

// A sender that never reads answers is held back by its own connection: nothing grows here.
func TestPublishStream_SenderThatReadsNoAnswersIsHeldBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t))
	r := f.start(nil)
	s, err := r.ingest.PublishStream(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	const messages = 2000
	var sent atomic.Int64
	all := make(chan struct{})
	go func() {
		defer close(all)
		for range messages {
			if s.Send(&ingestv1.PublishStreamRequest{Events: batchOf(100)}) != nil {
				return
			}
			sent.Add(1)
		}
		_ = s.CloseSend()
	}()
	last, same := int64(-1), 0
	f.until("the sender is held back", func() bool {
		if n := sent.Load(); n != last {
			last, same = n, 0
		}
		same++
		return same > 100 && last > 0
	})
	select {
	case <-all:
		t.Fatalf("%d messages were taken without an answer being read", sent.Load())
	default:
	}
	if held := r.value("tollgate_ingest_held_bytes"); held > 64<<20 {
		t.Errorf("%g bytes are held", held)
	}
	if n := receipts(t, s); n != messages*100 {
		t.Errorf("%d were accepted once answers were read", n)
	}
}
