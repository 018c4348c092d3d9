package safeguard

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// However a sum is split into charges, each threshold is told once, in ascending order, and so is the limit.
func TestHoweverASumIsSplitEachThresholdIsToldOnce(t *testing.T) {
	c := catalogOf(t, 1, gold(thresholds("20%", "33.333333333", "80%", "100%", "150%")))
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.Int64Range(0, 20*int64(spend.Unit)), 0, 40).Draw(t, "parts")
		sub := subscriber{activated: moment("2026-03-02T09:00"), class: "gold"}
		at := moment("2026-03-02T10:00")
		turnOf := func() *turn {
			return &turn{at: at, eventTime: at, cause: cause{event: &event.Event{}}, tenant: "acme", catalog: c, exists: true, sub: sub}
		}
		begun := turnOf()
		begun.begin(spend.Data, c.class("acme", "gold").offers[spend.Data], initial{}, becauseActivation)
		sub = begun.sub

		sum := spend.Amount(0)
		var told []string
		for _, part := range parts {
			u := turnOf()
			u.used(&eventv1.UsageCharged{
				Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: moneyOf(spend.Amount(part), "EUR"),
			})
			sub = u.sub
			sum += spend.Amount(part)
			for _, o := range u.outcomes {
				told = append(told, strings.TrimSpace(o.kind+" "+o.part))
			}
		}
		var want []string
		for _, threshold := range []struct {
			at   spend.Amount
			name string
		}{{10 * spend.Unit, "alert 20%"}, {33333333333, "alert 33.333333333"}, {40 * spend.Unit, "alert 80%"}, {50 * spend.Unit, "alert 100%"}, {50 * spend.Unit, "reached"}, {75 * spend.Unit, "alert 150%"}} {
			if sum >= threshold.at {
				want = append(want, threshold.name)
			}
		}
		told = slices.DeleteFunc(told, func(s string) bool { return s == kindOvershoot })
		// Where one charge goes over everything, the limit is told after all of its alerts.
		slices.Sort(told)
		slices.Sort(want)
		if !slices.Equal(told, want) {
			t.Errorf("after %s: told %q, want %q", sum, told, want)
		}
		if sub.options[spend.Data].count.Spent != sum || sub.options[spend.Data].blocked != (sum >= 50*spend.Unit) {
			t.Errorf("spent %s of %s, blocked %t", sub.options[spend.Data].count.Spent, sum, sub.options[spend.Data].blocked)
		}
	})
}

var (
	seed  = flag.Uint64("seed", 0, "replays one history of the law")
	seeds = flag.Uint64("seeds", 100, "how many histories the law runs in memory")
)

// The law of the engine holds for this fold: kills, zombies, lost stores and any cutting into batches leave no trace.
func TestLaw(t *testing.T) {
	law := statetest.Law[subscriber, *catalog]{
		Steps:         400,
		NewFold:       func() state.Fold[subscriber, *catalog] { return &fold{safeguards: "safeguards"} },
		Configuration: lawCatalogs(t),
		Draw:          drawEvent,
		Sequence: func(r stream.Record) (string, int64, bool) {
			e, err := event.Decode(r.Value)
			if err != nil {
				return "", 0, false
			}
			if reason, rejected := r.Header(event.HeaderReason); rejected && string(reason) == "PANIC" {
				detail, _ := r.Header(event.HeaderDetail)
				t.Errorf("%s %s: %s", e.Type, e.ID, detail)
			}
			d, ok := e.Data.(*eventv1.Safeguard)
			return e.Subject, d.GetSequence(), ok
		},
		Incidents: []string{refusedTarget},
	}
	if *seed != 0 {
		law.Check(t, *seed, statetest.NewMemory())
		return
	}
	for s := uint64(1); s <= *seeds && !t.Failed(); s++ {
		law.Check(t, s, statetest.NewMemory())
	}
}
