package loop

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/state"
)

// behindKill is a run in which endpoints fall behind and are level again, and a process dies at one of its commits.
type behindKill struct {
	endpoints int
	// most is how many references an endpoint may have; fetch is the size of a fetch of the second reader, 0 for its own.
	most, fetch int
	// first is how many deliveries each endpoint gets before the owner may die; play goes on from there.
	first int
	// begins is how the receivers answer until then.
	begins func(sim *simulation)
	// stops: its endpoints are paused while the second owner opens, and for a minute, and it reads again slowly.
	stops bool
	// play arms the kill: the commits are counted from there.
	play func(sim *simulation, plan func(n int), arm func())
}

func (k *behindKill) names() (all []string) {
	for i := range k.endpoints {
		all = append(all, fmt.Sprint("e", i+1))
	}
	return all
}

func (k *behindKill) pause(sim *simulation, paused bool) {
	for _, name := range k.names() {
		sim.change(name, func(t *target) { t.paused = paused })
	}
}

// at lets the process die at a commit, before it or after it, and a second one finish. Nothing that was recorded is repeated,
// nothing lost, and the order kept. It is false where there were fewer commits.
func (k *behindKill) at(t *testing.T, commit int, after bool) (died bool) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, k.names()...)
		sim.broker.batch, sim.broker.fetchMax = 1<<20, k.fetch
		var planned []*delivery.Delivery
		plan := func(n int) {
			for range n {
				i := len(planned)
				planned = append(planned, sim.plan(newDelivery(fmt.Sprint("e", 1+i%k.endpoints), fmt.Sprint(i/k.endpoints%3), fmt.Sprint(i))))
			}
		}
		bound := atMost(k.most, 100_000)
		k.begins(sim)
		n := 0
		kill := func(state.Watermark) bool { n++; return n == commit }
		arm := func() {
			if after {
				sim.onCommit(nil, kill)
			} else {
				sim.onCommit(kill, nil)
			}
		}
		r := sim.start(bound)
		plan(k.first * k.endpoints)
		k.play(sim, plan, arm)
		sim.onCommit(nil, nil)
		if died = r.dead(); !died {
			r.kill()
			return
		}
		<-r.over
		k.second(t, sim, planned)
		if t.Failed() {
			t.Logf("killed at commit %d, after it %t", commit, after)
		}
	})
	return died
}

// second lets another owner finish, and compares what it did with what the first had published.
func (k *behindKill) second(t *testing.T, sim *simulation, planned []*delivery.Delivery) {
	published := map[string]int32{}
	for _, a := range sim.attempts() {
		published[a.Delivery] = a.Number
	}
	before := len(sim.received())
	if k.pause(sim, k.stops); k.stops {
		sim.broker.mu.Lock()
		sim.broker.slowAgain = 3 * time.Second
		sim.broker.mu.Unlock()
	}
	r := sim.start(atMost(k.most, 100_000))
	time.Sleep(time.Minute)
	k.pause(sim, false)
	time.Sleep(10 * time.Minute)
	r.drain()
	check(t, sim, planned)
	accepted := map[string]bool{}
	for _, got := range sim.received()[before:] {
		if got.n <= int(published[got.id]) {
			t.Errorf("attempt %d of the delivery at %d was sent again, though it was published", got.n, got.offset)
		}
		if accepted[got.id] {
			t.Errorf("the delivery at %d was accepted twice by the second owner", got.offset)
		}
		accepted[got.id] = got.accepted
	}
	if references, behind := sim.kept(t); references != 0 || len(behind) != 0 {
		t.Errorf("%d references and %v are left", references, behind)
	}
}

// each lets the process die at each commit, before it and after it, and returns the last. Short runs take one commit in four.
func (k *behindKill) each(t *testing.T, most int) (last int) {
	t.Helper()
	step := 1
	if testing.Short() {
		step = 4
	}
	for commit := 1; commit <= most && !t.Failed() && k.at(t, commit, false) && k.at(t, commit, true); commit += step {
		last = commit
	}
	return last
}

// While an endpoint that fails falls behind, while it is read again, and when it is level.
func TestBehind_KillAtAnyCommitLosesAndRepeatsNothing(t *testing.T) {
	k := deadEndpoint()
	if n := k.each(t, 24); n < 20 {
		t.Errorf("it died at %d commits", n)
	}
}

// deadEndpoint is a run with an endpoint that fails and then accepts.
func deadEndpoint() behindKill {
	return behindKill{
		endpoints: 2, most: 8, first: 30, fetch: 4000,
		begins: func(sim *simulation) { sim.failFor("e1") },
		play: func(sim *simulation, plan func(n int), arm func()) {
			arm()
			time.Sleep(25 * time.Millisecond)
			sim.failFor()
			sim.configure(2, 64, "e1", "e2")
			for range 20 {
				time.Sleep(7 * time.Millisecond)
				plan(6)
			}
			time.Sleep(10 * time.Second)
		},
	}
}

// An endpoint that accepts everything, slowly, has no record but for what is behind: that it fell behind, how far it is read
// again and that it is level stand in the commits of what was read, whether results come with them or not.
func TestBehind_KillAtAnyCommitOfASlowEndpointLosesAndRepeatsNothing(t *testing.T) {
	for _, takes := range []time.Duration{30 * time.Millisecond, 250 * time.Millisecond} {
		k := slowEndpoint(takes)
		if n := k.each(t, 40); n < 20 {
			t.Errorf("it died at %d commits", n)
		}
	}
}

// What was published and not committed is known to the next owner however late it reads it again: its endpoints are paused
// first, and each fetch takes a while.
func TestBehind_KillAtAnyCommitOfAnEndpointThatIsPausedThenLosesAndRepeatsNothing(t *testing.T) {
	for _, k := range []behindKill{deadEndpoint(), slowEndpoint(30 * time.Millisecond)} {
		k.stops = true
		if n := k.each(t, 24); n < 20 {
			t.Errorf("it died at %d commits", n)
		}
	}
}

// slowEndpoint is a run with an endpoint that takes a while for each delivery.
func slowEndpoint(takes time.Duration) behindKill {
	return behindKill{
		endpoints: 2, most: 8, first: 15, fetch: 2000,
		begins: func(sim *simulation) {
			sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
				if d.Endpoint == "e1" {
					return delivery.Accepted, takes
				}
				return delivery.Accepted, time.Millisecond
			})
		},
		play: func(_ *simulation, plan func(n int), arm func()) {
			arm()
			for range 10 {
				time.Sleep(7 * time.Millisecond)
				plan(6)
			}
			time.Sleep(4 * time.Second)
			plan(6)
			time.Sleep(2 * time.Second)
		},
	}
}

// More endpoints fall behind at once than have room in one commit: those wait that have none.
func TestBehind_KillAtAnyCommitWhileManyFallBehindLosesAndRepeatsNothing(t *testing.T) {
	many(t, func(mend, arm func()) {
		arm()
		time.Sleep(40 * time.Millisecond)
		mend()
	})
}

// More endpoints are read again at once than have room in one commit.
func TestBehind_KillAtAnyCommitWhileManyAreReadAgainLosesAndRepeatsNothing(t *testing.T) {
	many(t, func(mend, arm func()) {
		time.Sleep(3 * time.Second)
		arm()
		mend()
	})
}

const manyEndpoints = 2 * maxRecords

func many(t *testing.T, play func(mend, arm func())) {
	t.Helper()
	k := behindKill{endpoints: manyEndpoints, most: 1, first: 3}
	k.begins = func(sim *simulation) { sim.failFor(k.names()...) }
	k.play = func(sim *simulation, _ func(n int), arm func()) {
		play(func() {
			sim.failFor()
			sim.configure(2, 64, k.names()...)
		}, arm)
		time.Sleep(10 * time.Second)
	}
	for commit := 1; commit <= 8 && !t.Failed(); commit++ {
		if !k.at(t, commit, true) {
			t.Errorf("there are fewer than %d commits", commit)
		}
	}
}

// Where the records of more endpoints have changed than one commit has room for, those that moved go first: the position is
// beyond what was passed over.
func TestBehind_RecordsOfEndpointsThatMovedGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := behindKill{endpoints: manyEndpoints}
		sim := newSimulation(t, 1, k.names()...)
		sim.failFor(k.names()...)
		r := sim.start(atMost(1, 100_000))
		time.Sleep(time.Second)
		r.setStoreAway(true)
		var planned []*delivery.Delivery
		for range 2 {
			for _, name := range k.names() {
				planned = append(planned, sim.plan(newDelivery(name, "s", fmt.Sprint(len(planned)))))
			}
			time.Sleep(50 * time.Millisecond) // the first of each fail; of the second, some are passed over
		}
		sim.onCommit(nil, func(to state.Watermark) bool { return to.Offset > manyEndpoints })
		r.setStoreAway(false)
		<-r.over
		if mark, _, err := sim.store.Peek(t.Context(), simulated, nil); err != nil || mark.Offset != manyEndpoints+maxMoved {
			t.Errorf("it died at %d, %v", mark.Offset, err)
		}
		sim.onCommit(nil, nil)
		sim.failFor()
		r = sim.start(atMost(1, 100_000))
		time.Sleep(10 * time.Minute)
		r.drain()
		check(t, sim, planned)
	})
}

// What is read again waits for a commit that has room for the offsets it moves.
func TestBehind_ReadingAgainWaitsForACommitThatHasRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := behindKill{endpoints: manyEndpoints, most: 1}
		sim := newSimulation(t, 1, k.names()...)
		sim.failFor(k.names()...)
		r := sim.start(atMost(k.most, 100_000))
		var planned []*delivery.Delivery
		for range 3 {
			for _, name := range k.names() {
				planned = append(planned, sim.plan(newDelivery(name, "s", fmt.Sprint(len(planned)))))
			}
		}
		time.Sleep(3 * time.Second)
		r.setStoreAway(true)
		sim.failFor()
		sim.configure(2, 64, k.names()...)
		time.Sleep(100 * time.Millisecond) // all are accepted and have room
		n := 0
		sim.onCommit(nil, func(state.Watermark) bool { n++; return n == 2 })
		r.setStoreAway(false)
		<-r.over
		sim.onCommit(nil, nil)
		k.second(t, sim, planned)
	})
}

// The records of those that fall behind have room in a commit for some: the next commit is made at once, and not a second later.
func TestBehind_ManyFallBehindAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20 * maxMoved
		sim := newSimulation(t, 1)
		sim.setStale(true) // all are held, and there are no results
		r := sim.start(atMost(1, 10*n))
		for i := range 2 * n {
			sim.plan(newDelivery(fmt.Sprint("e", i%n), "s", fmt.Sprint(i)))
		}
		time.Sleep(500 * time.Millisecond)
		mark, _, err := sim.store.Peek(t.Context(), simulated, nil)
		if _, behind := sim.kept(t); err != nil || mark.Offset != 2*n || len(behind) != n {
			t.Errorf("%d of %d are read, %d are behind; %v", mark.Offset, 2*n, len(behind), err)
		}
		r.kill()
	})
}
