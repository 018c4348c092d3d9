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
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

func TestPublished_OutcomesAreCountedAndBlocksLogged(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	at := safeguardtest.Moment("2026-03-02T09:00")
	a := &announcer{log: zap.New(core), metrics: m, clock: func() time.Time { return at.Add(20 * time.Millisecond) }}
	of := func(kind, reason, spent string, more ...func(*eventv1.Safeguard)) stream.Record {
		d := &eventv1.Safeguard{
			Option: eventv1.Safeguard_OPTION_DATA, Reason: reason, Spent: safeguardtest.Units(spent), Limit: safeguardtest.Units("50"),
			CauseReceivedAt: timestamppb.New(at),
		}
		for _, edit := range more {
			edit(d)
		}
		r, err := (&event.Event{
			ID: kind, Source: "tollgate/safeguard", Type: account.TypePrefix + kind, Tenant: "acme", Subject: safeguardtest.MSISDN, Time: at, ReceivedAt: at, Data: d,
		}).Record("safeguards")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	rejected := of(account.KindReached, "USAGE", "60")
	rejected.Headers = append(rejected.Headers, stream.Header{Key: event.HeaderReason, Value: []byte("AMOUNT_INVALID")})
	a.published([]stream.Record{
		of(account.KindAlert, "USAGE", "60"), of(account.KindReached, "USAGE", "60"),
		of(account.KindOvershoot, "USAGE", "60", func(d *eventv1.Safeguard) { d.Overshoot = safeguardtest.Units("10") }),
		rejected, of(account.KindReleased, "REFUND", "40"),
	})

	for kind, want := range map[string]float64{account.KindAlert: 1, account.KindReached: 1, account.KindOvershoot: 1, account.KindReleased: 1, account.KindRenewed: 0} {
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
