package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// ingest goes on behind a batch that can't be read, and tail once ended there for good.
func TestTail_GoesOnBehindADamagedBatch(t *testing.T) {
	ctx := t.Context()
	brokers := streamtest.Embedded(t)
	client, err := stream.Open(stream.Config{Brokers: brokers, Prefix: "t"}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer command.Close(client)
	if err := client.CreateTopics(ctx, []stream.TopicSpec{{Name: stream.EventsInbound, Partitions: 1, Replication: 1}}, true); err != nil {
		t.Fatal(err)
	}
	topic := client.Topic(stream.EventsInbound)
	producer := client.NewProducer()
	publish := func(id string) {
		e := &event.Event{ID: id, Source: "crm", Type: "client.created", Tenant: "acme", Subject: "client/42", Time: time.Now(), ReceivedAt: time.Now(), Data: &eventv1.ClientChanged{}}
		r, err := e.Record(topic)
		if err == nil {
			err = producer.Produce(ctx, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	publish("before")
	streamtest.AppendRaw(t, brokers, topic, 0, streamtest.RawBatch([]byte("no records"), 0, 3))
	publish("behind")
	if err := producer.Close(ctx); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := Run(ctx, []string{"tail", "--brokers", brokers[0], "--prefix", "t", "--topic", stream.EventsInbound, "--since", "1h", "--no-wait"},
		command.Streams{In: &bytes.Buffer{}, Out: &out, Err: &errs}, time.Now())
	if code != exitOK || strings.Count(out.String(), "\n") != 2 || !strings.Contains(out.String(), " before ") || !strings.Contains(out.String(), " behind ") {
		t.Errorf("exit code %d, shown:\n%s%s", code, out.String(), errs.String())
	}
	if want := "/0: offsets 1 to 3 can't be read: "; strings.Count(errs.String(), want) != 1 {
		t.Errorf("no %q, once, in %q", want, errs.String())
	}
}
