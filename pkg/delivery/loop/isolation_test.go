package loop

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
)

// misbehave answers as the i-th of 30 receivers that misbehave, each in another way. It is called under the simulation's lock.
func misbehave(i int, rnd *rand.Rand, d *delivery.Delivery, n int) reply {
	takes := time.Duration(5+rnd.IntN(40)) * time.Millisecond
	hour := time.Now().Hour()
	switch i % 15 {
	case 0:
		return reply{takes: 15 * time.Second} // never answers
	case 1:
		return reply{status: 500, takes: takes}
	case 2:
		return reply{status: 422, takes: takes}
	case 3:
		return reply{status: 429, takes: takes, retryAfter: time.Duration(rnd.IntN(3600)) * time.Second}
	case 4:
		return reply{status: 503, takes: takes, retryAfter: time.Second}
	case 5:
		return reply{status: 410, takes: takes}
	case 6:
		return reply{status: 200, takes: 14 * time.Second} // just in time
	case 7:
		if hour%2 == 0 { // half the time away
			return reply{takes: 15 * time.Second}
		}
	case 8:
		if rnd.IntN(2) == 0 {
			return reply{status: 502, takes: takes}
		}
	case 9:
		if n < 4 { // accepts nothing at first
			return reply{status: 404, takes: takes}
		}
	case 10:
		return reply{status: 302, takes: takes}
	case 11:
		if rnd.IntN(10) == 0 {
			return reply{takes: 15 * time.Second}
		}
	case 12:
		if hour > 3 {
			return reply{status: 500, takes: 10 * time.Second}
		}
	case 13:
		if d.Event.Subject == "0" { // a poison subject
			return reply{status: 400, takes: takes}
		}
	case 14:
		return reply{status: 200, takes: time.Duration(rnd.IntN(15000)) * time.Millisecond}
	}
	return reply{status: 200, takes: takes}
}

// waits are how long the deliveries of the healthy endpoints waited for their first request, over a day in which each of
// endpoints gets ten every half hour.
func waits(t *testing.T, healthy, bad int) (all []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range healthy {
			names = append(names, fmt.Sprint("h", i))
		}
		for i := range bad {
			names = append(names, fmt.Sprint("b", i))
		}
		sim := newSimulation(t, 1, names...)
		rnd := rand.New(rand.NewPCG(1, 5))
		answers := map[string]int{}
		for i := range bad {
			answers[fmt.Sprint("b", i)] = i
		}
		sim.replies(func(d *delivery.Delivery, n int) reply {
			if i, ok := answers[d.Endpoint]; ok {
				return misbehave(i, rnd, d, n)
			}
			return reply{status: 200, takes: time.Duration(5+rnd.IntN(40)) * time.Millisecond}
		})
		// A process of 256 slots: few beside what the endpoints that misbehave would like to have.
		r := sim.start(func(c *Channel) { c.Slots, c.SnapshotEvery = NewSlots(256, 1000), 0 })
		plans := rand.New(rand.NewPCG(1, 6))
		planned := map[string]time.Time{}
		for minute := range 24 * 60 {
			if minute%30 == 0 {
				for _, name := range names {
					for range 10 {
						d := newDelivery(name, fmt.Sprint(plans.IntN(5)), fmt.Sprint(name, "-", len(planned)))
						planned[d.Event.ID] = time.Now()
						sim.plan(d)
					}
				}
			}
			time.Sleep(time.Minute)
		}
		r.drain()
		for _, b := range sim.requests("", time.Time{}) {
			if b.name[0] == 'h' && b.n == 1 {
				all = append(all, b.at.Sub(planned[b.name]))
			}
		}
	})
	slices.Sort(all)
	return all
}

func TestIsolation_HealthyEndpointsWaitNoLongerBesideThirtyThatMisbehave(t *testing.T) {
	alone, beside := waits(t, 70, 0), waits(t, 70, 30)
	if len(alone) != 70*480 || len(beside) != len(alone) {
		t.Fatalf("%d and %d deliveries of %d", len(alone), len(beside), 70*480)
	}
	p99 := func(all []time.Duration) time.Duration { return all[len(all)*99/100] }
	t.Logf("p99 alone %s, beside the others %s; at most %s and %s", p99(alone), p99(beside), alone[len(alone)-1], beside[len(beside)-1])
	if p99(beside) > p99(alone)*3/2 {
		t.Errorf("p99 %s beside the others, %s alone", p99(beside), p99(alone))
	}
}
