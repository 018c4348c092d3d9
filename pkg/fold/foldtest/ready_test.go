package foldtest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// A stopped partition was once ready, with lag 0.
func TestReady_StoppedPartitionIsNamedWithItsReason(t *testing.T) {
	for _, test := range []struct {
		name  string
		stop  func(p *process)
		words []string
		// heal ends it where the partition goes on by itself.
		heal func(p *process)
	}{
		{
			"the store does not answer", func(p *process) { p.redis.SetError("LOADING") },
			[]string{"/0 waits since", "LOADING"}, func(p *process) { p.redis.SetError("") },
		},
		{
			"fetches fail", func(p *process) { p.failFetches(kerr.NotLeaderForPartition) },
			[]string{"fetch of", "/0 waits since"}, nil,
		},
		{
			"a position is refused that the log holds", func(p *process) { p.failFetches(kerr.OffsetOutOfRange) },
			[]string{"fetch of", "/0 waits since"}, nil,
		},
		{
			"a revision that no source has", func(p *process) {
				p.settings.set(2, true)
			},
			[]string{`"code":"REVISION_MISSING"`, `"partition":0`}, func(p *process) { p.settings.set(2, false) },
		},
		{
			"a record too large for a commit", func(p *process) { p.accept(usage("heavy", "44", amountHeavy, time.Now())) },
			[]string{`"code":"RECORD_UNUSABLE"`, `"partition":0`}, nil,
		},
		{
			"a record stamped days ahead", func(p *process) {
				ahead := usage("ahead", "44", 10, time.Now())
				ahead.ReceivedAt = time.Now().Add(48 * time.Hour).Truncate(time.Millisecond)
				p.stopper = p.accept(ahead)
			},
			[]string{`"code":"LOG_TIME_AHEAD"`, `"partition":0`}, func(p *process) { p.leaveOut(p.stopper) },
		},
		{
			"a record of a newer binary", func(p *process) { p.stopper = p.accept(revisionOfLevel(fold.Level + 1)) },
			[]string{`"code":"LEVEL_TOO_HIGH"`, `"partition":0`}, func(p *process) { p.leaveOut(p.stopper) },
		},
		{
			"a record of an older binary", func(p *process) { p.accept(revisionOfLevel(fold.Level - 1)) },
			[]string{`"code":"FORMAT_UNKNOWN"`, `"partition":0`}, nil,
		},
		{
			"a batch that can't be read", func(p *process) {
				p.appendRaw(strings.TrimSuffix(p.client.Topic("log"), ".log"), streamtest.RawBatch([]byte("no records"), 0, 1))
			},
			[]string{`"code":"BATCH_DAMAGED"`, `"partition":0`}, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := startServers(t)
			p.start()
			p.accept(usage("first", "44", 10, time.Now()))
			p.until(true)
			test.stop(p)
			p.until(false, test.words...)
			// What comes meanwhile is seen to wait.
			p.accept(usage("next", "45", 10, time.Now()))
			p.untilLag(true)
			if test.heal != nil {
				test.heal(p)
				p.until(true)
				p.untilLag(false)
			}
		})
	}
	t.Run("the log was made anew", func(t *testing.T) {
		t.Parallel()
		p := startServers(t)
		stop := p.start()
		p.accept(usage("first", "44", 10, time.Now()), usage("second", "44", 10, time.Now()))
		p.until(true)
		p.untilOffset(2)
		stop()
		p.start() // other topics, the same store
		p.until(false, `"code":"LOG_RECREATED"`)
	})
	t.Run("retention took what is not applied", func(t *testing.T) {
		t.Parallel()
		p := startServers(t)
		prefix := streamtest.NewPrefix(t)
		stop := p.startOn(prefix)
		p.until(true) // the first revision stands in the log
		next := p.accept(usage("first", "44", 10, time.Now())) + 1
		p.untilOffset(next)
		stop()
		for range 3 {
			p.appendRaw(prefix, streamtest.RawBatch([]byte("gone"), 0, 1))
		}
		p.cut(prefix, next+3)
		p.startOn(prefix)
		p.until(false, `"code":"STATE_GAP"`, `"partition":0`)
		p.accept(usage("next", "45", 10, time.Now()))
		p.untilLag(true)
		p.accept(fold.NewGap(&controlv1.Gap{Domain: "simulation", FromOffset: next, ToOffset: next + 3}, time.Now()))
		p.until(true)
		p.untilLag(false)
	})
}

// revisionOfLevel is a record that another binary wrote.
func revisionOfLevel(level int32) *event.Event {
	return &event.Event{
		ID: "other", Source: "tollgate/simulation", Type: event.TypeRevision, Time: time.Now(),
		Data: &controlv1.Revision{Revision: 9, Level: level},
	}
}

// A transfer that was refused once, and an event whose fold panicked, once made the service not ready for good.
func TestReady_IncidentOfOneRecordIsShownAndKeepsReady(t *testing.T) {
	t.Parallel()
	p := startServers(t)
	p.start()
	p.until(true)
	p.accept(usage("panics", "44", amountPanics, time.Now()), usage("next", "44", 10, time.Now()))
	body := p.until(true, `"incidents":[`, `"code":"APPLY_PANIC"`)
	var page struct {
		Ready     bool
		Failing   []daemon.Failing
		Incidents []daemon.Incident
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	if !page.Ready || len(page.Failing) != 0 || len(page.Incidents) != 1 || page.Incidents[0].Topic != p.client.Topic("log") {
		t.Errorf("/readyz: %s", body)
	}
	p.untilMetric(`tollgate_simulation_incidents_total{kind="APPLY_PANIC"} 1`)
	// A zombie's commit is refused: it opens again, and goes on.
	if _, err := p.store.Open(p.ctx, state.Partition{Domain: "simulation", Number: 0, Count: 1}, "zombie:1"); err != nil {
		t.Fatal(err)
	}
	p.accept(usage("after", "44", 10, time.Now()))
	p.untilMetric(`tollgate_simulation_fenced_total{domain="simulation"} 1`)
	p.until(true)
}
