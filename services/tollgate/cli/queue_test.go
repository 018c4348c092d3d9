package cli

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/ingest"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

func TestQueueSubscribe_ShowsAndAcknowledges(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cfg := ingest.DefaultConfig()
	cfg.Kafka = stream.Config{Brokers: streamtest.Embedded(t), Prefix: "t"}
	cfg.Admin.Listen, cfg.GRPC.Listen, cfg.HTTP.Listen, cfg.Configuration.Address = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:1"
	cfg.GRPC.KeyHashes = []string{rpc.HashKey("tg_queue")}
	client, err := stream.Open(cfg.Kafka, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer command.Close(client)
	if err := client.CreateTopics(ctx, stream.Topics(2), true); err != nil {
		t.Fatal(err)
	}
	producer := client.NewProducer()
	publish := func(id string) {
		e := &event.Event{ID: id, Source: "crm", Type: "client.created", Tenant: "acme", Subject: "client/42", Time: time.Now(), ReceivedAt: time.Now(), Data: &eventv1.ClientChanged{Contact: &eventv1.Contact{Name: "Ada"}}}
		r, err := e.Record(client.Topic(stream.EventsOrdered))
		if err == nil {
			err = producer.Produce(ctx, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	publish("one")
	publish("two")
	env := daemon.NewEnv("ingest", zap.NewNop())
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- ingest.Run(serving, cfg, env) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("ingest ended with %v", err)
		}
	}()
	address, err := env.Listeners.Wait(ctx, "grpc")
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		args = append([]string{"queue", "subscribe", "--ingest", address, "--api-key", "tg_queue", "--tenant", "acme"}, args...)
		code := Run(ctx, args, command.Streams{In: &bytes.Buffer{}, Out: &out, Err: &errs}, time.Now())
		return code, out.String(), errs.String()
	}
	named := []string{"--type", "client.*", "--name", "people", "--ordered"}
	if code, _, errs := run(named...); code != exitFailed || !strings.Contains(errs, "POSITION_UNKNOWN") {
		t.Errorf("without a start: %d, %s", code, errs)
	}
	two := append(named[:len(named):len(named)], "--start", "earliest", "--limit", "2")
	if code, out, errs := run(two...); code != exitOK || strings.Count(out, "\n") != 2 ||
		!strings.Contains(out, "client.created acme/client/42 one {") || !strings.Contains(out, `"contact":{"name":"Ada"}`) {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	// A stream has little time to store that it ended in order: one that missed it is run again.
	for !endedBehind(t, ctx, client, 2) {
		if code, _, errs := run(append(two, "--reset-position")...); code != exitOK {
			t.Fatalf("%d, %s", code, errs)
		}
	}
	// It goes on behind what was shown, and nothing is marked. An event that was there before may have been on its way as the stream
	// ended, and would be.
	publish("three")
	if code, out, errs := run(append(named, "--json", "--limit", "1")...); code != exitOK || !strings.Contains(out, `"id":"three"`) ||
		strings.Contains(out, "may_have_been_seen") || !strings.Contains(out, `"cursor":"`) {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	for _, wrong := range [][]string{{"--type", "client.*", "--start", "sometime"}, {"--type", "client.*", "--name", "x", "--reset-position"}, {"--name", "x"}} {
		if code, _, errs := run(wrong...); code != exitUsage {
			t.Errorf("%v: %d, %s", wrong, code, errs)
		}
	}
}

// endedBehind is whether the stream of "people" has stored that it ended, behind so many events.
func endedBehind(t *testing.T, ctx context.Context, client *stream.Client, events int64) bool {
	t.Helper()
	topic := client.Topic(stream.EventsOrdered)
	stored, err := client.Positions(ctx, "queue.acme.people", []stream.Position{{Topic: topic}, {Topic: topic, Partition: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(stored, func(p stream.Position) bool {
		return p.Offset == events && len(strings.Fields(p.Metadata)) == 4 // the last is how far it has sent
	})
}
