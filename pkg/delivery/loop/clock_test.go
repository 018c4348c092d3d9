package loop

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
)

// settable is a wall clock that can be set. Like a time from a record it has no monotonic part.
type settable struct{ by atomic.Int64 }

func (c *settable) now() time.Time { return time.Now().Round(0).Add(time.Duration(c.by.Load())) }

func (c *settable) set(by time.Duration) { c.by.Add(int64(by)) }

func (c *settable) in(ch *Channel) { ch.Clock = c.now }

// A wall clock that was set back once delayed the recording of results.
func TestClock_StepDelaysNeitherRecordsNorRetries(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation(t, 1, "e1")
				sim.answers(func(d *delivery.Delivery, n int) (delivery.Result, time.Duration) {
					if d.Event.ID == "fails" && n == 1 {
						return delivery.Failed, time.Millisecond
					}
					return delivery.Accepted, time.Millisecond
				})
				clock := &settable{}
				r := sim.start(clock.in)
				time.Sleep(1500 * time.Millisecond)
				sim.plan(newDelivery("e1", "a", "fails"))
				time.Sleep(5 * time.Millisecond) // its result waits to be recorded
				clock.set(by)
				sim.plan(newDelivery("e1", "b", "one"))
				time.Sleep(100 * time.Millisecond)
				if n := len(sim.attempts()); n != 2 {
					t.Errorf("%d of 2 attempts recorded", n)
				}
				mark, _, _ := sim.store.Peek(t.Context(), part, nil)
				if mark.Offset != 2 {
					t.Errorf("committed up to %d of 2", mark.Offset)
				}
				time.Sleep(3800 * time.Millisecond)
				if n := len(sim.received()); n != 2 {
					t.Errorf("%d receipts before the wait after the failure has passed", n)
				}
				time.Sleep(1200 * time.Millisecond)
				if n := len(sim.received()); n != 3 {
					t.Errorf("%d receipts: the failed one was not tried again after 5 s", n)
				}
				time.Sleep(5 * time.Second)
				r.drain()
				if n := len(sim.attempts()); n != 3 {
					t.Errorf("%d of 3 attempts recorded", n)
				}
			})
		})
	}
}

func TestClock_NotBeforeFollowsTheWallClock(t *testing.T) {
	for _, test := range []struct {
		by, sentAfter time.Duration
	}{{-time.Hour, 3 * time.Hour}, {90 * time.Minute, 30 * time.Minute}} {
		t.Run(test.by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation(t, 1, "e1")
				clock := &settable{}
				r := sim.start(clock.in)
				begin := time.Now()
				d := newDelivery("e1", "a", "one")
				d.NotBefore = begin.Add(2 * time.Hour)
				sim.plan(d)
				time.Sleep(time.Second)
				clock.set(test.by)
				sim.pass(4 * time.Hour)
				r.drain()
				got := sim.received()
				if len(got) != 1 || got[0].at.Sub(begin).Round(2*time.Second) != test.sentAfter {
					t.Errorf("received %+v, want one after %s", got, test.sentAfter)
				}
			})
		})
	}
}

// A due time that was stored while the clock was a year ahead once held a delivery for a year.
func TestClock_StoredDueTimeOfWrongClockIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		clock := &settable{}
		clock.set(365 * 24 * time.Hour)
		r := sim.start(clock.in)
		sim.plan(newDelivery("e1", "a", "one"))
		time.Sleep(3 * time.Second)
		r.drain()
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, time.Millisecond
		})
		r = sim.start()
		sim.pass(11 * time.Hour)
		r.drain()
		if n := len(sim.received()); n != 2 {
			t.Errorf("%d receipts", n)
		}
	})
}
