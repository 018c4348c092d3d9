package account

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// However a sum is split into charges, each threshold has one outcome, in ascending order, and so is the limit.
func TestThresholds_CrossedOnceHoweverASumIsSplit(t *testing.T) {
	c := catalogOf(t, 1, gold(thresholds("20%", "33.333333333", "80%", "100%", "150%")))
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.Int64Range(0, 20*int64(spend.Unit)), 0, 40).Draw(t, "parts")
		sub := Subscriber{Activated: moment("2026-03-02T09:00"), Class: "gold"}
		at := moment("2026-03-02T10:00")
		turnOf := func() *turn {
			return &turn{at: at, eventTime: at, cause: cause{event: &event.Event{}}, tenant: "acme", catalog: c, exists: true, decision: decision{sub: sub}}
		}
		begun := turnOf()
		begun.begin(spend.Data, c.Class("acme", "gold").Offers[spend.Data], initial{}, becauseActivation)
		sub = begun.sub

		sum := spend.Amount(0)
		var outcomes []string
		for _, part := range parts {
			u := turnOf()
			u.used(&eventv1.UsageCharged{
				Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: MoneyOf(spend.Amount(part), "EUR"),
			})
			sub = u.sub
			sum += spend.Amount(part)
			for _, o := range u.outcomes {
				outcomes = append(outcomes, strings.TrimSpace(o.kind+" "+o.part))
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
		outcomes = slices.DeleteFunc(outcomes, func(s string) bool { return s == KindOvershoot })
		// Where one charge goes over everything, the limit is reached after all of its alerts.
		slices.Sort(outcomes)
		slices.Sort(want)
		if !slices.Equal(outcomes, want) {
			t.Errorf("after %s: got %q, want %q", sum, outcomes, want)
		}
		if sub.Options[spend.Data].Count.Spent != sum || sub.Options[spend.Data].Blocked != (sum >= 50*spend.Unit) {
			t.Errorf("spent %s of %s, blocked %t", sub.Options[spend.Data].Count.Spent, sum, sub.Options[spend.Data].Blocked)
		}
	})
}

// On servers a history is shorter: each of its steps is a round trip.
const (
	simulationSteps          = 400
	simulationStepsOnServers = 120
)

// The engine is exact for this fold: kills, zombies, lost stores and any cutting into batches leave no trace, and callers
// were answered what happened.
func TestSimulation_CrashesLeaveNoTrace(t *testing.T) {
	t.Cleanup(func() { checkTally(t) })
	simulation.Run(t, simulationHistories, func(t *testing.T, seed uint64) { checkSimulation(t, seed, simulationSteps, foldtest.NewMemory()) })
}

// It is exact among partitions too: a subscriber whose number moves to another one, and what follows it there, through a
// crash at any step.
func TestSimulation_OfTransfers(t *testing.T) {
	t.Cleanup(func() { checkMoves(t) })
	simulation.Run(t, movesHistories, func(t *testing.T, seed uint64) {
		checkSimulation(t, seed, simulationSteps, foldtest.NewMemory(), foldtest.NewMemory())
	})
}

func TestSimulation_OnServers(t *testing.T) {
	brokers, kafka := streamtest.RealKafka(t)
	address, redis := statetest.RealRedis(t)
	if !kafka || !redis {
		brokers, address = streamtest.Embedded(t), statetest.Redises(t)[0].Address
	}
	alone, among := simulation.Histories{Short: 2, Test: 6, Long: 6}.Count(t), simulation.Histories{Short: 1, Test: 3, Long: 3}.Count(t)
	if kafka && redis {
		alone, among = simulationHistoriesOnServers.Count(t), movesHistoriesServers.Count(t)
	}
	servers := foldtest.NewServers(t, brokers, statetest.Redis{Name: "redis", Address: address, Real: redis && kafka}, alone+2*among)
	simulation.Each(t, alone+among, 1_000_000, func(t *testing.T, i int, seed uint64) {
		if i < alone {
			checkSimulation(t, seed, simulationStepsOnServers, servers.Backend(t, i))
			return
		}
		first := alone + 2*(i-alone)
		checkSimulation(t, seed, simulationStepsOnServers, servers.Backend(t, first), servers.Backend(t, first+1))
	})
}

// tally counts what callers were answered, moves how many subscribers took over another number's record.
var (
	tally foldtest.Tally
	moves atomic.Int64
)

// checkTally fails where something that may happen to a call never did.
func checkTally(t *testing.T) {
	for what, n := range map[string]int64{
		"accepted": tally.Accepted.Load(), "repeated": tally.Repeated.Load(), "refused": tally.Refused.Load(), "id reused": tally.Reused.Load(),
		"moved": tally.Moved.Load(), "unknown": tally.Unknown.Load(), "not ready": tally.NotReady.Load(), "superseded copies": tally.Superseded.Load(),
	} {
		t.Logf("calls %s: %d", what, n)
		if _, one := simulation.Only(t); n == 0 && !one && simulationHistories.Count(t) >= 100 {
			t.Errorf("no call was ever %s", what)
		}
	}
}

func checkMoves(t *testing.T) {
	t.Logf("%d moves", moves.Load())
	if _, one := simulation.Only(t); moves.Load() == 0 && !one {
		t.Error("no subscriber moved")
	}
}

// checkSimulation runs a history of one partition, or of several among which subscribers move. At its end
// a reader of reached and released alone, repeats and late copies included, blocks the same usage as Authorize does.
func checkSimulation(t *testing.T, seed uint64, steps int, backends ...foldtest.Backend) {
	t.Helper()
	sim := foldtest.Simulation[Subscriber, *Catalog]{
		Steps:         steps,
		NewFold:       func() fold.Fold[Subscriber, *Catalog] { return NewRules("safeguards") },
		Options:       Takes(),
		Configuration: simulatedCatalogs(t),
		Draw:          drawEvent,
		Sequence: func(r stream.Record) (string, int64, bool) {
			d, ok := safeguardIn(t, r)
			return subjectOf(r), d.GetSequence(), ok
		},
	}
	if len(backends) == 1 {
		sim.Calls = &foldtest.Calls[Subscriber, *Catalog]{
			Draw: drawCall, Tally: &tally, Describe: describeAnswer,
			Observe: func(report func(foldtest.Decision)) fold.Fold[Subscriber, *Catalog] {
				return witness{NewRules("safeguards"), report}
			},
		}
		sim.Run(t, seed, backends[0])
	} else {
		sim.Draw = drawFewCalls
		sim.RunAmong(t, seed, backends...)
	}
	for _, b := range backends {
		checkEnforcement(t, sim, seed, b)
	}
}

// safeguardIn is the safeguard of a record; a rejection for a panic of ours fails the test.
func safeguardIn(t testing.TB, r stream.Record) (*eventv1.Safeguard, bool) {
	e, err := event.Decode(r.Value)
	if err != nil {
		return nil, false
	}
	if reason, rejected := r.Header(event.HeaderReason); rejected && string(reason) == "PANIC" {
		detail, _ := r.Header(event.HeaderDetail)
		t.Errorf("%s %s: %s", e.Type, e.ID, detail)
	}
	d, ok := e.Data.(*eventv1.Safeguard)
	return d, ok
}

func subjectOf(r stream.Record) string {
	_, subject, _ := strings.Cut(string(r.Key), "/")
	return subject
}

// checkEnforcement compares a network element's table with what Authorize answers for every number.
func checkEnforcement(t *testing.T, sim foldtest.Simulation[Subscriber, *Catalog], seed uint64, b foldtest.Backend) {
	t.Helper()
	table := model.Table{}
	for _, r := range foldtest.Published(t, b) {
		d, ok := safeguardIn(t, r)
		if !ok {
			continue
		}
		h, _, err := model.ReadOutcome(r)
		if err != nil {
			t.Fatal(err)
		}
		table.Apply(h.Subject, h.Kind, d)
		if d.GetReason() == becauseTransfer && h.Kind == KindReached {
			moves.Add(1)
		}
	}
	subscribers := foldtest.Bodies(t, sim.NewFold(), b)
	for number, entry := range table {
		if entry.Missed > 0 {
			t.Errorf("seed %d: %s: %d times the previous sequence was not the last one seen", seed, number, entry.Missed)
		}
		sub := subscribers["acme/"+number]
		c := sim.Configuration(sub.Revision)
		v := View{Tenant: "acme", MSISDN: number, Exists: true, Subscriber: sub, catalog: c, class: c.Class("acme", sub.Class), Now: sub.latest}
		for o := range spend.Option(spend.Options) {
			a, err := v.Authorize(nil, o) // a number without a subscriber, or one without the option, can't be blocked
			if denied := err == nil && a.Denied; denied != entry.Blocked[o] {
				t.Errorf("seed %d: %s, option %d: blocked by the topic: %t, and Authorize %+v, %v", seed, number, o, entry.Blocked[o], a, err)
			}
		}
	}
	for key, sub := range subscribers {
		_, number, _ := strings.Cut(key, "/")
		for o := range spend.Option(spend.Options) {
			if table[number] == nil && sub.Options[o].Blocked {
				t.Errorf("seed %d: %s, option %d is blocked, and no outcome was published", seed, number, o)
			}
		}
	}
}

// witness is the fold, and reports of each command what it answered.
type witness struct {
	*Rules
	report func(foldtest.Decision)
}

func (w witness) Apply(s *fold.Subject[Subscriber], e *event.Event) {
	if !event.IsCommand(e.Type) {
		w.Rules.Apply(s, e)
		return
	}
	_, reapply := e.Data.(*controlv1.ReapplyCommand)
	j := foldtest.Decision{Offset: s.Offset, Key: s.Key, Identity: s.Identity, Time: s.Time, Repeated: s.Repeated, Unlisted: reapply}
	t := w.turn(s, e)
	value, err := w.command(s, &t)
	if j.Err = err; err == nil {
		j.Value = value
	}
	w.report(j)
	reply(s, e, value, err)
}

// describeAnswer is all of an answer that its caller can see.
func describeAnswer(value any, err error) string {
	m, _ := value.(proto.Message)
	if refused, ok := errors.AsType[*RefusedCharge](err); ok {
		m = refused.Answer
	}
	if m == nil {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%x %v", encodeAnswer(m), err)
}

// drawCall makes a call, or one of the newest again, as it was or with other content. A repeat is known among the newest
// 16 of a subscriber.
func drawCall(r *rand.Rand, recent []*event.Event) *event.Event {
	if n := len(recent); n > 0 && r.IntN(2) == 0 {
		again := *recent[r.IntN(min(n, 4))]
		if r.IntN(8) == 0 {
			again.Data = &controlv1.ChargeCommand{Amount: units("1"), Description: "another"}
			again.Type = TypeCharge
		}
		return &again
	}
	e := &event.Event{Source: ChargeSource, Tenant: "acme", Subject: simulatedNumber(r), Type: TypeCharge}
	switch n := r.IntN(10); {
	case n < 4:
		e.Type, e.Data = TypeChange, drawChange(r)
	case n < 5:
		e.Type, e.Data = TypeReapply, &controlv1.ReapplyCommand{ClassOfService: "gold"}
	default:
		e.Data = &controlv1.ChargeCommand{Amount: units(fmt.Sprint(r.IntN(25)))}
	}
	return e
}
