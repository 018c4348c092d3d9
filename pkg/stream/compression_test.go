package stream_test

import (
	"encoding/binary"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// writtenCodecs notes the codec of each batch that a cluster is asked to write, by topic.
func writtenCodecs(cluster *kfake.Cluster) func(topic string) int {
	var mu sync.Mutex
	codecs := map[string]int{}
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range topic.Partitions {
				const attributes = 21 // of a record batch, version 2
				codecs[topic.Topic] = int(binary.BigEndian.Uint16(p.Records[attributes:]) & 7)
			}
		}
		return nil, nil, false
	})
	return func(topic string) int {
		mu.Lock()
		defer mu.Unlock()
		return codecs[topic]
	}
}

// An lz4 batch crashed a client that knows gzip only.
func TestProduce_UsesTheCodecOfTheTopic(t *testing.T) {
	const gzip, snappy, lz4, zstd = 1, 2, 3, 4
	for _, test := range []struct {
		name             string
		compression      stream.Compression
		public, internal int
	}{
		{"by default", stream.Compression{}, gzip, lz4},
		{"as set", stream.Compression{Public: "none", Internal: "zstd"}, 0, zstd},
		{"public alone", stream.Compression{Public: "snappy"}, snappy, lz4},
	} {
		t.Run(test.name, func(t *testing.T) {
			cluster := streamtest.EmbeddedCluster(t)
			codec := writtenCodecs(cluster)
			c, err := stream.Open(stream.Config{Brokers: cluster.ListenAddrs(), Prefix: "codec",
				Compression: test.compression}, zap.NewNop(), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			p := c.NewProducer()
			defer func() {
				if err := p.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}()
			for name, want := range map[string]int{
				stream.EventsOrdered: test.public, stream.Safeguards: test.public,
				stream.DeliveriesAttempts: test.public, "notifications.own": test.public,
				"deliveries.webhook": test.internal, stream.StateSnapshots: test.internal,
				stream.TriggersDecisions: test.internal,
			} {
				topic := c.Topic(name)
				if err := c.CreateTopics(t.Context(), []stream.TopicSpec{{Name: name, Partitions: 1, Replication: 1}},
					true); err != nil {
					t.Fatal(err)
				}
				// A batch of a few bytes is written as it is.
				if err := p.Produce(t.Context(), stream.Record{Topic: topic,
					Value: []byte(strings.Repeat("usage ", 2000))}); err != nil {
					t.Fatal(err)
				}
				if got := codec(topic); got != want {
					t.Errorf("%s: codec %d, want %d", name, got, want)
				}
			}
		})
	}
}
