package trigger

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/trace"
	"github.com/tollgate/tollgate/pkg/trace/tracetest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// traceparentOf is that of the n-th event; the trace ids are spread, for ratios.
func traceparentOf(n int) string {
	return fmt.Sprintf("00-4bf92f3577b34da6%016x-00f067aa0ba902b7-01", uint64(n+1)*0x9e3779b97f4a7c15)
}

func openTracer(t testing.TB, c trace.Config) *trace.Tracer {
	t.Helper()
	tracer, err := trace.Open(t.Context(), c, "trigger", zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracer.Close(t.Context()) })
	return tracer
}

func tracedUsage(n int) *event.Event {
	e := usage(fmt.Sprint("e-", n), "447700900001", 1, epoch)
	e.Trace = traceparentOf(n)
	return e
}

// However often an owner dies, the records are the same as without tracing, byte for byte, and an event has one span id.
func TestTrace_ARepeatHasTheSameSpanAndTheSameRecords(t *testing.T) {
	const events = 50
	run := func(tracer *trace.Tracer, kills int) []stream.Record {
		p := newPartition(t, "events.ordered")
		p.applied = evaluated(tracer)
		p.fetch = func() int { return 7 }
		p.killed = func() bool { kills--; return kills >= 0 }
		p.configure(snapshot(1, nil))
		for n := range events {
			p.append(tracedUsage(n))
		}
		p.run()
		return p.out
	}
	collector := tracetest.New(t)
	tracer := openTracer(t, trace.Config{Endpoint: collector.Address, ParentRatio: 1})
	plain, traced := run(nil, 0), run(tracer, 0)
	if len(plain) != events {
		t.Fatalf("%d records were published", len(plain))
	}
	if diff := cmp.Diff(plain, traced); diff != "" {
		t.Errorf("tracing changes what is published:\n%s", diff)
	}
	again := run(tracer, 3)
	if len(again) <= events {
		t.Fatal("nothing was repeated")
	}
	tracer.Close(t.Context())
	ids := map[string]map[string]bool{}
	for _, s := range collector.Spans() {
		id, _ := s.Attributes["cloudevents.event_id"].(string)
		if ids[id] == nil {
			ids[id] = map[string]bool{}
		}
		ids[id][s.ID] = true
		if s.Parent != "00f067aa0ba902b7" || s.Name != "trigger evaluate" || s.Attributes["tollgate.outcomes"] != int64(1) {
			t.Errorf("the span is %+v", s)
		}
	}
	for id, spans := range ids {
		if len(spans) != 1 {
			t.Errorf("%s has the spans %v", id, spans)
		}
	}
	if len(ids) != events {
		t.Errorf("%d events have a span, want %d", len(ids), events)
	}
}

// What a safeguard publishes follows the counting of the event that caused it.
func TestTrace_AnOutcomeFollowsTheCountingOfItsCause(t *testing.T) {
	collector := tracetest.New(t)
	tracer := openTracer(t, trace.Config{Endpoint: collector.Address, ParentRatio: 1})
	parent, _ := tracer.Parent(traceparentOf(0))
	reached := func(id string, cause *eventv1.Cause) *event.Event {
		return &event.Event{ID: id, Source: "tollgate/safeguard", Type: "safeguard.reached", Tenant: "acme", Subject: "447700900001", Time: epoch,
			Trace: traceparentOf(0), Data: &eventv1.Safeguard{Cause: cause}}
	}
	p := newPartition(t, "safeguards")
	p.applied = evaluated(tracer)
	p.configure(snapshot(1, nil))
	p.append(
		reached("by event", &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Source: "rating", Id: "e-0", Type: "usage.charged"}}}),
		reached("by timer", &eventv1.Cause{Cause: &eventv1.Cause_Timer{Timer: &eventv1.TimerReference{Name: "renewal"}}}),
	)
	p.run()
	tracer.Close(t.Context())
	want := map[string]string{"by event": parent.Safeguard("rating", "e-0").String(), "by timer": parent.Span().String()}
	for _, s := range collector.Spans() {
		id, _ := s.Attributes["cloudevents.event_id"].(string)
		if s.Parent != want[id] {
			t.Errorf("what is %s follows %s, want %s", id, s.Parent, want[id])
		}
		delete(want, id)
	}
	if len(want) > 0 {
		t.Errorf("there is no span of %v", want)
	}
}

// cpu is what the process took of the processors.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTrace is the work of an event by the trigger, in memory: 1 % match one notification. Off, and on at a share of traces;
// all of them have the sampled flag. The loops alternate, each over all events. The collector, in the same process, reads what
// it gets.
func BenchmarkTrace(b *testing.B) {
	const events, each = 20_000, 10
	all := make([]*event.Event, events)
	for i := range all {
		all[i] = usage(fmt.Sprint("e-", i), fmt.Sprintf("4477%08d", i%1000), int64(i%100), epoch)
		all[i].Trace = traceparentOf(i)
	}
	collector := tracetest.New(b)
	ways := []struct {
		name  string
		ratio float64
	}{{"off", -1}, {"on:0", 0}, {"on:0.01", 0.01}, {"on:1", 1}}
	tracers := map[string]*trace.Tracer{}
	for _, way := range ways[1:] {
		tracers[way.name] = openTracer(b, trace.Config{Endpoint: collector.Address, ParentRatio: way.ratio})
	}
	took := map[string][]float64{}
	for b.Loop() {
		for range each {
			for _, way := range ways {
				tracer := tracers[way.name]
				runtime.GC()
				p := newPartition(b, "events.ordered")
				p.applied = evaluated(tracer)
				p.configure(snapshot(1, func(s *configv1.Snapshot) {
					s.Notifications = []*configv1.Notification{rule("n", []string{"usage.charged"}, `data.net.units == 77`, action("notify", "crm"))}
				}))
				p.append(all...)
				before := cpu(b)
				p.run()
				took[way.name] = append(took[way.name], float64((cpu(b)-before).Nanoseconds())/events)
			}
		}
	}
	for _, way := range ways {
		slices.Sort(took[way.name])
		b.ReportMetric(took[way.name][len(took[way.name])/2], way.name+"-cpu-ns/event")
	}
}
