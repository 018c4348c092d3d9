package delivery

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// settable is a wall clock that can be set; as everything read from a record it has no monotonic part.
type settable struct{ by atomic.Int64 }

func (c *settable) now() time.Time { return time.Now().Round(0).Add(time.Duration(c.by.Load())) }

func (c *settable) set(by time.Duration) { c.by.Add(int64(by)) }

func (c *settable) in(ch *Channel) { ch.Clock = c.now }

// Results were once collected until the clock had come back to where it was.
func TestAClockSetBackDelaysNeitherRecordsNorRetries(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, "e1")
				w.answers(func(d *Delivery, n int) (Result, time.Duration) {
					if d.Event.ID == "fails" && n == 1 {
						return Failed, time.Millisecond
					}
					return Accepted, time.Millisecond
				})
				clock := &settable{}
				r := w.start(clock.in)
				time.Sleep(1500 * time.Millisecond)
				w.plan(order("e1", "a", "fails"))
				time.Sleep(5 * time.Millisecond) // its result waits to be recorded
				clock.set(by)
				w.plan(order("e1", "b", "one"))
				time.Sleep(100 * time.Millisecond)
				if n := len(w.attempts()); n != 2 {
					t.Errorf("%d of 2 attempts recorded", n)
				}
				mark, _, _ := w.store.Peek(t.Context(), part, nil)
				if mark.Offset != 2 {
					t.Errorf("committed up to %d of 2", mark.Offset)
				}
				time.Sleep(3800 * time.Millisecond)
				if n := len(w.received()); n != 2 {
					t.Errorf("%d receipts before the wait after the failure has passed", n)
				}
				time.Sleep(1200 * time.Millisecond)
				if n := len(w.received()); n != 3 {
					t.Errorf("%d receipts: the failed one was not tried again after 5 s", n)
				}
				time.Sleep(5 * time.Second)
				r.drain()
				if n := len(w.attempts()); n != 3 {
					t.Errorf("%d of 3 attempts recorded", n)
				}
			})
		})
	}
}

func TestATimeOfDayIsKeptByTheClockAsItIsSet(t *testing.T) {
	for _, test := range []struct {
		by, sentAfter time.Duration
	}{{-time.Hour, 3 * time.Hour}, {90 * time.Minute, 30 * time.Minute}} {
		t.Run(test.by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, "e1")
				clock := &settable{}
				r := w.start(clock.in)
				begin := time.Now()
				d := order("e1", "a", "one")
				d.NotBefore = begin.Add(2 * time.Hour)
				w.plan(d)
				time.Sleep(time.Second)
				clock.set(test.by)
				time.Sleep(4 * time.Hour)
				r.drain()
				got := w.received()
				if len(got) != 1 || got[0].at.Sub(begin).Round(2*time.Second) != test.sentAfter {
					t.Errorf("received %+v, want one after %s", got, test.sentAfter)
				}
			})
		})
	}
}

// A due time that was kept while the clock was a year ahead once held a delivery for a year.
func TestADueTimeKeptByAWrongClockIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
		clock := &settable{}
		clock.set(365 * 24 * time.Hour)
		r := w.start(clock.in)
		w.plan(order("e1", "a", "one"))
		time.Sleep(3 * time.Second)
		r.drain()
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond })
		r = w.start()
		time.Sleep(11 * time.Hour)
		r.drain()
		if n := len(w.received()); n != 2 {
			t.Errorf("%d receipts", n)
		}
	})
}
