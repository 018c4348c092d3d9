package safeguard

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestWhatIsPublishedIsCountedAndABlockHasALine(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	p := newPartition(t)
	a := &announcer{log: zap.New(core), metrics: m, clock: func() time.Time { return p.now.Add(20 * time.Millisecond) }}
	active(p)
	p.uses("60")
	p.uses("1", on("2026-03-01T00:00")) // rejected
	p.uses("-20", corrects("2026-03-02T09:00"))
	p.works()
	a.published(p.out)

	for kind, want := range map[string]float64{kindAlert: 1, kindReached: 1, kindOvershoot: 1, kindReleased: 1, kindRenewed: 0} {
		if got := testutil.ToFloat64(m.outcomes[kind]); got != want {
			t.Errorf("%s counted %v, want %v", kind, got, want)
		}
	}
	want := `
# HELP tollgate_safeguard_reached_total Limits that were reached: services are blocked. Repeats after a crash included.
# TYPE tollgate_safeguard_reached_total counter
tollgate_safeguard_reached_total 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "tollgate_safeguard_reached_total"); err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, f := range families {
		if h := f.GetMetric()[0].GetHistogram(); h != nil {
			sums[f.GetName()] = h.GetSampleSum()
		}
	}
	if diff := cmp.Diff(map[string]float64{"tollgate_safeguard_reached_lead_seconds": 0.02, "tollgate_safeguard_overshoot_ratio": 0.2}, sums); diff != "" {
		t.Error(diff)
	}
	var lines []string
	for _, l := range logs.All() {
		f := l.ContextMap()
		lines = append(lines, strings.Join([]string{l.Message, f["msisdn"].(string), f["spent"].(string), f["limit"].(string), f["reason"].(string)}, " "))
	}
	if diff := cmp.Diff([]string{"limit reached 4477••••••23 60 50 USAGE", "block released 4477••••••23 40 50 REFUND"}, lines); diff != "" {
		t.Error(diff)
	}
}
