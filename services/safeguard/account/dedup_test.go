package account

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// A file of roaming records is sent again two days later, in the same period: what stands in it is counted twice by
// default, and once where the tenant wants ids to be remembered as long as its partners take.
func TestDedup_FileSentAgainAfterADay(t *testing.T) {
	eur := func(m *money.Money) func(*eventv1.UsageCharged) {
		return func(u *eventv1.UsageCharged) { u.Net, m.CurrencyCode = m, "EUR" }
	}
	for name, row := range map[string]struct {
		window *durationpb.Duration
		spent  string
	}{
		"a day, by default": {nil, "80.1"},
		"five weeks":        {durationpb.New(35 * 24 * time.Hour), "40.1"},
	} {
		p := newPartition(t)
		p.tenant.DedupWindow = row.window
		p.at("2026-11-02T00:00")
		p.configures(gold())
		p.activates(func(e *event.Event) { e.ID = "fc17-a" })
		p.at("2026-11-03T10:00")
		first := p.uses("0", func(e *event.Event) { e.ID, e.Source = "fc17-u1", "tap" }, with(eur(&money.Money{Units: 40})))
		p.works()
		p.at("2026-11-04T18:05")
		p.uses("0", func(e *event.Event) { e.ID, e.Source = "fc17-u2", "tap" }, on("2026-11-04T18:00"), with(eur(&money.Money{Nanos: 100_000_000})))
		p.append(first)
		p.works()
		if sub, _ := p.record(); sub.Options[spend.Data].Count.Spent.String() != row.spent {
			t.Errorf("%s: spent %s, want %s", name, sub.Options[spend.Data].Count.Spent, row.spent)
		}
	}
}

// A window that becomes longer keeps what stands by then, one that becomes shorter lets go of what is older at the next
// event that is counted.
func TestDedup_WindowIsThatOfTheConfigurationInForce(t *testing.T) {
	p := newPartition(t)
	p.configures(gold())
	p.activates()
	first := p.uses("10")
	p.tenant.DedupWindow = durationpb.New(72 * time.Hour)
	p.at("2026-03-03T08:00")
	p.configures(gold())
	p.at("2026-03-04T20:00")
	p.uses("1")
	p.append(first)
	p.works()
	if sub, _ := p.record(); sub.Options[spend.Data].Count.Spent != 11*spend.Unit {
		t.Fatalf("spent %s, want 11: the window is 72 hours by now", sub.Options[spend.Data].Count.Spent)
	}
	p.tenant.DedupWindow = nil
	p.configures(gold())
	p.uses("1")
	p.append(first)
	p.works()
	if sub, _ := p.record(); sub.Options[spend.Data].Count.Spent != 22*spend.Unit {
		t.Fatalf("spent %s, want 22: the window is a day again", sub.Options[spend.Data].Count.Spent)
	}
}

// A subscriber's newest 1,024 ids are known for five weeks, in segments too.
func TestDedup_LongWindowHoldsSegments(t *testing.T) {
	p := newPartition(t)
	p.tenant.DedupWindow = durationpb.New(35 * 24 * time.Hour)
	p.configures(gold())
	p.activates()
	sent := []*event.Event{p.uses("0.01", func(e *event.Event) { e.ID = "first" })}
	for day := range 30 {
		p.now = p.now.Add(23 * time.Hour)
		for i := range 20 {
			sent = append(sent, p.uses("0.01", func(e *event.Event) { e.ID = fmt.Sprint(day, "-", i) }))
		}
	}
	p.works()
	before, _ := p.record()
	p.append(sent...)
	p.works()
	if after, _ := p.record(); after.Options[spend.Data].Count != before.Options[spend.Data].Count || len(after.Options[spend.Data].late) != len(before.Options[spend.Data].late) {
		t.Errorf("%v became %v: repeats within the window were counted", before.Options[spend.Data].Count, after.Options[spend.Data].Count)
	}
}
