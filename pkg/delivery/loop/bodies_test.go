package loop

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Waiting is a simulation in which n deliveries to n endpoints failed once, and all receivers would accept them now.
func waiting(t *testing.T, n int) (sim *simulation, endpoints []string) {
	for i := range n {
		endpoints = append(endpoints, fmt.Sprint("e", i))
	}
	sim = newSimulation(t, 1, endpoints...)
	sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
		return delivery.Failed, time.Millisecond
	})
	r := sim.start()
	for i, e := range endpoints {
		d := newDelivery(e, "s", fmt.Sprint(i))
		d.Body = []byte(strings.Repeat("x", 8<<10))
		sim.plan(d)
	}
	time.Sleep(time.Second)
	r.drain()
	sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
		return delivery.Accepted, time.Millisecond
	})
	return sim, endpoints
}

func TestBodies_AtMost64SlotsWaitForBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, endpoints := waiting(t, 500)
		slots := slots.New(2048, 1000)
		r := sim.start(func(c *Channel) { c.Slots = slots })
		synctest.Wait()
		sim.broker.setDown(true)
		sim.configure(2, 64, endpoints...)
		time.Sleep(10 * time.Second)
		held := slots.InFlight()
		if held == 0 || held > 64 {
			t.Errorf("%d slots are held", held)
		}
		sim.broker.setDown(false)
		time.Sleep(10 * time.Second)
		if n := len(sim.received()); n != 1000 {
			t.Errorf("%d receipts of 1,000", n)
		}
		r.drain()
	})
}

func TestBodies_DeliveryWithBodyIsSentBeforeNextFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, endpoints := waiting(t, 60) // two fetches
		second := make(chan struct{})
		sim.onFetch(func(offset int64) bool {
			if offset > 0 {
				<-second
			}
			return false
		})
		r := sim.start()
		synctest.Wait()
		sim.configure(2, 64, endpoints...) // all are due
		time.Sleep(10 * time.Second)
		if n := len(sim.received()) - 60; n == 0 || n >= 60 {
			t.Errorf("%d sent while the second fetch is on its way", n)
		}
		close(second)
		time.Sleep(10 * time.Second)
		if n := len(sim.received()); n != 120 {
			t.Errorf("%d receipts of 120", n)
		}
		r.drain()
	})
}

func TestBodies_EmptyFetchLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, _ := waiting(t, 3)
		sim.onFetch(func(int64) bool { return true })
		r := sim.start()
		time.Sleep(20 * time.Second)
		sim.mu.Lock()
		incident := sim.health["incident"]
		sim.mu.Unlock()
		if incident != nil || !strings.Contains(sim.healthText(), "nothing was read at offset") {
			t.Errorf("incident %v, health reports %s", incident, sim.healthText())
		}
		if n := r.reads.Load(); n > 60 {
			t.Errorf("%d fetches in 20 s", n)
		}
		sim.onFetch(nil)
		time.Sleep(10 * time.Second)
		if healthText := sim.healthText(); healthText != "<nil>" || len(sim.received()) != 6 {
			t.Errorf("%d receipts of 6, health reports %s", len(sim.received()), healthText)
		}
		r.drain()
	})
}

func TestBodies_ShortenedLogLosesNothing(t *testing.T) {
	r := readBack{from: 7, err: &stream.OutOfRangeError{From: 7, Start: 0, End: 5}}
	if _, _, err := r.covers(); err == nil {
		t.Error("a delivery above the end counts as lost")
	}
	r = readBack{from: 7, err: &stream.OutOfRangeError{From: 7, Start: 9, End: 12}}
	if next, start, err := r.covers(); next != 9 || start != 9 || err != nil {
		t.Errorf("below the start: %d, %d, %v", next, start, err)
	}
}

func TestBodies_NotReadWithoutConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, endpoints := waiting(t, 100)
		sim.mu.Lock()
		sim.targets = nil
		sim.mu.Unlock()
		r := sim.start()
		time.Sleep(time.Second)
		before := r.reads.Load()
		time.Sleep(10 * time.Minute)
		if n := r.reads.Load() - before; n > 0 {
			t.Errorf("%d fetches without a configuration", n)
		}
		sim.configure(2, 64, endpoints...)
		time.Sleep(time.Second)
		if n := len(sim.received()); n != 200 {
			t.Errorf("%d receipts of 200", n)
		}
		r.drain()
	})
}

func TestBodies_NoneIsKeptForAStoppedEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.pause(2, "e1", true)
		r := sim.start()
		for i := range 100 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(time.Minute)
		reads := r.reads.Load()
		sim.pause(3, "e1", false)
		time.Sleep(time.Minute)
		if n := r.reads.Load() - reads; n == 0 {
			t.Error("the bodies were in memory while it was paused")
		}
		r.drain()
		if n := sim.acceptedOf("e1"); n != 100 {
			t.Errorf("%d of 100 accepted", n)
		}
	})
}
