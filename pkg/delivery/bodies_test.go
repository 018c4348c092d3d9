package delivery

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

// waiting is a world in which n deliveries have failed once, of an endpoint
// each, and all receivers would take them now.
func waiting(t *testing.T, n int) (w *world, endpoints []string) {
	for i := range n {
		endpoints = append(endpoints, fmt.Sprint("e", i))
	}
	w = newWorld(t, 1, endpoints...)
	w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
	r := w.start()
	for i, e := range endpoints {
		d := order(e, "s", fmt.Sprint(i))
		d.Body = []byte(strings.Repeat("x", 8<<10))
		w.plan(d)
	}
	time.Sleep(time.Second)
	r.drain()
	w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond })
	return w, endpoints
}

func TestFewSlotsAreHeldByWhatWaitsForItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, endpoints := waiting(t, 500)
		slots := NewSlots(2048, 1000)
		r := w.start(func(c *Channel) { c.Slots = slots })
		synctest.Wait()
		w.broker.setDown(true)
		w.configure(2, 64, endpoints...)
		time.Sleep(10 * time.Second)
		slots.mu.Lock()
		held := slots.inFlight
		slots.mu.Unlock()
		if held == 0 || held > 64 {
			t.Errorf("%d slots are held", held)
		}
		w.broker.setDown(false)
		time.Sleep(10 * time.Second)
		if n := len(w.received()); n != 1000 {
			t.Errorf("%d receipts of 1,000", n)
		}
		r.drain()
	})
}

func TestWhatHasItsBodyDoesNotWaitForTheNextFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, endpoints := waiting(t, 60) // two fetches
		second := make(chan struct{})
		w.onFetch(func(offset int64) bool {
			if offset > 0 {
				<-second
			}
			return false
		})
		r := w.start()
		synctest.Wait()
		w.configure(2, 64, endpoints...) // all are due
		time.Sleep(10 * time.Second)
		if n := len(w.received()) - 60; n == 0 || n >= 60 {
			t.Errorf("%d sent while the second fetch is on its way", n)
		}
		close(second)
		time.Sleep(10 * time.Second)
		if n := len(w.received()); n != 120 {
			t.Errorf("%d receipts of 120", n)
		}
		r.drain()
	})
}

func TestAFetchThatBringsNothingTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := waiting(t, 3)
		w.onFetch(func(int64) bool { return true })
		r := w.start()
		time.Sleep(20 * time.Second)
		w.mu.Lock()
		incident := w.health["incident"]
		w.mu.Unlock()
		if incident != nil || !strings.Contains(w.ill(), "nothing was read at offset") {
			t.Errorf("incident %v, health says %s", incident, w.ill())
		}
		if n := r.reads.Load(); n > 60 {
			t.Errorf("%d fetches in 20 s", n)
		}
		w.onFetch(nil)
		time.Sleep(10 * time.Second)
		if ill := w.ill(); ill != "<nil>" || len(w.received()) != 6 {
			t.Errorf("%d receipts of 6, health says %s", len(w.received()), ill)
		}
		r.drain()
	})
}

func TestALogThatEndsTooSoonTakesNothingAway(t *testing.T) {
	r := readBack{from: 7, err: &stream.OutOfRangeError{From: 7, Start: 0, End: 5}}
	if _, _, err := r.covers(); err == nil {
		t.Error("what stood above the end counts as gone")
	}
	r = readBack{from: 7, err: &stream.OutOfRangeError{From: 7, Start: 9, End: 12}}
	if next, start, err := r.covers(); next != 9 || start != 9 || err != nil {
		t.Errorf("below the start: %d, %d, %v", next, start, err)
	}
}

func TestWithoutAConfigurationNoBodiesAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, endpoints := waiting(t, 100)
		w.mu.Lock()
		w.targets = nil
		w.mu.Unlock()
		r := w.start()
		time.Sleep(time.Second)
		before := r.reads.Load()
		time.Sleep(10 * time.Minute)
		if n := r.reads.Load() - before; n > 0 {
			t.Errorf("%d fetches without a configuration", n)
		}
		w.configure(2, 64, endpoints...)
		time.Sleep(time.Second)
		if n := len(w.received()); n != 200 {
			t.Errorf("%d receipts of 200", n)
		}
		r.drain()
	})
}
