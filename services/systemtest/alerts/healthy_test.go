package alerts

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tollgate/tollgate/services/tollgate/try"
)

// watched reports when what is printed has a text.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	want string
	seen chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.text.String(), w.want)
	n, err := w.text.Write(p)
	if !before && strings.Contains(w.text.String(), w.want) {
		close(w.seen)
	}
	return n, err
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// scrapes is for how long the healthy run is held to have lasted.
const scrapes = 80 * every

// A run in which all goes well must call nobody: every alert is looked at with what the whole product shows after its
// first journey, as if counters had risen to that evenly, and no alert waits.
func TestAlerts_NoneFiresOnAHealthyRun(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole product")
	}
	ctx, stop := context.WithCancel(context.Background())
	out := &watched{want: "That was the whole journey", seen: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		ended <- try.Run(ctx, try.Config{Data: t.TempDir(), AnyPort: true, Pause: time.Hour, Started: time.Now(), Out: out, Err: io.Discard})
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("try: %v", err)
		}
	}()
	select {
	case <-out.seen:
	case err := <-ended:
		ended <- err
		t.Fatalf("try ended: %v\n%s", err, out)
	}
	all := recorded{}
	scraped := regexp.MustCompile(`(?m)^\s+(\w+)\s.*admin (http://\S+)$`).FindAllStringSubmatch(out.String(), -1)
	if len(scraped) < len(services) {
		t.Fatalf("try names %d admin listeners of %d:\n%s", len(scraped), len(services), out)
	}
	for _, s := range scraped {
		awaitIdle(t, s[1], s[2]+"/metrics")
		all.scrape(t, s[1], s[2]+"/metrics")
	}
	engine := newEvaluator()
	for _, r := range rules(t) {
		if firing := engine.firing(t, r, all, scrapes, false); len(firing) > 0 {
			t.Errorf("%s fires: %v", r.Alert, firing)
		}
	}
}

// lags matches a topic of which something is not worked yet.
var lags = regexp.MustCompile(`(?m)^tollgate_stream_lag_seconds\{.*\} (0\.|[^0])`)

// awaitIdle returns once a process shows that it is ready, which it looks at once a second, and has worked all there is: what
// is scraped then stands.
func awaitIdle(t *testing.T, service, url string) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for range 1200 {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\ntollgate_"+service+"_ready 1\n") && !lags.Match(text) {
			return
		}
		<-again.C
	}
	t.Fatalf("%s is not ready, or has work left", service)
}

// scrape reads the metrics of a process: gauges as if they had always stood so, counters as if they had risen evenly.
func (r recorded) scrape(t *testing.T, instance, url string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text := expfmt.NewTextParser(model.UTF8Validation)
	families, err := text.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < 20 {
		t.Fatalf("%s shows %d metrics", url, len(families))
	}
	r.hold(instance, "up", nil, 1, false)
	for name, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetType() {
			case dto.MetricType_GAUGE:
				r.hold(instance, name, m.GetLabel(), m.GetGauge().GetValue(), false)
			case dto.MetricType_COUNTER:
				r.hold(instance, name, m.GetLabel(), m.GetCounter().GetValue(), true)
			case dto.MetricType_HISTOGRAM:
				for _, b := range m.GetHistogram().GetBucket() {
					le := &dto.LabelPair{Name: new("le"), Value: new(model.SampleValue(b.GetUpperBound()).String())}
					r.hold(instance, name+"_bucket", append(m.GetLabel(), le), float64(b.GetCumulativeCount()), true)
				}
			default:
			}
		}
	}
}

func (r recorded) hold(instance, name string, pairs []*dto.LabelPair, value float64, rising bool) {
	b := labels.NewScratchBuilder(len(pairs) + 3)
	b.Add(nameLabel, name)
	b.Add("instance", instance)
	b.Add("job", "tollgate")
	for _, p := range pairs {
		b.Add(p.GetName(), p.GetValue())
	}
	b.Sort()
	l := b.Labels()
	for at := time.Duration(0); at <= scrapes; at += every {
		v := value
		if rising {
			v *= float64(at) / float64(scrapes)
		}
		r.add(l, at, v)
	}
}
