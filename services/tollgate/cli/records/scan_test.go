package records

import (
	"io"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

func TestVolume_IsTheRateOverTheTimeKept(t *testing.T) {
	v := Volume{Records: 3600, Size: 1024, Over: time.Hour}
	if got, want := v.Bytes(7*24*time.Hour), 7*24*3600*1024.0; got != want {
		t.Errorf("%g bytes, want %g", got, want)
	}
}

func TestWritten_CountsWhatIsYoungerThanItsTime(t *testing.T) {
	cfg := stream.Config{Brokers: streamtest.Embedded(t), Prefix: streamtest.NewPrefix(t)}
	client, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	const topic = "deliveries.attempts"
	if err := client.CreateTopics(t.Context(), []stream.TopicSpec{{Name: topic, Partitions: 2, Replication: 1}}, true); err != nil {
		t.Fatal(err)
	}
	streams := command.Streams{Out: io.Discard, Err: io.Discard}
	if v, err := Written(t.Context(), client, streams, topic, time.Hour); err != nil || v.Records != 0 || v.Bytes(time.Hour) != 0 {
		t.Errorf("of nothing: %+v, %v", v, err)
	}
	producer := client.NewProducer()
	defer producer.Close(t.Context())
	now := time.Now()
	var all []stream.Record
	for i := range 10 {
		at := now.Add(-time.Minute)
		if i < 4 {
			at = now.Add(-2 * time.Hour)
		}
		all = append(all, stream.Record{Topic: client.Topic(topic), Partition: int32(i % 2), Time: at, Key: []byte("key"), Value: make([]byte, 97)})
	}
	if err := producer.Produce(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	v, err := Written(t.Context(), client, streams, topic, time.Hour)
	if err != nil || v.Records != 6 || v.Size != 100 {
		t.Errorf("written %+v, %v; want 6 records of 100 bytes", v, err)
	}
}
