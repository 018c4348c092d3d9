package ingest

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/trace"
	"github.com/tollgate/tollgate/pkg/trace/tracetest"
)

const producers = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func openTracer(t testing.TB, c trace.Config) *trace.Tracer {
	t.Helper()
	tracer, err := trace.Open(t.Context(), c, "ingest", zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracer.Close(t.Context()) })
	return tracer
}

func publisherOf(tracer *trace.Tracer) *publisher {
	return &publisher{trace: tracer, clock: time.Now, ordered: "events.ordered", unordered: "events.unordered"}
}

// A recorded event goes on under its own span's id, the same each time; one that is not keeps what it came with.
func TestTrace_TheEventGoesOnUnderItsOwnSpan(t *testing.T) {
	collector := tracetest.New(t)
	p := publisherOf(openTracer(t, trace.Config{Endpoint: collector.Address, Ratio: 1, ParentRatio: 1}))
	accept := func(e *event.Event, err error) string {
		s := p.stopOf(e, "kafka")
		made, failed := p.stamp(e, p.now())
		if failed != nil {
			t.Fatal(failed)
		}
		made.stop = s
		p.recordAccepted([]entry{made, {}}, []stream.ProduceResult{{Partition: 2, Offset: 7, Err: err}, {}})
		header, _ := made.record.Header(event.HeaderTrace)
		return string(header)
	}
	sampled := usage("e1", "447700900001", 5)
	sampled.Trace = producers
	first := accept(sampled, nil)
	repeated := usage("e1", "447700900001", 5)
	repeated.Trace = producers
	if again := accept(repeated, errors.New("no broker")); again != first || first == producers {
		t.Errorf("it goes on under %q, and under %q when it is sent again", first, again)
	}
	unsampled := usage("e2", "447700900001", 5)
	unsampled.Trace = producers[:53] + "00"
	if got := accept(unsampled, nil); got != producers[:53]+"00" {
		t.Errorf("one that is not sampled goes on under %q", got)
	}
	begun := accept(usage("e3", "447700900001", 5), nil)
	if again := accept(usage("e3", "447700900001", 5), nil); begun == "" || again != begun {
		t.Errorf("a trace begins as %q, and as %q when the event is sent again", begun, again)
	}
	collector.Await(t, func(spans []tracetest.Span, _ int) bool { return len(spans) >= 4 })
	p.trace.Close(t.Context())
	spans := collector.Spans()
	if len(spans) != 4 {
		t.Fatalf("%d spans: %+v", len(spans), spans)
	}
	if s := spans[0]; "00-"+s.Trace+"-"+s.ID+"-01" != first || s.Parent != "00f067aa0ba902b7" || s.Failed ||
		s.Attributes["messaging.kafka.offset"] != int64(7) || s.Attributes["tollgate.transport"] != "kafka" {
		t.Errorf("the span is %+v", s)
	}
	if s := spans[1]; !s.Failed || s.ID != spans[0].ID {
		t.Errorf("the span of what Kafka does not take is %+v", s)
	}
	if s := spans[2]; "00-"+s.Trace+"-"+s.ID+"-01" != begun || s.Parent != "" {
		t.Errorf("the span that begins a trace is %+v", s)
	}
}

// Off, the path of an event is what it was: no allocation more, and the traceparent as it came.
func TestTrace_OffCostsNothing(t *testing.T) {
	p := publisherOf(nil)
	e := usage("e1", "447700900001", 5)
	e.Trace = producers
	entries, results := make([]entry, 100), make([]stream.ProduceResult, 100)
	if n := testing.AllocsPerRun(100, func() {
		entries[0].stop = p.stopOf(e, "kafka")
		p.recordAccepted(entries, results)
	}); n != 0 || e.Trace != producers {
		t.Errorf("%v allocations; the traceparent is %q", n, e.Trace)
	}
}

// BenchmarkTrace is what an event costs between Kafka and Kafka, parsed and made a record again, without a broker: off, and on
// where traces begin for a share of events. The loops alternate. The collector, in the same process, reads what it gets.
func BenchmarkTrace(b *testing.B) {
	const events, each = 20_000, 10
	records := make([]stream.Record, events)
	for i := range records {
		e := usage(fmt.Sprint("e-", i), "447700900001", 125)
		records[i] = stream.Record{Topic: "events.inbound", Value: bytesOf(b, e)}
	}
	collector := tracetest.New(b)
	ways := []struct {
		name  string
		ratio float64
	}{{"off", -1}, {"on:0", 0}, {"on:0.01", 0.01}, {"on:1", 1}}
	tracers := map[string]*trace.Tracer{}
	for _, way := range ways[1:] {
		tracers[way.name] = openTracer(b, trace.Config{Endpoint: collector.Address, Ratio: way.ratio, ParentRatio: 1})
	}
	took := map[string][]float64{}
	for b.Loop() {
		for range each {
			for _, way := range ways {
				tracer := tracers[way.name]
				runtime.GC()
				p, parser := publisherOf(tracer), event.Parser{}
				before := processorTime(b)
				entries, results := make([]entry, 0, 500), make([]stream.ProduceResult, 500)
				for i := range records {
					e, err := parser.Kafka(records[i])
					if err != nil {
						b.Fatal(err)
					}
					s := p.stopOf(e, "kafka")
					made, err := p.stamp(e, p.now())
					if err != nil {
						b.Fatal(err)
					}
					made.stop = s
					if entries = append(entries, made); len(entries) == cap(entries) {
						p.recordAccepted(entries, results)
						entries = entries[:0]
					}
				}
				took[way.name] = append(took[way.name], float64((processorTime(b)-before).Nanoseconds())/events)
			}
		}
	}
	for _, way := range ways {
		slices.Sort(took[way.name])
		b.ReportMetric(took[way.name][len(took[way.name])/2], way.name+"-cpu-ns/event")
	}
}
