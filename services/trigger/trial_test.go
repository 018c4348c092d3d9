package trigger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/systemtest/trigger/model"
	"github.com/tollgate/tollgate/services/trigger/api"
)

// past is the log of a partition in memory, as a trial reads it: some records at a time.
type past struct {
	*partition
	fetch func() int
}

func (l past) Fetch(_ context.Context, from int64) (stream.Batch, error) {
	to := min(int64(len(l.Records)), from+int64(l.fetch()))
	return stream.Batch{Records: slices.Clone(l.Records[from:to]), Next: to}, nil
}

// tried folds the log with one notification and returns a line for each delivery, decision and firing, sorted.
func tried(t testing.TB, p *partition, b *Book, n *configv1.Notification, fetch func() int) (planned, firings []string, pending int64) {
	t.Helper()
	trial, err := trying{b, "own"}.Try(n)
	if err != nil {
		t.Fatal(err)
	}
	seen := func(m api.Mark) {
		switch m.Kind {
		case api.Planned:
			planned = append(planned, m.Delivery)
		case api.Held:
			planned = append(planned, decisionLine(m.Decision))
		case api.Fired:
			firings = append(firings, fmt.Sprintf("%s %d %s", m.Subject, m.Offset, m.Firing))
		}
	}
	pending, err = trial.Fold(t.Context(), api.Past{
		Domain: DomainOrdered, Topic: p.topic, Log: past{p, fetch}, Begin: replay.Begin{Time: epoch}, Until: int64(len(p.Records)),
	}, func(uint64) bool { return true }, seen)
	if err != nil {
		t.Fatal(err)
	}
	return planned, firings, pending
}

// sorted has each decision once.
func sorted(lines []string) (out []string) {
	for _, line := range slices.Sorted(slices.Values(lines)) {
		if n := len(out); n == 0 || line != out[n-1] || !strings.HasPrefix(line, "REASON") {
			out = append(out, line)
		}
	}
	return out
}

func decisionLine(d *triggerv1.Decision) string {
	return fmt.Sprintf("%s %s %s %s %s", d.GetReason(), d.GetEvent().GetSubject(), d.GetEvent().GetId(), d.GetKey(), d.GetFiring())
}

var trialHistories = simulation.Histories{Short: 6, Test: 60, Long: 2000}

// A dry run of a notification over the log finds the deliveries and the decisions of live planning, by their ids: of every
// kind, with repeats of producers, late events and timers.
func TestTrial_FindsWhatLivePlanned(t *testing.T) {
	simulation.Run(t, trialHistories, func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := newPartition(t, "events.ordered")
		rules := map[string]*configv1.Notification{"spent": rule("spent", []string{"invoice.delivered"}, `data.document.due_amount.units > 0`, action("notify", "crm"), action("more", "app"))}
		for _, code := range model.Codes {
			at := model.RuleAt(1+int64(seed%12), code)
			at.Active = true
			rules[code] = at.Notification()
		}
		s := snapshot(1, func(s *configv1.Snapshot) {
			s.Tenants[0].TimeZone = "Europe/Berlin"
			s.Notifications = nil
			for _, n := range rules {
				s.Notifications = append(s.Notifications, n)
			}
		})
		p.configure(s)
		var sent []*event.Event
		for i := range 300 {
			p.pass(time.Duration(r.IntN(1+r.IntN(600_000))) * time.Millisecond)
			if r.IntN(40) == 0 {
				p.pass(time.Duration(r.IntN(30)) * time.Hour)
			}
			if len(sent) > 0 && r.IntN(8) == 0 {
				// What came more than a day ago is forgotten to the hour, as each record has it.
				if e := sent[max(0, len(sent)-1-r.IntN(20))]; p.now.Sub(e.ReceivedAt) < 22*time.Hour {
					p.append(e)
				}
				continue
			}
			e := model.Draw(r, 3, p.now)
			e.ID, e.ReceivedAt = fmt.Sprint("e-", i), p.now
			sent = append(sent, e)
			p.append(e)
		}
		p.pass(48 * time.Hour)
		p.tick()
		p.run()
		live := map[string][]string{}
		for _, d := range p.deliveries() {
			live[d.Notification] = append(live[d.Notification], d.ID)
		}
		for _, d := range p.decisions() {
			live[d.GetNotification()] = append(live[d.GetNotification()], decisionLine(d))
		}
		b := p.books[1]
		for code, n := range rules {
			// Of what no state remembers a repeat is decided again, live where no other notification remembers it.
			live[code] = sorted(live[code])
			planned, firings, _ := tried(t, p, b, n, func() int { return 1 + r.IntN(60) })
			if diff := cmp.Diff(live[code], sorted(planned)); diff != "" {
				t.Errorf("seed %d, notification %s: live and the dry run differ:\n%s", seed, code, diff)
			}
			want := strings.Count(strings.Join(planned, "\n"), "dlv_") / len(n.GetActions())
			if len(firings) != want {
				t.Errorf("seed %d, notification %s: %d firings are marked, %d were planned", seed, code, len(firings), want)
			}
			if len(planned) > 0 {
				meet("trial " + code)
			}
		}
	})
}

// What a draft keeps and what is to come is counted apart.
func TestTrial_CountsValuesWithoutABeforeAndTimersToCome(t *testing.T) {
	t.Parallel()
	p := newPartition(t, "events.ordered")
	b := book(snapshot(1, nil), nil)
	p.append(balance("1", 20), balance("2", 5), invoice("3", "a", p.now), invoice("4", "b", p.now), payment("5", "a"))
	trial, err := trying{b, "own"}.Try(stateful(t, "x", below10))
	if err != nil {
		t.Fatal(err)
	}
	without := 0
	_, err = trial.Fold(t.Context(), api.Past{Log: past{p, func() int { return 9 }}, Begin: replay.Begin{Time: epoch}, Until: 5}, func(uint64) bool { return false }, func(m api.Mark) {
		if m.Kind == api.NoBefore {
			without++
		}
	})
	if err != nil || without != 1 {
		t.Errorf("%d values without a before, %v", without, err)
	}
	planned, firings, pending := tried(t, p, b, stateful(t, "x", unlessPaid), func() int { return 2 })
	if len(firings) != 0 || pending != 1 || len(planned) != 1 || !strings.HasPrefix(planned[0], "REASON_CANCELLED account/1 3 a") {
		t.Errorf("firings %v, pending %d, planned %v", firings, pending, planned)
	}
}

// A draft that is tried has a bound of memory.
func TestTrial_EndsWhereItsStatesTakeTooMuch(t *testing.T) {
	t.Parallel()
	p := newPartition(t, "events.ordered")
	for i := range 500 {
		p.append(invoice(fmt.Sprint(i), fmt.Sprint("d", i), p.now))
	}
	trial, err := trying{book(snapshot(1, nil), nil), "own"}.Try(stateful(t, "x", unlessPaid))
	if err != nil {
		t.Fatal(err)
	}
	fold := func(most int64) error {
		_, err := trial.Fold(t.Context(), api.Past{Log: past{p, func() int { return 50 }}, Begin: replay.Begin{Time: epoch}, Until: 500, MaxBytes: most}, func(uint64) bool { return false }, func(api.Mark) {})
		return err
	}
	if err := fold(50_000); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("states of %d invoices in 50 kB: %v", 500, err)
	}
	if err := fold(1 << 20); err != nil {
		t.Error(err)
	}
}
