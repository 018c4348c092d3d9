package loop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	simulations "github.com/tollgate/tollgate/pkg/simulation"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// Simulation test of stops: endpoints are paused, changed and reactivated at random, receivers answer 410 and Retry-After, and
// owners are killed, stalled and drained meanwhile. Nothing is sent while an endpoint is paused, suspended or held, and in
// the end every delivery is settled, in order.
func TestSimulation_NothingIsSentWhilePausedSuspendedOrHeld(t *testing.T) {
	simulations.Run(t, simulations.Histories{Short: 5, Test: 40, Long: 1000}, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { stopsHistory(t, seed) })
	})
}

// span is a time in which nothing may be sent to an endpoint.
type span struct {
	endpoint, why string
	from, to      time.Time
}

// settling is how long an owner that is fenced or killed may take to notice, and a change to arrive.
const settling = 2 * time.Second

func stopsHistory(t *testing.T, seed uint64) {
	endpoints := []string{"e1", "e2", "e3", "e4"}
	sim := newSimulation(t, seed, endpoints...)
	rnd, answers := rand.New(rand.NewPCG(seed, 17)), rand.New(rand.NewPCG(seed, 18))
	healthy := false
	odds := [3]float64{rnd.Float64() * 0.02, rnd.Float64() * 0.05, rnd.Float64() * 0.5} // 410, Retry-After, other failures
	sim.replies(func(*delivery.Delivery, int) reply {
		takes := time.Duration(answers.IntN(50)) * time.Millisecond
		switch p := answers.Float64(); {
		case healthy:
		case p < odds[0]:
			return reply{status: 410, takes: takes}
		case p < odds[0]+odds[1]:
			return reply{status: 429, takes: takes, retryAfter: time.Duration(answers.IntN(120)) * time.Second}
		case p < odds[0]+odds[1]+odds[2]:
			return reply{status: []int{500, 404, 0}[answers.IntN(3)], takes: takes}
		}
		return reply{status: 200, takes: takes}
	})
	var (
		planned []*delivery.Delivery
		paused  = map[string]time.Time{}
		spans   []span
		// What ends a hold, and what ends a suspension, by endpoint.
		changes, activations = map[string][]time.Time{}, map[string][]time.Time{}
		prints               = uint64(1000)
		live                 = []*replica{sim.start()}
	)
	plan := func(n int) {
		for range n {
			d := newDelivery(endpoints[rnd.IntN(len(endpoints))], fmt.Sprint(rnd.IntN(5)), fmt.Sprint(len(planned)))
			planned = append(planned, sim.plan(d))
		}
	}
	activate := func(e string) {
		activations[e] = append(activations[e], time.Now())
		sim.change(e, func(t *target) { t.activation = max(t.activation, 1) + 1 })
	}
	pause := func(e string, is bool) {
		if from, was := paused[e]; was && !is {
			spans = append(spans, span{e, "paused", from, time.Now()})
			delete(paused, e)
		} else if !was && is {
			paused[e] = time.Now()
		}
		sim.change(e, func(t *target) { t.paused = is })
	}
	plan(50)
	for range rnd.IntN(40) + 10 {
		time.Sleep(time.Duration(rnd.ExpFloat64() * float64(2*time.Second)))
		if rnd.IntN(10) == 0 {
			time.Sleep(time.Duration(rnd.IntN(300)) * time.Second)
		}
		e := endpoints[rnd.IntN(len(endpoints))]
		switch rnd.IntN(10) {
		case 0, 1, 2:
			plan(rnd.IntN(40))
		case 3:
			live[0].kill()
			live = append(live[1:], sim.start())
		case 4:
			live = append(live, sim.start()) // the other one stalls and is fenced
			if len(live) > 2 {
				live[0].kill()
				live = live[1:]
			}
		case 5:
			live[0].drain()
			live = append(live[1:], sim.start())
		case 6, 7:
			pause(e, rnd.IntN(2) == 0)
		case 8:
			prints++
			changes[e] = append(changes[e], time.Now())
			sim.change(e, func(t *target) { t.print = prints })
		case 9:
			activate(e)
		}
	}
	for _, r := range live[:len(live)-1] {
		r.kill()
	}
	time.Sleep(settling)
	sim.mu.Lock()
	healthy = true
	sim.mu.Unlock()
	for _, e := range endpoints {
		pause(e, false)
		activate(e)
	}
	sim.finish(planned)
	live[len(live)-1].drain()
	check(t, sim, planned)
	for _, a := range sim.attempts() {
		end := a.Started.AsTime().Add(a.Phases.GetTotal().AsDuration())
		if sim.fencedBy(a.Owner).Before(end.Add(settling)) {
			continue // the next owner may not know of it
		}
		switch {
		case a.Fault == deliveryv1.Fault_FAULT_GONE:
			spans = append(spans, span{a.Endpoint, "suspended", end, activations[a.Endpoint][a.Activation-1]})
		case a.RetryAfter != nil:
			until := a.RetryAfter.AsTime()
			if change := firstAfter(changes[a.Endpoint], end); !change.IsZero() && change.Before(until) {
				until = change
			}
			spans = append(spans, span{a.Endpoint, "held", end, until})
		}
	}
	for _, s := range spans {
		for _, b := range sim.requests(s.endpoint, s.from.Add(settling)) {
			if b.at.Before(s.to) {
				t.Errorf("request to %s at %s, which is %s from %s to %s", s.endpoint, clockOf(b.at), s.why, clockOf(s.from), clockOf(s.to))
				break
			}
		}
	}
}

// fencedBy is when the next owner opened the partition.
func (sim *simulation) fencedBy(owner []byte) time.Time {
	for i, o := range sim.owners {
		if bytes.Equal(o.token[:], owner) && i+1 < len(sim.owners) {
			return sim.owners[i+1].at
		}
	}
	return time.Now()
}

func firstAfter(all []time.Time, at time.Time) time.Time {
	if i := slices.IndexFunc(all, func(c time.Time) bool { return !c.Before(at) }); i >= 0 {
		return all[i]
	}
	return time.Time{}
}

func clockOf(t time.Time) string { return t.Format("02 15:04:05.000") }
