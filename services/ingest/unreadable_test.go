package ingest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// A batch of 40 records of 1 MB zeros, a few KB compressed, is rejected by its offsets; what is before and behind it
// is taken, and the service stays ready.
func TestReject_BatchAboveTheBound(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		send := func(id string) {
			f.produce(stream.Record{Partition: 1, Value: bytesOf(t, usage(id, "447700900001", 100))})
		}
		send("before")
		bomb := make([]stream.Record, 40)
		for i := range bomb {
			bomb[i] = stream.Record{Topic: f.client.Topic(stream.EventsInbound), Partition: 1,
				Value: make([]byte, 1_000_000)}
		}
		results, err := f.client.NewProducer(stream.MaxBatch(64<<20)).ProduceResults(f.ctx, bomb...)
		if err != nil {
			t.Fatal(err)
		}
		send("behind")
		r := f.start(nil)
		f.read(stream.EventsOrdered, 2)
		rec := f.read(stream.EventsRejected, 1)[0]
		h := headersOf(rec)
		if h[event.HeaderReason] != reason.BatchTooLarge || h[event.HeaderPartition] != "1" ||
			len(h[event.HeaderSHA256]) != 64 ||
			h[event.HeaderOffset] != fmt.Sprint(results[0].Offset) ||
			h[event.HeaderLastOffset] != fmt.Sprint(results[39].Offset) ||
			h[event.HeaderSize] == "" || len(rec.Value) == 0 || len(rec.Value) > event.RejectedKept ||
			h[event.HeaderRejectedID] == "" {
			t.Errorf("rejected with %v and %d bytes", h, len(rec.Value))
		}
		f.until("the incident is counted", func() bool {
			return r.counted(t, "tollgate_stream_incidents_total", "kind", reason.BatchTooLarge) == 1 &&
				r.counted(t, "tollgate_ingest_rejected_total", "reason", reason.BatchTooLarge) == 1
		})
		f.until("the service is ready", func() bool { return len(r.env.Health.Failing()) == 0 })
	})
}

// What the broker lets in and can't be read is rejected likewise: Apache Kafka looks into batches, others do not.
func TestReject_DamagedBatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t))
	inbound := f.client.Topic(stream.EventsInbound)
	for codec, payload := range map[int16][]byte{0: []byte("no records"), 1: []byte("no gzip"),
		2: {0xff, 0xff, 0xff, 0xff, 0x0f, 1}, 3: []byte("no lz4"), 4: []byte("no zstd")} {
		streamtest.AppendRaw(t, f.cfg.Kafka.Brokers, inbound, 0, streamtest.RawBatch(payload, codec, 7))
	}
	f.produce(stream.Record{Partition: 0, Value: bytesOf(t, usage("behind", "447700900001", 100))})
	f.start(nil)
	f.read(stream.EventsOrdered, 1)
	for i, rec := range f.read(stream.EventsRejected, 5) {
		if h := headersOf(rec); h[event.HeaderLastOffset] == "" ||
			!bytes.HasPrefix(rec.Value, []byte{0, 0, 0, 0, 0, 0, 0}) {
			t.Errorf("record %d: %v", i, h)
		}
	}
}

// counted is a counter's value where a label has a value.
func (r *replica) counted(t *testing.T, name, label, value string) float64 {
	t.Helper()
	families, err := r.env.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == label && l.GetValue() == value {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}
