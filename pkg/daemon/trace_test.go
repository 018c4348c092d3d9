package daemon

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/trace"
	"github.com/tollgate/tollgate/pkg/trace/tracetest"
)

// A span that waits when the service stops is exported before the process ends.
func TestServe_ExportsSpansBeforeItEnds(t *testing.T) {
	collector := tracetest.New(t)
	cfg := DefaultConfig("127.0.0.1:0")
	cfg.Tracing.Endpoint = collector.Address
	err := Serve(t.Context(), cfg, NewEnv("pigeon", zap.NewNop()), func(_ context.Context, env Env) error {
		parent, ok := env.Trace.Parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		if !ok {
			t.Fatal("nothing is recorded")
		}
		record := func(id string) {
			env.Trace.Record(trace.Span{Name: "stop", Parent: parent, ID: parent.Trigger("s", id), Start: time.Unix(1, 0), End: time.Unix(2, 0)})
		}
		// The first one waits for the connection, so that the last has all of its time.
		record("1")
		collector.Await(t, func(spans []tracetest.Span, _ int) bool { return len(spans) == 1 })
		record("2")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if spans := collector.Spans(); len(spans) != 2 || spans[1].Service != "tollgate-pigeon" {
		t.Errorf("the collector has %+v", spans)
	}
}

func TestServe_RefusesHeadersThatCannotBeRead(t *testing.T) {
	cfg := DefaultConfig("127.0.0.1:0")
	cfg.Tracing.Endpoint, cfg.Tracing.HeadersFile = "127.0.0.1:4317", "/nowhere"
	err := Serve(t.Context(), cfg, NewEnv("pigeon", zap.NewNop()), func(context.Context, Env) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("it starts: %v", err)
	}
}

func TestServe_MakesNoSpansByDefault(t *testing.T) {
	err := Serve(t.Context(), DefaultConfig("127.0.0.1:0"), NewEnv("pigeon", zap.NewNop()), func(_ context.Context, env Env) error {
		if env.Trace != nil {
			t.Error("tracing is on")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
