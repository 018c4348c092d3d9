package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// buffer is a buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func value(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	res, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestServe_AdminPagesShowTheState(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	env := NewEnv("safeguard", zap.NewNop())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	hold := make(chan struct{})
	go func() {
		ended <- Serve(ctx, DefaultConfig("127.0.0.1:0"), env, func(ctx context.Context, env Env) error {
			<-ctx.Done()
			<-hold
			return nil
		})
	}()
	address, err := env.Listeners.Wait(ctx, "admin")
	if err != nil {
		t.Fatal(err)
	}
	ready := func(wantCode int, want ...string) {
		t.Helper()
		code, body := get(t, address, "/readyz")
		if code != wantCode {
			t.Errorf("readyz %d, want %d: %s", code, wantCode, body)
		}
		if !json.Valid([]byte(body)) {
			t.Errorf("not JSON: %s", body)
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("readyz does not have %s: %s", w, body)
			}
		}
	}
	ready(503, `"nothing has been checked yet"`)
	env.Health.Set("kafka", nil)
	ready(200, `"ready":true`)
	env.Health.Check("partitions", func() error {
		gap := &Incident{Code: "LOG_TRUNCATED", Topic: "t.events.ordered", Partition: 3, Offset: 41}
		return fmt.Errorf("two stand: %w", errors.Join(gap, &Incident{Code: "PANIC", Topic: "t.events.ordered", Partition: 5}))
	})
	env.Health.Set("redis", errors.New("refused"))
	ready(503, `{"code":"LOG_TRUNCATED","topic":"t.events.ordered","partition":3,"offset":41}`, `"code":"PANIC"`, `"check":"redis","error":"refused"`)
	env.Health.Remove("partitions")
	env.Health.Set("redis", nil)
	ready(200)

	if code, _ := get(t, address, "/livez"); code != 200 {
		t.Errorf("livez %d", code)
	}
	if code, body := get(t, address, "/metrics"); code != 200 || !strings.Contains(body, "tollgate_safeguard_ready") ||
		!strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics %d %.200s", code, body)
	}
	if code, body := get(t, address, "/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("pprof %d", code)
	}

	stop()
	for code, body := get(t, address, "/readyz"); code != 503 || !strings.Contains(body, "is stopping and finishes"); code, body = get(t, address, "/readyz") {
		if t.Context().Err() != nil {
			t.Fatal("a draining service is ready")
		}
	}
	close(hold)
	if err := <-ended; err != nil {
		t.Errorf("a clean stop is %v", err)
	}
}

// A scrape right after the start once found no tollgate_<service>_ready.
func TestServe_RegistersMetricsBeforeListening(t *testing.T) {
	var names []string
	var env Env
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.InfoLevel),
		zap.Hooks(func(line zapcore.Entry) error {
			if line.Message == "listening" {
				families, err := env.Metrics.Gather()
				if err != nil {
					return err
				}
				for _, f := range families {
					names = append(names, f.GetName())
				}
			}
			return nil
		}))
	env = NewEnv("safeguard", log)
	if err := Serve(context.Background(), DefaultConfig("127.0.0.1:0"), env, func(context.Context, Env) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(names, "tollgate_safeguard_ready") {
		t.Errorf("when the listener was announced there were only %v", names)
	}
}

func TestServe_ServicesOfOneProcessShareNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	envs := []Env{NewEnv("ingest", zap.NewNop()), NewEnv("ingest", zap.NewNop())}
	for i, env := range envs {
		all.Go(func() {
			err := Serve(ctx, DefaultConfig("127.0.0.1:0"), env, func(ctx context.Context, env Env) error {
				env.Health.Set("n", fmt.Errorf("number %d", i))
				<-ctx.Done()
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	first, _ := envs[0].Listeners.Wait(ctx, "admin")
	second, _ := envs[1].Listeners.Wait(ctx, "admin")
	if first == second || first == "" {
		t.Errorf("admin listeners %q and %q", first, second)
	}
	stop()
	all.Wait()
}

func TestServe_NamesWorkLeftAfterDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := NewEnv("webhook", zap.NewNop())
		ended := make(chan error, 1)
		left := env.InFlight.Add("partition 7 of deliveries.webhook")
		env.InFlight.Add("partition 8 of deliveries.webhook")()
		go func() { ended <- drain(DefaultConfig("127.0.0.1:0"), env, make(chan error)) }()
		synctest.Wait()
		time.Sleep(20*time.Second - 1)
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("the drain ended too early: %v", err)
		default:
		}
		time.Sleep(1)
		want := "not finished 20s after the stop: partition 7 of deliveries.webhook"
		if err := <-ended; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		left()
		left()
		if names := env.InFlight.Names(); len(names) != 0 {
			t.Errorf("still open: %v", names)
		}
	})
}

func TestServe_FailureOfServiceEndsFrame(t *testing.T) {
	want := errors.New("cannot read its tables")
	err := Serve(context.Background(), DefaultConfig("127.0.0.1:0"), NewEnv("config", zap.NewNop()),
		func(context.Context, Env) error { return want })
	if !errors.Is(err, want) {
		t.Error(err)
	}
	err = Serve(context.Background(), DefaultConfig("256.0.0.1:1"), NewEnv("config", zap.NewNop()),
		func(context.Context, Env) error { t.Error("ran without its admin listener"); return nil })
	if err == nil {
		t.Error("an address that cannot be bound was accepted")
	}
}

func TestFinishing_OutlivesTheStopByShutdownTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := Env{ShutdownTimeout: 5 * time.Second}
		ctx, stop := context.WithCancel(context.Background())
		finishing, cancel := env.Finishing(ctx)
		defer cancel()
		stop()
		time.Sleep(5*time.Second - 1)
		synctest.Wait()
		if finishing.Err() != nil {
			t.Error("ended with the stop or too early")
		}
		time.Sleep(1)
		synctest.Wait()
		if finishing.Err() == nil {
			t.Error("did not end")
		}
	})
}

// One broken notification must not take the traffic of all others away from the replica.
func TestHealth_NotedIncidentLeavesServiceReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		log, err := NewLogger("trigger", "info", &out)
		if err != nil {
			t.Fatal(err)
		}
		env := NewEnv("trigger", log)
		env.Health.Set("redis", nil)
		current := []*Incident{{Code: "BROKEN", Resource: "tenants/a/notifications/n", Detail: "no detail"}}
		env.Health.Note("notifications", func() []*Incident { return current })
		p := startProbes(env)
		defer p.stop()
		for range 3 {
			time.Sleep(probeInterval)
			synctest.Wait()
		}
		if value(t, p.ready) != 1 {
			t.Error("not ready")
		}
		if n := value(t, p.incidents.WithLabelValues("BROKEN")); n != 1 || strings.Count(out.String(), "tenants/a/notifications/n") != 1 {
			t.Errorf("counted %v times, logged %s", n, out.String())
		}
		res := httptest.NewRecorder()
		adminPages(env).ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if res.Code != 200 || !strings.Contains(res.Body.String(), `"resource":"tenants/a/notifications/n"`) || !strings.Contains(res.Body.String(), "no detail") {
			t.Errorf("/readyz answers %d %s", res.Code, res.Body)
		}
	})
}

func TestServe_LogsAndCountsAnIncidentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		log, err := NewLogger("trigger", "info", &out)
		if err != nil {
			t.Fatal(err)
		}
		env := NewEnv("trigger", log)
		p := startProbes(env)
		defer p.stop()
		gap := func(detail string) error {
			return &Incident{Code: "GAP", Topic: "t.safeguards", Partition: 2, Offset: 9, Detail: detail}
		}
		for _, err := range []error{nil, gap("1 s"), gap("2 s"), nil, gap("3 s"), errors.New("redis away"), nil} {
			env.Health.Set("state", err)
			time.Sleep(probeInterval)
			synctest.Wait()
		}
		if n := value(t, p.incidents.WithLabelValues("GAP")); n != 2 {
			t.Errorf("counted %v times, stood twice", n)
		}
		if value(t, p.ready) != 1 {
			t.Error("ready is not 1 at the end")
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			var fields struct {
				Level, Message, Service, Code, Topic, Detail string
				Partition, Offset                            int
			}
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %s %s %s %s %d %d %s", fields.Service, fields.Level, fields.Message,
				fields.Code, fields.Topic, fields.Partition, fields.Offset, fields.Detail))
		}
		want := []string{
			"trigger error incident GAP t.safeguards 2 9 1 s",
			"trigger info check passes again   0 0 ",
			"trigger error incident GAP t.safeguards 2 9 3 s",
			"trigger info check passes again   0 0 ",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
