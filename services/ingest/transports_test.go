package ingest

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

func TestIngest_TakesEventsByEveryTransport(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		began := time.Now().Add(-time.Second).Truncate(time.Millisecond)

		f.produce(
			stream.Record{Key: []byte("k"), Value: bytesOf(t, usage("kafka-protobuf", "447700900001", 100))},
			stream.Record{Value: structured(t, "kafka-structured", nil),
				Headers: []stream.Header{{Key: "content-type",
					Value: []byte("application/cloudevents+json; charset=utf-8")}}},
		)
		published, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: usage("grpc", "447700900001",
			100).Proto()})
		if err != nil {
			t.Fatal(err)
		}
		if got := published.GetReceipt(); got.GetId() != "grpc" ||
			got.GetTopic() != f.client.Topic(stream.EventsOrdered) || got.GetReceivedAt() == nil {
			t.Errorf("receipt %v", got)
		}
		batch, err := r.ingest.PublishBatch(f.ctx,
			&ingestv1.PublishBatchRequest{Events: []*eventv1.Event{usage("grpc-batch", "447700900001", 100).Proto()}})
		if err != nil || batch.GetResults()[0].GetReceipt().GetId() != "grpc-batch" {
			t.Fatal(err, batch)
		}
		if a := r.post(structured(t, "http", nil),
			map[string]string{"Content-Type": "application/cloudevents+json"}); a.Status != 200 || a.ID != "http" {
			t.Errorf("%+v", a)
		}
		if a := r.post([]byte(`{"net":{"currencyCode":"EUR","units":"1"}}`), map[string]string{
			"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "http-binary", "ce-source": "crm", "ce-type": "usage.charged",
			"ce-tenant": "acme", "ce-subject": "447700900001", "ce-time": "2026-03-01T10:00:00Z",
		}); a.Status != 200 || a.ID != "http-binary" {
			t.Errorf("%+v", a)
		}
		hook := structured(t, "http-batch-2", map[string]any{"type": "billrun.failed", "subject": nil,
			"data": map[string]any{}})
		if a := r.post([]byte("["+string(structured(t, "http-batch", nil))+","+string(hook)+"]"),
			map[string]string{"Content-Type": "application/cloudevents-batch+json"}); a.Status != 200 ||
			len(a.Results) != 2 {
			t.Errorf("%+v", a)
		}

		want := map[string]bool{"kafka-protobuf": true, "kafka-structured": true, "grpc": true, "grpc-batch": true,
			"http": true, "http-binary": true, "http-batch": true}
		for _, rec := range f.read(stream.EventsOrdered, len(want)) {
			e, err := event.Decode(rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !want[e.ID] {
				t.Errorf("%q was not sent, or is there twice", e.ID)
			}
			delete(want, e.ID)
			if string(rec.Key) != "acme/447700900001" || !rec.Time.Equal(e.ReceivedAt) || e.ReceivedAt.Before(began) ||
				headersOf(rec)[event.HeaderID] != e.ID || headersOf(rec)[event.HeaderTenant] != "acme" {
				t.Errorf("%q: key %q, stamped %v, received %v, headers %v", e.ID, rec.Key, rec.Time, e.ReceivedAt,
					headersOf(rec))
			}
		}
		if len(want) > 0 {
			t.Errorf("never came: %v", want)
		}
		if rec := f.read(stream.EventsUnordered, 1)[0]; rec.Key != nil ||
			headersOf(rec)[event.HeaderID] != "http-batch-2" {
			t.Errorf("unordered: key %q, %v", rec.Key, headersOf(rec))
		}
		f.until("it is ready", func() bool { return len(r.env.Health.Failing()) == 0 })
	})
}

// What a producer's transaction aborts is not taken, what it commits is; transactions of two producers lie between each
// other.
func TestKafka_AbortedTransactionIsNotTaken(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		var producers []*kgo.Client
		for _, id := range []string{"a", "b"} {
			c, err := kgo.NewClient(kgo.SeedBrokers(f.cfg.Kafka.Brokers...), kgo.TransactionalID(f.cfg.Kafka.Prefix+id),
				kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			producers = append(producers, c)
		}
		f.start(nil)
		want := map[string]bool{}
		for i := range 8 {
			for _, c := range producers {
				if err := c.BeginTransaction(); err != nil {
					t.Fatal(err)
				}
			}
			for n := range 6 {
				id := fmt.Sprintf("%d-%d", i, n)
				record := &kgo.Record{Topic: f.client.Topic(stream.EventsInbound), Partition: 1,
					Value: bytesOf(t, usage(id, "447700900001", 100))}
				if err := producers[n%2].ProduceSync(f.ctx, record).FirstErr(); err != nil {
					t.Fatal(err)
				}
				if (i>>(n%2))&1 == 0 {
					want[id] = true
				}
			}
			for n, c := range producers {
				if err := c.EndTransaction(f.ctx, kgo.TransactionEndTry((i>>n)&1 == 0)); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.produce(stream.Record{Partition: 1, Value: bytesOf(t, usage("last", "447700900001", 100))})
		want["last"] = true
		for _, rec := range f.read(stream.EventsOrdered, len(want)) {
			e, err := event.Decode(rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !want[e.ID] {
				t.Errorf("%s was taken, or taken twice", e.ID)
			}
			delete(want, e.ID)
		}
		if len(want) > 0 {
			t.Errorf("not taken: %v", want)
		}
	})
}
