package trace_test

import (
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/trace"
	"github.com/tollgate/tollgate/pkg/trace/tracetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const producers = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

type bed struct {
	*trace.Tracer
	metrics *prometheus.Registry
	logs    *observer.ObservedLogs
}

func open(t testing.TB, c trace.Config) bed {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	b := bed{metrics: prometheus.NewRegistry(), logs: logs}
	var err error
	if b.Tracer, err = trace.Open(t.Context(), c, "web-hook", zap.New(core), b.metrics); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(t.Context()) })
	return b
}

func at(c *tracetest.Collector) trace.Config {
	return trace.Config{Endpoint: c.Address, Ratio: 1, ParentRatio: 1}
}

// spans is how many had a result.
func (b bed) spans(t testing.TB, result string) int {
	t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "tollgate_web_hook_spans_total" && m.GetLabel()[0].GetValue() == result {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	t.Fatalf("there is no metric of spans that are %s", result)
	return 0
}

func one(p trace.Parent, id trace.SpanID) trace.Span {
	began := time.Date(2026, 11, 30, 12, 0, 0, 5, time.UTC)
	return trace.Span{Name: "stop", Kind: trace.Consumer, Parent: p, ID: id, Start: began, End: began.Add(time.Second), Attributes: trace.OfEvent("acme", "usage.data", "cdr", "e1")}
}

// some is what a test awaits before it closes a tracer: what is left then has FlushTimeout alone.
func some(spans []tracetest.Span, _ int) bool { return len(spans) > 0 }

func TestRecord_ExportsASpanUnderTheTraceparent(t *testing.T) {
	c := tracetest.New(t)
	b := open(t, at(c))
	p, ok := b.Parent(producers)
	if !ok {
		t.Fatal("a sampled traceparent is not recorded")
	}
	s := one(p, p.Safeguard("cdr", "e1"))
	s.Failed = "timeout"
	b.Record(s)
	g := c.Await(t, some)[0]
	b.Close(t.Context())
	if n := len(c.Spans()); n != 1 {
		t.Fatalf("%d spans came", n)
	}
	if g.Trace != "4bf92f3577b34da6a3ce929d0e0e4736" || g.Parent != "00f067aa0ba902b7" || g.ID != p.Safeguard("cdr", "e1").String() {
		t.Errorf("ids are %+v", g)
	}
	if g.Service != "tollgate-web-hook" || g.Kind != "SPAN_KIND_CONSUMER" || !g.Failed || g.Status != "timeout" || !g.Start.Equal(s.Start) || !g.End.Equal(s.End) {
		t.Errorf("the span is %+v", g)
	}
	if g.Attributes["tollgate.tenant"] != "acme" || g.Attributes["cloudevents.event_id"] != "e1" {
		t.Errorf("its attributes are %v", g.Attributes)
	}
	if b.spans(t, "exported") != 1 || b.spans(t, "failed")+b.spans(t, "dropped") != 0 {
		t.Error("the metric does not count it")
	}
	if p.Before(p.Safeguard("cdr", "e1")) != "00-4bf92f3577b34da6a3ce929d0e0e4736-"+g.ID+"-01" {
		t.Errorf("what follows it comes under %s", p.Before(p.Safeguard("cdr", "e1")))
	}
}

func TestRecord_ATraceBegunHereHasNoParent(t *testing.T) {
	c := tracetest.New(t)
	b := open(t, at(c))
	when := time.UnixMilli(1_700_000_000_123)
	p, ok := b.Begins("", "acme", "cdr", "491701", "e1", when)
	again, _ := b.Begins("", "acme", "cdr", "491701", "e1", when)
	later, _ := b.Begins("", "acme", "cdr", "491701", "e1", when.Add(time.Millisecond))
	if !ok || p != again || p == later {
		t.Fatalf("begun: %v, %v, %v, %v", ok, p, again, later)
	}
	b.Record(one(p, p.Ingest("acme", "cdr", "491701", "e1")))
	c.Await(t, some)
	b.Close(t.Context())
	got := c.Spans()
	if len(got) != 1 || got[0].Parent != "" || got[0].Trace == strings.Repeat("0", 32) || got[0].ID != p.Ingest("acme", "cdr", "491701", "e1").String() {
		t.Fatalf("spans: %+v", got)
	}
	next, ok := b.Parent(p.Before(p.Ingest("acme", "cdr", "491701", "e1")))
	if !ok || next.Span().String() != got[0].ID {
		t.Errorf("the next stop does not follow it: %v %v", next, ok)
	}
}

func TestIDs_DifferByTraceparentStopAndEvent(t *testing.T) {
	b := open(t, at(tracetest.New(t)))
	p, _ := b.Parent(producers)
	q, _ := b.Parent(strings.Replace(producers, "b7-01", "b8-01", 1))
	all := map[trace.SpanID]string{}
	for name, id := range map[string]trace.SpanID{
		"safeguard": p.Safeguard("s", "1"), "forwarded": p.Forwarded("s", "1"), "trigger": p.Trigger("s", "1"), "another source": p.Trigger("s1", ""),
		"another event": p.Trigger("s", "2"), "another parent": q.Trigger("s", "1"), "ingest": p.Ingest("a", "s", "u", "1"), "another subject": p.Ingest("a", "s", "v", "1"),
		"attempt": p.Attempt("d", "", 1), "second attempt": p.Attempt("d", "", 2), "of a job": p.Attempt("d", "j", 1), "handler": p.Handler("h", "s", "1", 0), "second try": p.Handler("h", "s", "1", 1),
	} {
		if other := all[id]; other != "" || !id.IsValid() {
			t.Errorf("%s and %s have the id %s", name, other, id)
		}
		all[id] = name
	}
	again, _ := b.Parent(producers)
	if p.Trigger("s", "1") != again.Trigger("s", "1") {
		t.Error("a repeat has another id")
	}
}

func TestParent_TakesWhatIsSampledAndWellFormed(t *testing.T) {
	b := open(t, at(tracetest.New(t)))
	for _, c := range []struct {
		name, text string
		taken      bool
	}{
		{"a sampled one is taken", producers, true},
		{"another flag beside it changes nothing", producers[:53] + "03", true},
		{"one of a later version with more fields is taken", "01" + producers[2:] + "-ff", true},
		{"one without the flag is not", producers[:53] + "00", false},
		{"nor one with another flag alone", producers[:53] + "02", false},
		{"nor none", "", false},
		{"nor one that is cut", producers[:54], false},
		{"nor one with letters that are no digits", strings.Replace(producers, "4bf9", "4bg9", 1), false},
		{"nor one without a trace", "00-" + strings.Repeat("0", 32) + producers[35:], false},
		{"nor one without a span", producers[:36] + strings.Repeat("0", 16) + "-01", false},
		{"nor one that goes on without a dash", producers + "f", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, ok := b.Parent(c.text); ok != c.taken {
				t.Errorf("%q is taken: %v", c.text, ok)
			}
		})
	}
}

// The same traces are recorded as by every other service of a chain that samples by trace id.
func TestParentRatio_IsThatOfTheSDK(t *testing.T) {
	for _, ratio := range []float64{0, 1e-3, 0.01, 0.5, 1} {
		config := at(tracetest.New(t))
		config.ParentRatio = ratio
		b, theirs := open(t, config), sdk.TraceIDRatioBased(ratio)
		for range 2000 {
			var id oteltrace.TraceID
			_, _ = rand.Read(id[:])
			want := theirs.ShouldSample(sdk.SamplingParameters{TraceID: id}).Decision == sdk.RecordAndSample
			if _, ok := b.Parent(fmt.Sprintf("00-%s-00f067aa0ba902b7-01", id)); ok != want {
				t.Fatalf("at ratio %v, %s is taken: %v, by the SDK: %v", ratio, id, ok, want)
			}
		}
		b.Close(t.Context())
	}
}

func TestRatio_IsTheShareOfEventsWithoutATraceparent(t *testing.T) {
	for _, ratio := range []float64{0, 0.01, 0.5, 1} {
		config := at(tracetest.New(t))
		config.Ratio = ratio
		b := open(t, config)
		const events = 20_000
		n := 0.0
		for i := range events {
			if _, ok := b.Begins("", "acme", "cdr", fmt.Sprint(49170+i%100), fmt.Sprint(i), time.UnixMilli(int64(i))); ok {
				n++
			}
		}
		if math.Abs(n/events-ratio) > 0.02 || ratio == 0 && n > 0 || ratio == 1 && n < events {
			t.Errorf("of %d events %v begin a trace at ratio %v", events, n, ratio)
		}
		if _, ok := b.Begins(producers[:53]+"00", "acme", "cdr", "49170", "1", time.Now()); ok {
			t.Error("a trace begins for an event whose traceparent is not sampled")
		}
		b.Close(t.Context())
	}
}

func TestRecord_BoundsAttributes(t *testing.T) {
	c := tracetest.New(t)
	b := open(t, at(c))
	p, _ := b.Parent(producers)
	s := one(p, p.Trigger("s", "1"))
	s.Attributes = []attribute.KeyValue{attribute.String("long", strings.Repeat("x", 10_000))}
	for i := range 100 {
		s.Attributes = append(s.Attributes, attribute.Int(fmt.Sprint("n", i), i))
	}
	b.Record(s)
	got := c.Await(t, some)[0].Attributes
	if len(got) != 32 || len(got["long"].(string)) != 256 {
		t.Errorf("%d attributes, the long one of %d bytes", len(got), len(got["long"].(string)))
	}
}

func TestRecord_DropsAndCountsWhileTheCollectorHangs(t *testing.T) {
	c := tracetest.New(t)
	c.Hold()
	b := open(t, at(c))
	p, _ := b.Parent(producers)
	const many = 10_000
	for i := range many {
		b.Record(one(p, p.Attempt("d", "", i)))
	}
	if got := b.spans(t, "dropped"); got != many-4096 {
		t.Errorf("%d are dropped, of %d with room for 4096", got, many)
	}
	c.Release()
	c.Await(t, func(spans []tracetest.Span, _ int) bool { return len(spans) == 4096 })
	b.Record(one(p, p.Attempt("d", "", many)))
	c.Await(t, func(spans []tracetest.Span, _ int) bool { return len(spans) == 4097 })
	b.Close(t.Context())
	if got := b.spans(t, "exported"); got != 4097 {
		t.Errorf("%d are exported once there is room again", got)
	}
}

func TestClose_IsBoundedWhileTheCollectorHangs(t *testing.T) {
	c := tracetest.New(t)
	c.Hold()
	b := open(t, at(c))
	p, _ := b.Parent(producers)
	b.Record(one(p, p.Trigger("s", "1")))
	began := time.Now()
	b.Close(t.Context())
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
	logged := b.logs.FilterMessage("spans not exported").All()
	if b.spans(t, "failed") != 1 || len(logged) != 1 {
		t.Fatalf("what was left is not counted or not logged: %v", b.logs.All())
	}
	if text := fmt.Sprint(logged[0].ContextMap()["error"]); !strings.Contains(strings.ToLower(text), "cancel") {
		t.Errorf("the export ends by itself, and not by what closes: %s", text)
	}
	b.Record(one(p, p.Trigger("s", "2"))) // and nothing panics
	c.Release()
}

func TestRecord_CountsAndLogsWhatTheCollectorDoesNotTake(t *testing.T) {
	c := tracetest.New(t)
	config := at(c)
	c.Down(true)
	b := open(t, config)
	p, _ := b.Parent(producers)
	b.Record(one(p, p.Trigger("s", "1")))
	c.Await(t, func(_ []tracetest.Span, requests int) bool { return requests >= 2 })
	c.Down(false)
	c.Await(t, some)
	b.Close(t.Context())
	if got := b.spans(t, "exported"); got != 1 {
		t.Errorf("%d are exported once the collector is there again", got)
	}
}

func TestRecord_CollectorAway(t *testing.T) {
	b := open(t, trace.Config{Endpoint: "127.0.0.1:1", Ratio: 1, ParentRatio: 1})
	p, _ := b.Parent(producers)
	b.Record(one(p, p.Trigger("s", "1")))
	b.Close(t.Context())
	if got := b.spans(t, "failed"); got != 1 {
		t.Errorf("%d are counted as lost", got)
	}
	if b.logs.FilterMessage("spans not exported").Len() == 0 {
		t.Error("nothing is logged")
	}
}

func TestOpen_SendsTheHeadersOfTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(path, []byte("# of the collector\nX-Scope: acme\nauthorization: Bearer of: two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "other=1")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	c := tracetest.New(t)
	config := at(c)
	config.HeadersFile = path
	b := open(t, config)
	p, _ := b.Parent(producers)
	b.Record(one(p, p.Trigger("s", "1")))
	c.Await(t, some)
	h := c.Headers()
	if fmt.Sprint(h.Get("x-scope"), h.Get("authorization"), h.Get("other")) != "[acme] [Bearer of: two] []" {
		t.Errorf("headers are %v", h)
	}
}

func TestOpen_RefusesHeadersWithoutShowingThem(t *testing.T) {
	for _, text := range []string{"secret", ": secret", "grpc-timeout: secret", "a b: secret", "x: " + strings.Repeat("secret", 4000)} {
		path := filepath.Join(t.TempDir(), "headers")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := trace.Open(t.Context(), trace.Config{Endpoint: "127.0.0.1:1", HeadersFile: path}, "x", zap.NewNop(), prometheus.NewRegistry())
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestConfig_ListsEveryViolation(t *testing.T) {
	if err := trace.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := trace.Config{Endpoint: "http://collector", Ratio: 1.5, ParentRatio: math.NaN(), CAFile: "ca.pem", CertificateFile: "c.pem"}.Validate()
	if got := len(fault.ViolationsOf(err)); got != 6 {
		t.Errorf("%d violations: %v", got, err)
	}
}

func TestOff_IsNilAndAllocatesNothing(t *testing.T) {
	b := open(t, trace.DefaultConfig())
	if b.Tracer != nil {
		t.Fatal("tracing is on by default")
	}
	if n := testutil.CollectAndCount(b.metrics); n != 3 {
		t.Errorf("%d metrics of spans, want the three results at 0", n)
	}
	when := time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		_, one := b.Parent(producers)
		_, two := b.Begins("", "acme", "cdr", "491701", "e1", when)
		if one || two {
			t.Fatal("a span is made")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestOn_AllocatesNothingForWhatIsNotRecorded(t *testing.T) {
	config := at(tracetest.New(t))
	config.Ratio, config.ParentRatio = 0, 0
	b := open(t, config)
	when, unsampled := time.Now(), producers[:53]+"00"
	if n := testing.AllocsPerRun(1000, func() {
		_, one := b.Parent(producers)
		_, two := b.Begins("", "acme", "cdr", "491701", "e1", when)
		_, three := b.Parent(unsampled)
		if one || two || three {
			t.Fatal("a span is made")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
