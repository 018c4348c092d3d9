package loop

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Endpoints that are behind by more and less are read again in one pass over the log, from the lowest offset on.
func TestBehind_OnePassOverTheLogIsForAllEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const endpoints, each, fetch = 8, 200, 4000
		var names []string
		for i := range endpoints {
			names = append(names, fmt.Sprint("e", i))
		}
		sim := newSimulation(t, 1, names...)
		sim.failFor(names...)
		r := sim.start(atMost(10, 100_000))
		for i := range endpoints * each {
			sim.plan(newDelivery(names[i/each], fmt.Sprint(i%7), fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		r.drain()
		size := 0
		for _, rec := range sim.broker.all(topicDeliveries) {
			size += len(rec.Value)
		}
		sim.failFor()
		for _, name := range names {
			sim.change(name, func(t *target) { t.paused = true })
		}
		r = sim.start(atMost(each, 100_000)) // room for everything
		time.Sleep(time.Second)
		opened := r.again.Load()
		sim.broker.mu.Lock()
		sim.broker.fetchMax = fetch
		sim.broker.mu.Unlock()
		sim.configure(100, 64, names...)
		time.Sleep(time.Minute)
		if n, once := int(r.again.Load()-opened), size/fetch; n > once+endpoints {
			t.Errorf("%d reads of a log of %d", n, once)
		}
		r.drain()
		for _, name := range names {
			if n := sim.acceptedOf(name); n != each {
				t.Errorf("%d of %d deliveries to %s were accepted", n, each, name)
			}
		}
	})
}

// The window of repeats is filled once for an endpoint that catches up, however often it has room.
func TestBehind_TheWindowIsFilledOnceForAnEndpointThatCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all, fetch = 1000, 4000
		sim := newSimulation(t, 1, "e1")
		sim.failFor("e1")
		r := sim.start(atMost(20, 100_000))
		for i := range all {
			sim.plan(newDelivery("e1", fmt.Sprint(i%20), fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		sim.broker.mu.Lock()
		sim.broker.fetchMax = fetch
		sim.broker.mu.Unlock()
		reads := r.reads.Load()
		sim.failFor()
		sim.configure(2, 64, "e1")
		time.Sleep(time.Hour)
		// Ten at a time have room: one read each, and one for the bodies at most.
		if n := r.reads.Load() - reads; n > 2*all/10+20 {
			t.Errorf("%d reads", n)
		}
		r.drain()
		if n := sim.acceptedOf("e1"); n != all {
			t.Errorf("%d of %d were accepted", n, all)
		}
	})
}

// An endpoint is read for once half of what it may have is free, and not for each delivery; what is behind is counted meanwhile.
func TestBehind_TheLogIsNotReadForEachDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all, most = 400, 20
		sim := newSimulation(t, 1, "e1")
		sim.change("e1", func(t *target) { t.concurrency = 1 })
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, 100 * time.Millisecond
		})
		r := sim.start(atMost(most, 100_000))
		for i := range all {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(all / 2 * 100 * time.Millisecond)
		references, behind := sim.kept(t)
		if n := sim.acceptedOf("e1"); n+references+int(behind["e1"].Count) < all-2 || n+references+int(behind["e1"].Count) > all+2 {
			t.Errorf("%d are accepted, %d wait, and %d are behind, of %d", n, references, behind["e1"].Count, all)
		}
		time.Sleep(all * 100 * time.Millisecond)
		if n := int(r.again.Load()); n > 2*all/(most/2) {
			t.Errorf("%d reads for %d deliveries", n, all)
		}
		if n := sim.acceptedOf("e1"); n != all {
			t.Errorf("%d of %d were accepted", n, all)
		}
		r.drain()
	})
}

// The readers decide by the key of a record whose delivery it is: one under the key of another endpoint is rejected.
func TestBehind_ADeliveryUnderAnotherKeyIsRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		r := sim.start()
		d := newDelivery("e1", "s", "0")
		d.PlannedAt = time.Now()
		rec, err := d.Record(topicDeliveries)
		if err != nil {
			t.Fatal(err)
		}
		rec.Key = []byte("e2")
		sim.broker.add(rec)
		time.Sleep(2 * time.Second)
		r.drain()
		if rejected, got := len(sim.broker.all(topicRejected)), len(sim.received()); rejected != 1 || got != 0 {
			t.Errorf("%d rejected, %d sent", rejected, got)
		}
	})
}

// The forward reader stands at the end of a log that is as long as the one before: the second reader notices that it is another.
func TestBehind_TheSecondReaderNoticesATopicMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.change("e1", func(t *target) { t.concurrency = 10 })
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, 10 * time.Second
		})
		r := sim.start(atMost(10, 100))
		for i := range 100 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		var another []stream.Record
		others := map[string]bool{}
		for i := range 100 {
			d := newDelivery("e1", fmt.Sprint(i), fmt.Sprint("other", i))
			d.Tenant, d.PlannedAt = "acme", time.Now()
			rec, err := d.Record(topicDeliveries)
			if err != nil {
				t.Fatal(err)
			}
			another, others[d.ID] = append(another, rec), true
		}
		sim.broker.replace(topicDeliveries, another...)
		time.Sleep(time.Minute) // those under way are answered, and there is room
		r.kill()
		sent := 0
		for _, got := range sim.received() {
			if others[got.id] {
				sent++
			}
		}
		if sent > 0 || !strings.Contains(fmt.Sprint(sim.health["incident"]), IncidentRecreated) {
			t.Errorf("%d of another log were sent; incident %v", sent, sim.health["incident"])
		}
	})
}

// What is passed over is a repeat too once its endpoint is level, by the window of one and the same owner.
func TestBehind_ARepeatOfWhatWasPassedOverIsDroppedOnceLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.failFor("e1")
		r := sim.start(atMost(10, 100))
		var planned []*delivery.Delivery
		for i := range 60 {
			planned = append(planned, sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i))))
		}
		time.Sleep(time.Second)
		sim.failFor()
		sim.configure(2, 64, "e1")
		time.Sleep(time.Minute)
		if _, behind := sim.kept(t); len(behind) != 0 {
			t.Fatalf("behind %+v", behind)
		}
		for _, d := range planned {
			sim.plan(d)
		}
		time.Sleep(time.Minute)
		r.drain()
		if n := sim.repeats(); n != 0 {
			t.Errorf("%d repeats of the planner were sent", n)
		}
		check(t, sim, planned)
	})
}

// The count of what is behind is committed once a second, though nothing else of its endpoint changes.
func TestBehind_TheCountIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.pause(2, "e1", true)
		r := sim.start(atMost(10, 100))
		for i := range 5 {
			for j := range 100 {
				sim.plan(newDelivery("e1", "s", fmt.Sprint(i, j)))
			}
			time.Sleep(3 * time.Second)
			if _, behind := sim.kept(t); behind["e1"].Count != int64(100*(i+1)-10) {
				t.Errorf("%d are behind, of %d", behind["e1"].Count, 100*(i+1))
			}
		}
		r.kill()
	})
}
