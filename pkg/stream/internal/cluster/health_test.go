package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate/tollgate/pkg/reason"
)

// A producer may send as many batches that can't be read as it likes.
func TestReportIncident_LogIsBoundedWithACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		c, err := Open(Config{Brokers: []string{"127.0.0.1:1"}}, zap.New(core), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		const n = 1000
		for i := range int64(n) {
			c.ReportIncident(Incident{Code: reason.BatchDamaged, Topic: "t", Offset: i})
		}
		c.RaiseIncident(Incident{Code: "STUCK", Topic: "t"})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		lines := logs.FilterMessage("incident").FilterLevelExact(zapcore.ErrorLevel)
		if got := lines.FilterField(zap.String("code", reason.BatchDamaged)).Len(); got != reportsPerSecond {
			t.Errorf("%d lines of %d reports", got, n)
		}
		if lines.FilterField(zap.String("code", "STUCK")).Len() != 1 {
			t.Error("what stops a partition is not logged beside a flood")
		}
		omitted := logs.FilterMessage("lines omitted").All()
		if len(omitted) != 1 || omitted[0].ContextMap()["omitted"] != int64(n-reportsPerSecond) {
			t.Errorf("omitted: %v", omitted)
		}
		if got := testutil.ToFloat64(c.metrics.incidents.WithLabelValues(reason.BatchDamaged)); got != n {
			t.Errorf("%v are counted", got)
		}
		if got := len(c.Health().Reported); got != keptReports {
			t.Errorf("%d are shown", got)
		}
	})
}
