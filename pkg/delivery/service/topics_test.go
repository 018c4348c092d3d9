package service_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

func TestCheckTopics_RequiresEveryWrittenTopic(t *testing.T) {
	cfg := stream.Config{Brokers: streamtest.Embedded(t), Prefix: streamtest.NewPrefix(t)}
	client, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	create := func(names ...string) {
		var specs []stream.TopicSpec
		for _, s := range table.Topics(2) {
			for _, name := range names {
				if s.Name == name {
					specs = append(specs, s)
				}
			}
		}
		if err := client.CreateTopics(t.Context(), specs, true); err != nil {
			t.Fatal(err)
		}
	}
	create(webhook.Channel.Topic, stream.DeliveriesAttempts)
	_, err = service.CheckTopics(t.Context(), client, webhook.Channel.Topic, 6*24*time.Hour)
	for _, name := range []string{stream.DeliveriesDead, stream.EventsRejected, stream.EventsOrdered, stream.StateSnapshots} {
		if !errors.Is(err, stream.ErrUnknownTopic) || !strings.Contains(err.Error(), client.Topic(name)) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	create(stream.DeliveriesDead, stream.EventsRejected, stream.EventsOrdered, stream.StateSnapshots)
	if n, err := service.CheckTopics(t.Context(), client, webhook.Channel.Topic, 6*24*time.Hour); n != 2 || err != nil {
		t.Errorf("with all topics: %d, %v", n, err)
	}
	// Retention is that of the table: 7 days.
	_, err = service.CheckTopics(t.Context(), client, webhook.Channel.Topic, 6*24*time.Hour+time.Millisecond)
	for _, name := range []string{webhook.Channel.Topic, stream.DeliveriesAttempts} {
		if err == nil || !strings.Contains(err.Error(), client.Topic(name)+": retention.ms is 604800000, must be 604800001") {
			t.Errorf("with a retention of %s that is too short: %v", name, err)
		}
	}
}
