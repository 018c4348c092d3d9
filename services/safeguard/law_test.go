package safeguard

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
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
		Draw:          draw,
		Sequence: func(r stream.Record) (string, int64, bool) {
			e, err := event.Decode(r.Value)
			if err != nil {
				return "", 0, false
			}
			d, ok := e.Data.(*eventv1.Safeguard)
			return e.Subject, d.GetSequence(), ok
		},
	}
	if *seed != 0 {
		law.Check(t, *seed, statetest.NewMemory())
		return
	}
	for s := uint64(1); s <= *seeds && !t.Failed(); s++ {
		law.Check(t, s, statetest.NewMemory())
	}
}

// lawCatalogs are catalogs that differ from revision to revision in whatever may.
func lawCatalogs(t *testing.T) func(int64) *catalog {
	made := map[int64]*catalog{}
	return func(n int64) *catalog {
		if c, ok := made[n]; ok {
			return c
		}
		var classes []*configv1.ClassOfService
		switch n % 7 {
		case 5:
			classes = append(classes, bare())
		case 6: // the class is gone
		default:
			classes = append(classes, gold(limit(fmt.Sprint(20+10*(n%5))), thresholds("50%", "80%"), renews("Europe/Berlin", 1+int32(n%3))))
		}
		made[n] = catalogOf(t, n, classes...)
		return made[n]
	}
}

func draw(r *rand.Rand, earlier []*event.Event, now time.Time) *event.Event {
	e := &event.Event{
		ID: fmt.Sprintf("e-%d", len(earlier)), Source: "law", Type: "usage.charged", Tenant: "acme", Time: now,
		Subject: fmt.Sprintf("4477%02d", r.IntN(1+r.IntN(6))),
	}
	// Ids of the last hours only are among earlier: one more tells those of another day apart.
	e.ID += "-" + now.Format(time.RFC3339Nano)
	switch n := r.IntN(20); {
	case n < 4:
		e.Type, e.Data = "subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold", Imsi: "234150999999999"}
		return e
	case n < 5:
		e.Type, e.Data = "subscriber.terminated", &eventv1.SubscriberTerminated{}
		return e
	}
	u := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: r.IntN(10) > 0, Net: units(fmt.Sprint(1 + r.IntN(25)))}
	e.Data = u
	switch r.IntN(8) {
	case 0: // a refund
		u.Net = units(fmt.Sprint(-1 - r.IntN(25)))
		u.Corrects = &eventv1.Correction{Id: "before", Time: timestamppb.New(now.Add(-time.Duration(r.IntN(200)) * time.Hour))}
	case 1: // late
		e.Time = now.Add(-time.Duration(r.IntN(100)) * time.Hour)
	case 2: // ahead
		e.Time = now.Add(time.Duration(r.IntN(600)) * time.Second)
	case 3:
		u.Net.CurrencyCode = "GBP"
	}
	return e
}
