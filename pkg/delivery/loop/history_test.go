package loop

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	simulations "github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

var histories = simulations.Histories{Short: 20, Test: 150, Long: 2000}

// Simulation test of the loop: whatever is killed, fenced, set back or lost meanwhile, every planned delivery is
// settled and the attempts show its settlement; dead deliveries are in the dead letters; the first receipts of an
// ordering key arrive in order.
func TestSimulation_LosesNothingAndKeepsOrder(t *testing.T) {
	simulations.Run(t, histories, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { history(t, seed) })
	})
}

func history(t *testing.T, seed uint64) {
	endpoints := []string{"e1", "e2", "e3"}
	sim := newSimulation(t, seed, endpoints...)
	rnd := rand.New(rand.NewPCG(seed, 7))
	fails, refuses, slow := rnd.Float64()*0.6, rnd.Float64()*0.3, time.Duration(rnd.IntN(60)+1)*time.Millisecond
	healthy := false
	answers := rand.New(rand.NewPCG(seed, 8))
	sim.answer = func(*delivery.Delivery, int) (delivery.Result, time.Duration) { // called under the simulation's lock
		takes := time.Duration(answers.Int64N(int64(slow)))
		switch p := answers.Float64(); {
		case healthy:
			return delivery.Accepted, time.Millisecond
		case p < fails:
			return delivery.Failed, takes
		case p < fails+refuses:
			return delivery.Refused, takes
		}
		return delivery.Accepted, takes
	}

	var planned []*delivery.Delivery
	plan := func(n int) {
		for range n {
			if len(planned) > 0 && rnd.IntN(10) == 0 {
				sim.plan(planned[len(planned)-1-rnd.IntN(min(len(planned), 20))]) // a repeat by the planner
				continue
			}
			d := newDelivery(endpoints[rnd.IntN(3)], fmt.Sprint(rnd.IntN(6)), fmt.Sprint(len(planned)))
			d.Ordered = rnd.IntN(4) > 0
			planned = append(planned, sim.plan(d))
		}
	}
	plan(rnd.IntN(100))
	var (
		live  []*replica
		dumps = []memstate.Dump{sim.store.Dump()}
		log   []string
	)
	note := func(format string, args ...any) {
		log = append(log, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
	}
	every := time.Duration(rnd.IntN(4)) * 100 * time.Millisecond
	// Bounds that are soon reached, in every other history.
	endpointMax, partitionMax := 10_000, 100_000
	if seed%2 == 0 {
		endpointMax, partitionMax = 1+rnd.IntN(12), 8+rnd.IntN(40)
	}
	start := func() *replica {
		return sim.start(func(c *Channel) {
			c.SnapshotEvery, c.EndpointWaitingMax, c.WaitingMax = every, endpointMax, partitionMax
		})
	}
	live = append(live, start())
	down := false
	for range rnd.IntN(40) + 5 {
		time.Sleep(time.Duration(rnd.ExpFloat64() * float64(30*time.Millisecond)))
		if rnd.IntN(12) == 0 {
			time.Sleep(time.Duration(rnd.IntN(40)) * time.Second)
		}
		switch rnd.IntN(12) {
		case 0, 1, 2, 3:
			plan(rnd.IntN(60))
		case 4, 5:
			note("kill")
			live[0].kill()
			live = append(live[1:], start())
		case 6:
			note("zombie")
			live = append(live, start())
			if len(live) > 3 {
				live[0].kill()
				live = live[1:]
			}
		case 7:
			note("drain")
			if down { // a drain waits for the broker; the group's deadline ends it
				break
			}
			live[0].drain()
			live = append(live[1:], start())
		case 8:
			down = !down
			note("broker down %v", down)
			sim.broker.setDown(down)
		case 9:
			lossy := rnd.IntN(2) == 0
			note("store loses answers %v", lossy)
			live[len(live)-1].setLossy(lossy)
		case 10:
			dumps = append(dumps, sim.store.Dump())
			note("dump %d", len(dumps)-1)
		case 11:
			n := rnd.IntN(len(dumps))
			note("restore dump %d", n)
			sim.store.Restore(dumps[n])
		}
	}
	sim.broker.setDown(false)
	for _, r := range live[:len(live)-1] {
		r.kill()
	}
	last := live[len(live)-1]
	last.setLossy(false)
	sim.mu.Lock()
	healthy = true
	sim.mu.Unlock()
	sim.finish(planned)
	if healthText := sim.healthText(); healthText != "<nil>" {
		t.Errorf("health reports %s", healthText)
	}
	last.drain()

	mark, err := sim.store.Open(t.Context(), state.Partition{Domain: "test", Number: 0, Count: 1}, "")
	if err != nil || mark.Offset != int64(len(sim.broker.all(topicDeliveries))) || mark.Status != state.Ready {
		t.Errorf("position %d of %d, %s, %v", mark.Offset, len(sim.broker.all(topicDeliveries)), mark.Status, err)
	}
	check(t, sim, planned)
	if t.Failed() {
		for _, line := range log {
			t.Log(line)
		}
	}
}

// finish lets time pass until every delivery has a settlement: at most the longest possible sum of waits.
func (sim *simulation) finish(planned []*delivery.Delivery) {
	for step := range 60 {
		if step < 10 {
			time.Sleep(time.Minute)
		} else {
			sim.pass(time.Hour)
		}
		if sim.finished(planned) {
			return
		}
	}
}

// finished reports that every delivery has a settlement.
func (sim *simulation) finished(planned []*delivery.Delivery) bool {
	settled := map[string]bool{}
	for _, a := range sim.attempts() {
		settled[a.Delivery] = settled[a.Delivery] || a.Settlement != 0
	}
	for _, d := range planned {
		if !settled[d.ID] {
			return false
		}
	}
	return true
}

// check verifies the guarantees on a finished history.
func check(t *testing.T, sim *simulation, planned []*delivery.Delivery) {
	accepted, first := map[string]bool{}, map[string]int{}
	var orderingKeys = map[string][]int64{}
	offset := map[string]int64{}
	for _, rec := range slices.Backward(sim.broker.all(topicDeliveries)) {
		d, err := delivery.Decode(rec)
		if err != nil {
			t.Fatal(err)
		}
		offset[d.ID] = d.Offset // the first offset wins
	}
	for i, r := range sim.received() {
		accepted[r.id] = accepted[r.id] || r.accepted
		if _, ok := first[r.id]; !ok {
			first[r.id] = i
			if r.orderingKey != "" {
				orderingKeys[r.orderingKey] = append(orderingKeys[r.orderingKey], offset[r.id])
			}
		}
	}
	for orderingKey, offsets := range orderingKeys {
		if !slices.IsSorted(offsets) {
			t.Errorf("ordering key %s was received in the order %v", orderingKey, offsets)
		}
	}
	settled, dead := map[string]deliveryv1.Settlement{}, map[string]bool{}
	for _, a := range sim.attempts() {
		if a.Settlement != 0 && settled[a.Delivery] != deliveryv1.Settlement_SETTLEMENT_DELIVERED {
			settled[a.Delivery] = a.Settlement
		}
	}
	for _, r := range sim.broker.all(topicDead) {
		dead[string(r.Key)] = true
	}
	for _, d := range planned {
		switch settled[d.ID] {
		case deliveryv1.Settlement_SETTLEMENT_DELIVERED:
			if !accepted[d.ID] {
				t.Errorf("%s is settled as delivered and no receiver accepted it", d.Event.ID)
			}
		case deliveryv1.Settlement_SETTLEMENT_DEAD:
			if !dead[d.ID] {
				t.Errorf("%s is dead and not in the dead letters", d.Event.ID)
			}
		default:
			t.Errorf("%s at offset %d is lost: settlement %s", d.Event.ID, offset[d.ID], settled[d.ID])
		}
	}
}
