package foldtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// rules is a fold whose selection, result and timers are the test's.
type rules struct {
	ruled
	selects func(e *event.Event) fold.Selection
	apply   func(s *fold.Subject[account], e *event.Event) any
	results func(s *fold.Subject[account], e *event.Event)
	fire    func(s *fold.Subject[account], name string)
	gone    func() bool // the rule
}

func (f *rules) Select(e *event.Event) fold.Selection { return f.selects(e) }

func (f *rules) ApplyRule(s *fold.Subject[account], e *event.Event) any {
	if f.apply != nil {
		return f.apply(s, e)
	}
	n := s.Body
	n.events++
	s.Save(n)
	return n.events
}

func (f *rules) Apply(s *fold.Subject[account], e *event.Event) {
	if f.results != nil {
		f.results(s, e)
	}
}

func (f *rules) Fire(s *fold.Subject[account], name string, _ time.Time) {
	if f.fire != nil {
		f.fire(s, name)
	}
}

func (f *rules) HasRule(string, string) bool { return f.gone == nil || !f.gone() }

// works makes a partition of a fold of rules; names are its timers.
func (f *rules) works(t testing.TB, timers ...string) *foldtest.Partition[account, int64] {
	d := foldtest.NewPartition(t, noon, func() fold.Fold[account, int64] { return f }, fold.Options[int64]{Timers: timers}, func(revision int64) int64 { return revision })
	d.Work()
	return d
}

func selecting(rules ...fold.Rule) func(e *event.Event) fold.Selection {
	return func(*event.Event) fold.Selection { return fold.Selection{Rules: rules} }
}

func manyRules(n int, key string, size int) (all []fold.Rule) {
	for i := range n {
		all = append(all, fold.Rule{Code: fmt.Sprintf("rule-%03d", i), Key: key, Size: size})
	}
	return all
}

// What one event changes is bounded by what it selects, so that a record that is folded again is left out again.
func TestRules_BeyondTheBoundAreLeftAsTheyAre(t *testing.T) {
	for name, c := range map[string]struct {
		rules []fold.Rule
		want  int
	}{
		"200 of small bodies":     {manyRules(200, "", ruledSize), 200},
		"201":                     {manyRules(201, "", ruledSize), 200},
		"512 KiB of large bodies": {manyRules(200, "", 8<<10), 50},
		"512 KiB of long keys":    {manyRules(200, strings.Repeat("k", 1024), ruledSize), 98},
		"one whose body is larger than all of it": {manyRules(1, "", 1<<20), 0},
	} {
		left := -1
		f := &rules{selects: selecting(c.rules...), results: func(s *fold.Subject[account], _ *event.Event) { left = s.RulesLeft }}
		d := f.works(t)
		d.Accept(usage("1", "44", 1, d.Now))
		d.Work()
		stand := 0
		for _, r := range c.rules {
			if n, ok := d.Body("acme/44\x00" + r.Code + "\x00" + r.Key); ok && n.events == 1 {
				stand++
			}
		}
		if stand != c.want || left != len(c.rules)-c.want || len(d.Published()) > 0 {
			t.Errorf("%s: %d records stand, %d are left out; want %d and %d; published %s", name, stand, left, c.want, len(c.rules)-c.want, published(t, d.Published()))
		}
	}
}

// All that one event selects may have id segments that expire at its time: one commit takes neither those keys nor the
// event beside them, and the partition once would have stood still.
func TestRules_WhatIsDueIsWorkedBeforeAnEventThatFillsACommit(t *testing.T) {
	all := manyRules(200, "", ruledSize)
	f := &rules{selects: selecting(all...)}
	d := f.works(t)
	const events = 33 * 12 // twelve segments a record
	for i := range events {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
	}
	d.Work()
	d.Now = noon.Add(26 * time.Hour)
	d.Accept(usage("last", "44", 1, d.Now)) // before any tick
	d.Work()
	for _, r := range all {
		if n, _ := d.Body("acme/44\x00" + r.Code + "\x00"); n.events != events+1 {
			t.Fatalf("%s counted %d events; want %d", r.Code, n.events, events+1)
		}
	}
	keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "s:", "", 10)
	if err != nil || len(keys) > 0 {
		t.Fatalf("segments %q stand after the window, %v", keys, err)
	}
}

// With an event the record of a rule gives up few segments, whatever has grown too old meanwhile: their timer takes the rest.
func TestRules_AnEventExpiresFewSegments(t *testing.T) {
	all := manyRules(200, "", ruledSize)
	d := (&rules{selects: selecting(all...)}).works(t)
	accept := func(id string, events int) {
		for i := range events {
			d.Accept(usage(fmt.Sprint(id, i), "44", 1, d.Now))
		}
		d.Work()
	}
	accept("old-", 33*11)
	d.Now = noon.Add(10 * time.Hour)
	accept("newer-", 40) // fills a segment: the timer is due when that one is too old
	d.Now = noon.Add(26 * time.Hour)
	accept("last-", 1)
	for _, r := range all {
		if n, _ := d.Body("acme/44\x00" + r.Code + "\x00"); n.events != 33*11+41 {
			t.Fatalf("%s counted %d events", r.Code, n.events)
		}
	}
	d.Now = noon.Add(50 * time.Hour)
	d.Work()
	keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "s:", "", 10)
	if err != nil || len(keys) > 0 {
		t.Fatalf("segments %q stand after the window, %v", keys, err)
	}
}

func TestRules_RecordOfADeletedRule(t *testing.T) {
	gone := false
	f := &rules{
		selects: selecting(fold.Rule{Code: "a", Size: ruledSize}), gone: func() bool { return gone },
		fire: func(s *fold.Subject[account], name string) { s.Save(account{events: 1000}) },
	}
	f.apply = func(s *fold.Subject[account], e *event.Event) any {
		s.Save(account{events: s.Body.events + 1})
		if amountOf(e) == rulesForgets {
			s.Schedule("remind", s.Time.Add(24*time.Hour))
		}
		return nil
	}
	stands := func(d *foldtest.Partition[account, int64]) (events int64) {
		n, _ := d.Body("acme/44\x00a\x00")
		return n.events
	}
	t.Run("goes 90 days after its last use at the latest", func(t *testing.T) {
		d := f.works(t)
		d.Accept(usage("1", "44", 1, d.Now))
		d.Work()
		gone = true
		defer func() { gone = false }()
		d.Now = noon.Add(90*24*time.Hour - time.Second)
		d.Work()
		if stands(d) != 1 {
			t.Fatal("it went before")
		}
		d.Now = noon.Add(90 * 24 * time.Hour)
		d.Work()
		if stands(d) != 0 {
			t.Fatal("it stands after 90 days")
		}
		keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "", "", 10)
		if err != nil || len(keys) > 0 {
			t.Fatalf("keys %q are left, %v", keys, err)
		}
	})
	t.Run("of a rule that stands it stays, and goes 90 days later", func(t *testing.T) {
		d := f.works(t)
		d.Accept(usage("1", "44", 1, d.Now))
		d.Work()
		d.Now = noon.Add(91 * 24 * time.Hour)
		d.Work()
		if stands(d) != 1 {
			t.Fatal("it went with its rule in force")
		}
		gone = true
		defer func() { gone = false }()
		d.Now = noon.Add(180 * 24 * time.Hour)
		d.Work()
		if stands(d) != 0 {
			t.Fatal("it stands after 180 days")
		}
	})
	t.Run("goes at its own timer, which fires nothing", func(t *testing.T) {
		d := f.works(t, "remind")
		d.Accept(usage("1", "44", rulesForgets, d.Now))
		d.Work()
		gone = true
		defer func() { gone = false }()
		d.Now = noon.Add(24 * time.Hour)
		d.Work()
		if n := stands(d); n != 0 {
			t.Fatalf("it stands with %d events", n)
		}
	})
	t.Run("of a rule that is there again in time it fires", func(t *testing.T) {
		d := f.works(t, "remind")
		d.Accept(usage("1", "44", rulesForgets, d.Now))
		d.Work()
		gone = true
		d.Now = noon.Add(23 * time.Hour)
		d.Work()
		gone = false
		d.Now = noon.Add(24 * time.Hour)
		d.Work()
		if n := stands(d); n != 1000 {
			t.Fatalf("its timer left %d events", n)
		}
	})
}

// What a record of a rule may not do leaves it as it is: the event is rejected, and goes on to the others.
func TestRules_MisuseIsOfOneRecord(t *testing.T) {
	for name, misuse := range map[string]func(s *fold.Subject[account]) any{
		"a sequence":         func(s *fold.Subject[account]) any { n, _ := s.NextSequence(); return n },
		"a side record":      func(s *fold.Subject[account]) any { s.KeepSideRecord([]byte("x")); return nil },
		"an outcome":         func(s *fold.Subject[account]) any { s.Emit(stream.Record{Topic: "ordered"}); return nil },
		"a rejection":        func(s *fold.Subject[account]) any { s.Reject("NO", "no"); return nil },
		"its end":            func(s *fold.Subject[account]) any { s.Delete(); return nil },
		"a panic":            func(s *fold.Subject[account]) any { panic("unlucky") },
		"more than its size": func(s *fold.Subject[account]) any { s.Save(account{}); return nil },
	} {
		var results []any
		selected := []fold.Rule{{Code: "a", Size: ruledSize}, {Code: "b", Size: ruledSize}, {Code: "c", Size: ruledSize}}
		if name == "more than its size" {
			selected[1].Size--
		}
		f := &rules{selects: selecting(selected...), results: func(s *fold.Subject[account], _ *event.Event) { results = s.Results }}
		f.apply = func(s *fold.Subject[account], _ *event.Event) any {
			s.Save(account{events: s.Body.events + 1})
			if _, code, _ := s.Rule(); code == "b" {
				return misuse(s)
			}
			return 7
		}
		d := f.works(t)
		d.Accept(usage("1", "44", 1, d.Now))
		d.Work()
		if got := published(t, d.Published()); got != "PANIC" || d.Incidents[fold.IncidentPanic] == nil {
			t.Errorf("%s: published %s, incident %v", name, got, d.Incidents[fold.IncidentPanic])
		}
		a, _ := d.Body("acme/44\x00a\x00")
		_, b := d.Body("acme/44\x00b\x00")
		c, _ := d.Body("acme/44\x00c\x00")
		if a.events != 1 || b || c.events != 1 || fmt.Sprint(results) != "[7 <nil> 7]" {
			t.Errorf("%s: records a %v, b stands %t, c %v; results %v", name, a, b, c, results)
		}
	}
}

func TestRules_SelectionThatHasNoNameIsRejected(t *testing.T) {
	for name, rule := range map[string]fold.Rule{
		"a code of 257 bytes":  {Code: strings.Repeat("c", 257)},
		"a code with a zero":   {Code: "a\x00b"},
		"no code":              {Key: "k"},
		"a key of 1,025 bytes": {Code: "a", Key: strings.Repeat("k", 1025)},
	} {
		d := (&rules{selects: selecting(rule)}).works(t)
		d.Accept(usage("1", "44", 1, d.Now))
		d.Work()
		if got := published(t, d.Published()); got != "PANIC" {
			t.Errorf("%s: published %s", name, got)
		}
	}
	t.Run("by a fold without rules", func(t *testing.T) {
		d := foldtest.NewPartition(t, noon, func() fold.Fold[account, int64] { return withoutRules{&ruled{}} }, fold.Options[int64]{}, func(int64) int64 { return 1 })
		d.Work()
		e := usage("1", "44", 1, d.Now)
		e.Data.(*eventv1.UsageCharged).Service = "b/x"
		d.Accept(e)
		d.Work()
		if got := published(t, d.Published()); got != "PANIC" {
			t.Errorf("published %s", got)
		}
	})
}

type withoutRules struct{ fold.Fold[account, int64] }

// A subject's record is read for a snapshot later than those of its rules: what the subject has of them is never
// decided again without it.
func TestSnapshot_ReadsRulesBeforeTheirSubjects(t *testing.T) {
	d := foldtest.NewPartition(t, noon, func() fold.Fold[account, int64] { return &ruled{} }, ruling(0).Options, func(int64) int64 { return 1 })
	d.Limits = func(c *fold.OwnerConfig[account, int64]) { c.Batch, c.SnapshotEvents = 1, 4 }
	d.Work()
	for i := range 12 {
		e := usage(fmt.Sprint(i), "44", 1, d.Now)
		e.Data.(*eventv1.UsageCharged).Service = "b/ d/x"
		d.Accept(e)
	}
	d.Work()
	order := ""
	for _, r := range d.Written() {
		for _, e := range r.GetEntries().GetEntries() {
			switch _, rest, rule := strings.Cut(e.GetKey(), "\x00"); {
			case rule && strings.HasPrefix(rest, "b"), rule && strings.HasPrefix(rest, "d"):
				order += "r"
			default:
				order += "s"
			}
		}
		if r.GetEnd() != nil {
			order += "."
		}
	}
	if order == "" || strings.Trim(order, ".") == "" || strings.ReplaceAll(order, "rrs.", "") != "" {
		t.Fatalf("snapshots hold %s; want rules before subjects in each", order)
	}
}

// The record of a rule that ends before a snapshot comes to it would otherwise be made anew of what it had counted.
func TestSnapshot_HasTombstonesOfRulesThatEndedMeanwhile(t *testing.T) {
	var applied []string
	f := &ruled{applied: func(_ *fold.Subject[account], e *event.Event) { applied = append(applied, e.ID) }}
	d := foldtest.NewPartition(t, noon, func() fold.Fold[account, int64] { return f }, ruling(0).Options, func(int64) int64 { return 1 })
	d.Limits = func(c *fold.OwnerConfig[account, int64]) { c.Batch, c.SnapshotEvents = 1, 3 }
	d.Work()
	for id, amount := range []int64{15, rulesEnds, 1} {
		e := usage(fmt.Sprint(id), "44", amount, d.Now)
		if id < 2 {
			e.Data.(*eventv1.UsageCharged).Service = "b/"
		}
		d.Accept(e)
	}
	d.Work()
	tombstones := 0
	for _, r := range d.Written() {
		for _, e := range r.GetEntries().GetEntries() {
			if e.GetKey() == "r:acme/44\x00b\x00" && fold.Gone(e.GetValue()) {
				tombstones++
			}
		}
	}
	if tombstones == 0 {
		t.Fatal("no snapshot shows that the record ended while it was read")
	}
	d.Restore(nil)
	applied = nil
	d.Work()
	if len(applied) > 0 {
		t.Fatalf("applied again after the restore: %q", applied)
	}
}

// A replay of one subject from a snapshot once had its record without those of its rules.
func TestReplay_OfOneSubjectHasItsRules(t *testing.T) {
	d := foldtest.NewPartition(t, noon, func() fold.Fold[account, int64] { return &ruled{} }, ruling(0).Options, func(int64) int64 { return 1 })
	every := int64(3)
	d.Limits = func(c *fold.OwnerConfig[account, int64]) { c.Batch, c.SnapshotEvents = 1, every }
	d.Work()
	for i := range 10 {
		if i == 5 {
			every = 1 << 40
		}
		e := usage(fmt.Sprint(i), "44", 11, d.Now)
		e.Data.(*eventv1.UsageCharged).Service = "b/"
		d.Accept(e)
		d.Work()
	}
	want, _ := d.Body("acme/44")
	end := d.Watermark().Offset
	r, err := d.Replay(replay.Config[account, int64]{Subject: "acme/44", Near: true, Until: end})
	if err != nil {
		t.Fatal(err)
	}
	got, ok := r.Body("acme/44")
	if !ok || got != want || r.From == 0 || r.From > end-4 {
		t.Errorf("from offset %d of %d the subject is folded again as %v; want %v", r.From, end, got, want)
	}
}
