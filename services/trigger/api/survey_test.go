package api

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

var begin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// inMemory are partitions with a record a minute.
type inMemory struct {
	partitions [][]stream.Record
	each       int
	slow       time.Duration
}

func newInMemory(t *testing.T, partitions, records int, tenant func(i int) string) *inMemory {
	t.Helper()
	m := &inMemory{each: 10}
	for p := range partitions {
		var all []stream.Record
		for i := range records {
			e := &event.Event{ID: fmt.Sprint(p, "-", i), Source: "s", Type: "usage.charged", Tenant: tenant(i), Subject: "44", Time: begin, ReceivedAt: begin.Add(time.Duration(i) * time.Minute), Data: &eventv1.UsageCharged{}}
			r, err := e.Record("events.ordered")
			if err != nil {
				t.Fatal(err)
			}
			r.Partition, r.Offset = int32(p), int64(i)
			all = append(all, r)
		}
		m.partitions = append(m.partitions, all)
	}
	return m
}

func (m *inMemory) Partitions(context.Context, string) (int, error) { return len(m.partitions), nil }

func (m *inMemory) Offsets(_ context.Context, _ string, p int32) (start, end int64, err error) {
	return 0, int64(len(m.partitions[p])), nil
}

func (m *inMemory) OffsetAt(_ context.Context, _ string, p int32, at time.Time) (int64, error) {
	i := slices.IndexFunc(m.partitions[p], func(r stream.Record) bool { return !r.Time.Before(at) })
	if i < 0 {
		i = len(m.partitions[p])
	}
	return int64(i), nil
}

func (m *inMemory) FetchFrom(ctx context.Context, _ string, p int32, offset int64, _ int) (stream.Batch, error) {
	time.Sleep(m.slow)
	to := min(int64(len(m.partitions[p])), offset+int64(m.each))
	return stream.Batch{Records: slices.Clone(m.partitions[p][offset:to]), Next: to}, ctx.Err()
}

// counting is a trial that marks each record that it gets as a firing.
type counting struct {
	Trial
	rule *rules.Rule
	full bool // of memory, behind the first batch
}

func (c counting) Rule() *rules.Rule { return c.rule }

func (counting) Problems() []*triggerv1.DryRunProblem { return nil }

func (counting) Messages(*event.Event, *event.Event, time.Time, string) []*triggerv1.PreviewedMessage {
	return nil
}

func (c counting) Fold(ctx context.Context, p Past, _ func(uint64) bool, visit func(Mark)) (int64, error) {
	for at := p.Begin.Offset; at < p.Until && p.Ahead(at); {
		b, err := p.Log.Fetch(ctx, at)
		if err != nil {
			return 0, err
		}
		for _, r := range b.Records {
			if len(r.Headers) > 0 { // the tick has none
				visit(Mark{Time: r.Time, Offset: r.Offset, Subject: string(r.Key)})
			}
		}
		at = b.Next
		if n := len(b.Records); n > 0 {
			at = b.Records[n-1].Offset + 1 // as the engine goes on
		}
		if c.full {
			return 0, replay.ErrMemory
		}
	}
	return 0, nil
}

func surveyOf(t *testing.T, m *inMemory, records int64) *survey {
	t.Helper()
	n := &configv1.Notification{Name: "tenants/acme/notifications/x", Trigger: &configv1.Trigger{EventTypes: []string{"usage.charged"}}, Actions: []*configv1.Action{
		{Name: "a", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/e"}}},
	}}
	rule, err := rules.Compile(rules.FromProto(n, table.Channels))
	if err != nil {
		t.Fatal(err)
	}
	return &survey{
		trial: counting{rule: rule}, records: m, from: begin, to: begin.Add(49 * time.Hour), zone: time.UTC, started: time.Now(),
		logs:   []Log{{Domain: "d", Topic: "events.ordered", Has: func(t event.Type) bool { return t.Queue == event.Ordered }}},
		bounds: bounds{records: records, memory: 1 << 20, time: time.Minute},
	}
}

func acme(int) string { return "acme" }

// Each bound ends a dry run, whole partitions where they fit; the answer names what was read, and scales nothing.
func TestSurvey_EndsAtItsBoundsAndNamesWhatItRead(t *testing.T) {
	for name, test := range map[string]struct {
		partitions, records int
		most                int64
		slow                time.Duration
		full                bool
		whole, begun        int32
		read                int64
		by                  triggerv1.DryRunRead_Bound
	}{
		"everything is read":                       {4, 100, 1000, 0, false, 4, 4, 400, triggerv1.DryRunRead_BOUND_UNSPECIFIED},
		"as many whole partitions as stay within":  {4, 100, 250, 0, false, 2, 2, 200, triggerv1.DryRunRead_BOUND_RECORDS},
		"one that is larger than the bound is cut": {4, 100, 50, 0, false, 0, 1, 50, triggerv1.DryRunRead_BOUND_RECORDS},
		"time runs out":                            {1, 100, 1000, 11 * time.Second, false, 0, 1, 60, triggerv1.DryRunRead_BOUND_TIME},
		"states take too much":                     {1, 100, 1000, 0, true, 0, 1, 10, triggerv1.DryRunRead_BOUND_MEMORY},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newInMemory(t, test.partitions, test.records, acme)
				m.slow = test.slow
				s := surveyOf(t, m, test.most)
				c := s.trial.(counting)
				c.full = test.full
				s.trial = c
				if err := s.all(t.Context()); err != nil {
					t.Fatal(err)
				}
				r := s.result()
				read := r.GetRead()
				if read.GetPartitionsRead() != test.whole || read.GetPartitionsBegun() != test.begun || read.GetRecordsRead() != test.read || read.GetEndedBy() != test.by {
					t.Errorf("read: %v", read)
				}
				if r.GetFirings() != test.read || read.GetRecords() != int64(test.partitions*test.records) {
					t.Errorf("%d firings of %d records, %d in all", r.GetFirings(), test.read, read.GetRecords())
				}
				if days := r.GetDays(); len(days) != 3 || days[0].GetRecordsRead()+days[1].GetRecordsRead()+days[2].GetRecordsRead() != test.read {
					t.Errorf("days: %v", days)
				}
			})
		})
	}
}

// Records of other tenants are left out before they are decoded, and time goes on all the same.
func TestPastLog_LeavesOutWhatTheRuleDoesNotRead(t *testing.T) {
	t.Parallel()
	m := newInMemory(t, 1, 95, func(i int) string { return []string{"acme", "other", "other"}[i%3] })
	s := surveyOf(t, m, 1000)
	if err := s.all(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.result(); r.GetFirings() != 32 || r.GetRead().GetRecordsRead() != 95 {
		t.Errorf("%v", r)
	}
	l := &pastLog{from: m, until: 95, concerns: func(tenant, _ []byte) bool { return string(tenant) == "acme" }, read: func(int, int64) {}, end: begin.Add(time.Hour)}
	m.partitions[0][1].Time = begin.Add(30 * time.Minute)
	b, err := l.Fetch(t.Context(), 0)
	if err != nil || len(b.Records) != 4 || !b.Records[1].Time.Equal(begin.Add(30*time.Minute)) {
		t.Errorf("%v: %v", b.Records, err)
	}
	if last, err := l.Fetch(t.Context(), 95); err != nil || len(last.Records) != 1 || !last.Records[0].Time.Equal(begin.Add(time.Hour)) || last.Next != 96 {
		t.Errorf("the end: %v, %v", last, err)
	}
}

// A caller that goes away ends the work.
func TestSurvey_EndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t, 2, 100, acme)
		m.slow = time.Second
		s := surveyOf(t, m, 1000)
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		if err := s.all(ctx); err == nil || s.elapsed() > 4*time.Second {
			t.Errorf("ended after %s: %v", s.elapsed(), err)
		}
	})
}

func TestGate_LetsFewInAndOneOfATenant(t *testing.T) {
	t.Parallel()
	g := gate{most: 2, reason: ReasonDryRunBusy, what: "busy"}
	leave, err := g.enter("a")
	if err != nil {
		t.Fatal(err)
	}
	busy := func(key string) {
		t.Helper()
		_, err := g.enter(key)
		e := fault.ReasonOf(err)
		if e != ReasonDryRunBusy || fault.KindOf(err) != fault.Throttled {
			t.Errorf("%q: %v", key, err)
		}
	}
	busy("a")
	if _, err := g.enter("b"); err != nil {
		t.Fatal(err)
	}
	busy("c")
	leave()
	if _, err := g.enter("a"); err != nil {
		t.Error(err)
	}
}

func TestMask_LeavesNobodyToBeRecognised(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "447700900123": "44********23", "1234567": "*******", "jane.doe@example.com": "j***@example.com", "münchen-süd": "mü*******üd"} {
		if got := mask(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
