package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"

	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// position is where a record is.
type position struct {
	topic     string
	partition int32
	offset    int64
}

// refusal is a record that must be on events.rejected: as it was received, with the reason.
type refusal struct {
	reason     string
	key, value []byte
}

// producers sends by every transport.
type producers struct {
	testing.TB
	ctx    context.Context
	fleet  *fleet.Fleet
	ingest *fleet.Member
	grpc   ingestv1.IngestServiceClient
	http   *http.Client

	// refused are those records of events.inbound that ingest must reject.
	refused map[position]refusal
}

func newProducers(t testing.TB, ctx context.Context, f *fleet.Fleet, ingest *fleet.Member) *producers {
	conn, err := f.Dial(ingest.Address("grpc"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &producers{
		TB: t, ctx: ctx, fleet: f, ingest: ingest, grpc: ingestv1.NewIngestServiceClient(conn),
		http: &http.Client{Transport: transport}, refused: map[position]refusal{},
	}
}

// send sends items by their transports, at once, each in order, and returns once every transport has answered for all.
func (p *producers) send(items []item) {
	p.Helper()
	byTransport := make([][]item, 3)
	for _, it := range items {
		byTransport[it.transport] = append(byTransport[it.transport], it)
	}
	ended := make(chan error, 3)
	go func() { ended <- p.produce(byTransport[byKafka]) }()
	go func() { ended <- p.publish(byTransport[byGRPC]) }()
	go func() { ended <- p.post(byTransport[byHTTP]) }()
	for range 3 {
		if err := <-ended; err != nil {
			p.Fatal(err)
		}
	}
}

// produce writes to events.inbound as independent producers do: protobuf, and every mode of
// CloudEvents.
func (p *producers) produce(items []item) error {
	producer := p.fleet.Client.NewProducer()
	topic := p.fleet.Client.Topic(stream.EventsInbound)
	const group = 2000
	for len(items) > 0 {
		n := min(group, len(items))
		records := make([]stream.Record, n)
		for i, it := range items[:n] {
			records[i] = p.record(i, it)
			records[i].Topic, records[i].Partition = topic, stream.AnyPartition
		}
		results, err := producer.ProduceResults(p.ctx, records...)
		if err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		for i, it := range items[:n] {
			if it.refused != "" {
				p.refused[position{topic, results[i].Partition, results[i].Offset}] = refusal{it.refused, records[i].Key, records[i].Value}
			}
		}
		items = items[n:]
	}
	return producer.Close(p.ctx)
}

func (p *producers) record(i int, it item) stream.Record {
	if it.raw != nil {
		return stream.Record{Key: []byte("none"), Value: it.raw}
	}
	form := asEvent
	switch i % 10 {
	case 0:
		form = asObject
	case 1:
		form = asBinaryJSON
	case 2:
		form = asBinaryProtobuf
	}
	return form.record(p, it.event)
}

// publish sends by PublishStream, and compares every answer with what is expected.
func (p *producers) publish(items []item) error {
	if len(items) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	calls, err := p.grpc.PublishStream(ctx)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	go func() {
		for _, it := range items {
			if calls.Send(&ingestv1.PublishStreamRequest{Event: it.event}) != nil {
				return // Recv returns what ended the stream
			}
		}
		calls.CloseSend() //nolint:errcheck // Recv returns it
	}()
	for len(items) > 0 {
		answer, err := calls.Recv()
		if err != nil {
			return fmt.Errorf("%d events without an answer: %w", len(items), err)
		}
		for i, result := range answer.GetResults() {
			if got := reasonOf(result.GetError()); got != items[i].refused {
				return fmt.Errorf("gRPC answers %q to %v, want %q", got, items[i].event.GetId(), items[i].refused)
			}
		}
		items = items[len(answer.GetResults()):]
	}
	if _, err := calls.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the stream ends with %w", err)
	}
	return nil
}

func reasonOf(s *status.Status) string {
	if s == nil {
		return ""
	}
	for _, detail := range s.GetDetails() {
		if m, err := detail.UnmarshalNew(); err == nil {
			if info, ok := m.(*errdetails.ErrorInfo); ok {
				return info.GetReason()
			}
		}
	}
	return s.GetMessage()
}

// post sends by HTTP: batches, and alone what is not an event or fits into no batch.
func (p *producers) post(items []item) error {
	var batch []item
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := p.postBatch(batch)
		batch = batch[:0]
		return err
	}
	for _, it := range items {
		if it.raw == nil && it.refused != "TOO_LARGE" {
			if batch = append(batch, it); len(batch) == 200 {
				if err := flush(); err != nil {
					return err
				}
			}
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		body := it.raw
		if body == nil {
			body = cloudEvent(p, it.event)
		}
		var problem struct{ Reason string }
		if _, err := p.request("application/cloudevents+json", body, &problem); err != nil {
			return err
		}
		if problem.Reason != it.refused {
			return fmt.Errorf("HTTP answers %q to %.20q, want %q", problem.Reason, body, it.refused)
		}
	}
	return flush()
}

func (p *producers) postBatch(items []item) error {
	body := []byte("[")
	for i, it := range items {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, cloudEvent(p, it.event)...)
	}
	var answer struct {
		Results []struct {
			Status  int
			Problem struct{ Reason string }
		}
	}
	code, err := p.request("application/cloudevents-batch+json", append(body, ']'), &answer)
	if err != nil {
		return err
	}
	if len(answer.Results) != len(items) {
		return fmt.Errorf("HTTP answers %d with %d results for %d events", code, len(answer.Results), len(items))
	}
	for i, result := range answer.Results {
		if result.Problem.Reason != items[i].refused || (result.Status == http.StatusOK) != (items[i].refused == "") {
			return fmt.Errorf("HTTP answers %d %q to %v, want %q", result.Status, result.Problem.Reason, items[i].event.GetId(), items[i].refused)
		}
	}
	return nil
}

func (p *producers) request(contentType string, body []byte, answer any) (int, error) {
	return p.requestWith(map[string]string{"content-type": contentType}, body, answer)
}

func (p *producers) requestWith(headers map[string]string, body []byte, answer any) (int, error) {
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPost, "http://"+p.ingest.Address("http")+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+p.fleet.Key)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	res, err := p.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return res.StatusCode, fmt.Errorf("HTTP answers %d without JSON: %w", res.StatusCode, err)
	}
	return res.StatusCode, nil
}

// publishOne sends one event that is accepted.
func (p *producers) publishOne(e *eventv1.Event) {
	p.Helper()
	if _, err := p.grpc.Publish(p.ctx, &ingestv1.PublishRequest{Event: e}); err != nil {
		p.Fatal(err)
	}
}
