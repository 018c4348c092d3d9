package loop

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/schedule"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

func TestPause_SendsNothingCancelsNothingAndResumesInOrderWithAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 200, takes: 10 * time.Millisecond} })
		r := sim.start()
		var planned []*delivery.Delivery
		plan := func(n int) {
			for range n {
				planned = append(planned, sim.plan(newDelivery("e1", fmt.Sprint(len(planned)%20), fmt.Sprint(len(planned)))))
			}
		}
		plan(1000)
		time.Sleep(15 * time.Millisecond)
		sim.change("e1", func(t *target) { t.paused = true })
		paused := time.Now().Add(2 * time.Second)
		sim.pass(30 * time.Hour)
		plan(100)
		r.kill()
		r = sim.start()
		sim.pass(time.Hour)
		if n := len(sim.requests("e1", paused)); n != 0 {
			t.Errorf("%d requests while paused", n)
		}
		if n := len(sim.attempts()); n != len(sim.received()) {
			t.Errorf("%d attempts for %d requests: something was settled", n, len(sim.received()))
		}
		resumed := time.Now().Add(-1)
		sim.change("e1", func(t *target) { t.paused = false })
		time.Sleep(5 * time.Millisecond)
		if n := len(sim.requests("e1", resumed)); n != 1 {
			t.Errorf("%d requests before the probe is answered", n)
		}
		time.Sleep(time.Minute)
		r.drain()
		check(t, sim, planned)
	})
}

// The horizon stands still while nothing is sent: a pause of 30 h uses none of the nine attempts and none of the 28 h.
func TestPause_StopsTheHorizon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 422, takes: time.Millisecond} })
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "a1"))
		sim.pass(20 * time.Hour) // eight attempts
		before := len(sim.attempts())
		sim.change("e1", func(t *target) { t.paused = true })
		sim.pass(30 * time.Hour)
		sim.change("e1", func(t *target) { t.print, t.paused = 9, false }) // and all is due at once
		time.Sleep(time.Second)
		all := sim.attempts()
		if last := all[len(all)-1]; before != 8 || len(all) != 9 || last.Settlement != 0 {
			t.Fatalf("%d attempts before, %d after: %v", before, len(all), last)
		}
		sim.pass(9 * time.Hour)
		all = sim.attempts()
		if last := all[len(all)-1]; last.Settlement != deliveryv1.Settlement_SETTLEMENT_DEAD || last.Reason != "exhausted" {
			t.Errorf("29 h without the pause: %v", last)
		}
		r.drain()
	})
}

func TestSchedule_ClosedHoursMoveDueTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble begins on Saturday, 1 January 2000, at midnight UTC
		sim := newSimulation(t, 1, "e1")
		office := &schedule.Schedule{Zone: time.UTC, Hours: []schedule.Hours{{Start: 9 * 60, End: 17 * 60}}}
		sim.change("e1", func(t *target) { t.schedule = office })
		fails := 5
		sim.replies(func(*delivery.Delivery, int) reply {
			if fails > 0 {
				fails--
				return reply{status: 422, takes: time.Millisecond}
			}
			return reply{status: 200, takes: time.Millisecond}
		})
		r := sim.start()
		began := time.Now()
		sim.pass(16*time.Hour + 30*time.Minute)
		var planned []*delivery.Delivery
		planned = append(planned, sim.plan(newDelivery("e1", "a", "a0"))) // fails at 0, 5 s, 35 s, 5 min, 35 min: moved
		time.Sleep(10 * time.Minute)
		r.kill()
		r = sim.start()
		time.Sleep(50 * time.Minute) // half past five
		for i := range 50 {
			planned = append(planned, sim.plan(newDelivery("e1", fmt.Sprint(i%5), fmt.Sprint(i))))
		}
		next := sim.attempts()[3].NextAttempt.AsTime()
		if hour := next.Sub(began).Hours(); hour < 33 || hour > 33.01 {
			t.Errorf("the next attempt is at hour %v, want 9 o'clock of the next day", hour)
		}
		sim.pass(40 * time.Hour)
		for _, b := range sim.requests("e1", time.Time{}) {
			if !office.Open(b.at) {
				t.Errorf("request at %s", b.at.Format(time.TimeOnly))
			}
		}
		r.drain()
		check(t, sim, planned)
	})
}

func TestRate_IsKeptInEachSecond(t *testing.T) {
	for _, rate := range []int{1, 7, 100, 3000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation(t, 1, "e1", "e2")
				sim.change("e1", func(t *target) { t.rate = rate })
				sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 200, takes: time.Millisecond} })
				r := sim.start()
				n := 5 * rate
				for i := range n {
					sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
				}
				time.Sleep(7 * time.Second)
				all := sim.requests("e1", time.Time{})
				if len(all) != n {
					t.Errorf("%d of %d requests in seven seconds", len(all), n)
				}
				for i, from := 0, 0; i < len(all); i++ {
					for all[i].at.Sub(all[from].at) >= time.Second {
						from++
					}
					if i-from+1 > rate+rate/100+1 {
						t.Fatalf("%d requests in a second", i-from+1)
					}
				}
				r.drain()
			})
		})
	}
}

func TestExpiry_IsSettledWithoutDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			if d.Event.ID == "expires" {
				return reply{status: 422, takes: time.Millisecond}
			}
			return reply{status: 200, takes: time.Millisecond}
		})
		r := sim.start()
		defer r.drain()
		began := time.Now()
		d := newDelivery("e1", "a", "expires")
		d.ExpiresAt = began.Add(time.Minute)
		sim.plan(d)
		sim.plan(newDelivery("e1", "a", "behind"))
		late := newDelivery("e1", "b", "late")
		late.ExpiresAt = began.Add(-time.Second)
		sim.plan(late)
		time.Sleep(2 * time.Minute)
		if got := bodies(sim, r); got != "expires expires expires behind" {
			t.Errorf("received %s", got)
		}
		if behind := sim.requests("e1", began.Add(50*time.Second)); len(behind) != 1 || behind[0].at.Sub(began).Round(time.Second) != time.Minute {
			t.Errorf("the next of its order went at %v", behind)
		}
		expired := 0
		for _, a := range sim.attempts() {
			if a.Settlement == deliveryv1.Settlement_SETTLEMENT_EXPIRED {
				expired++
			}
		}
		if expired != 2 || len(sim.broker.all(topicDead)) != 0 || len(sim.events()) != 0 {
			t.Errorf("%d expired, %d dead letters, events %s", expired, len(sim.broker.all(topicDead)), sim.notices())
		}
	})
}

func TestCollapse_OnlyTheNewestOfThoseThatWaitIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		fails := true
		sim.replies(func(*delivery.Delivery, int) reply {
			if fails {
				return reply{status: 500, takes: time.Millisecond}
			}
			return reply{status: 200, takes: time.Millisecond}
		})
		r := sim.start()
		plan := func(endpoint, subject, name, text string) {
			d := newDelivery(endpoint, subject, name)
			d.Collapse = text
			sim.plan(d)
		}
		plan("e1", "a", "a1", "balance")
		plan("e1", "b", "b1", "")
		time.Sleep(10 * time.Minute) // both wait half an hour
		plan("e1", "a", "a2", "balance")
		plan("e1", "c", "c1", "balance") // the newest, whatever its subject
		plan("e2", "a", "x1", "balance") // of another endpoint
		plan("e1", "a", "a3", "other")
		time.Sleep(time.Second)
		superseded := func() (n int) {
			for _, a := range sim.attempts() {
				if a.Settlement == deliveryv1.Settlement_SETTLEMENT_SUPERSEDED && a.Reason == "collapsed" && a.Number == 0 {
					n++
				}
			}
			return n
		}
		if n := superseded(); n != 2 {
			t.Errorf("%d superseded at once, want the one that waited and the next", n)
		}
		sim.change("e1", func(t *target) { t.paused = true })
		plan("e1", "d", "d1", "balance")
		time.Sleep(time.Second)
		if n := superseded(); n != 3 {
			t.Errorf("%d superseded while paused, want three", n)
		}
		plan("e1", "d", "d2", "balance")
		r.kill() // what is read again knows it too
		r = sim.start()
		time.Sleep(time.Second)
		fails = false
		before := time.Now()
		sim.change("e1", func(t *target) { t.paused, t.print = false, 7 })
		time.Sleep(time.Minute)
		r.drain()
		var sent []string
		for _, b := range sim.requests("e1", before.Add(-1)) {
			sent = append(sent, b.name)
		}
		if got := strings.Join(sent, " "); strings.Count(got, " ") != 2 || !strings.Contains(got, "b1") || !strings.Contains(got, "a3") || !strings.Contains(got, "d2") {
			t.Errorf("sent %s, want b1, a3 and d2", got)
		}
		if len(sim.broker.all(topicDead)) != 0 || superseded() != 4 {
			t.Errorf("%d dead letters, %d superseded", len(sim.broker.all(topicDead)), superseded())
		}
	})
}

// A pause that ends in closed hours is over when they open.
func TestPause_ThatEndsInClosedHoursResumesWithAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		office := &schedule.Schedule{Zone: time.UTC, Hours: []schedule.Hours{{Start: 9 * 60, End: 17 * 60}}}
		sim.change("e1", func(t *target) { t.schedule, t.paused = office, true })
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 200, takes: time.Second} })
		r := sim.start()
		for i := range 20 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		sim.pass(time.Hour)
		sim.change("e1", func(t *target) { t.paused = false })
		sim.pass(8*time.Hour + 500*time.Millisecond)
		if n := len(sim.requests("e1", time.Time{})); n != 1 {
			t.Errorf("%d requests at once where a probe goes first", n)
		}
		time.Sleep(time.Minute)
		if n := len(sim.requests("e1", time.Time{})); n != 20 {
			t.Errorf("%d of 20 requests", n)
		}
		r.drain()
	})
}

// A pause that ended while nobody owned the partition is followed by a probe, whether anything waited when it began or not.
func TestPause_ThatEndsWithoutAnOwnerIsFollowedByAProbe(t *testing.T) {
	for name, waited := range map[string]bool{"something waited": true, "nothing waited": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation(t, 1, "e1")
				sim.replies(func(d *delivery.Delivery, _ int) reply {
					if d.Event.ID == "before" {
						return reply{status: 200, takes: time.Millisecond}
					}
					return reply{status: 200, takes: time.Minute}
				})
				r := sim.start()
				sim.plan(newDelivery("e1", "before", "before"))
				time.Sleep(time.Second)
				sim.change("e1", func(t *target) { t.paused = true })
				plan := func() {
					for i := range 5 {
						sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
					}
				}
				if waited {
					plan()
				}
				sim.pass(time.Hour)
				if !waited {
					plan()
				}
				time.Sleep(2 * time.Second)
				r.kill()
				sim.change("e1", func(t *target) { t.paused = false })
				r = sim.start()
				at := time.Now()
				time.Sleep(50 * time.Second)
				if all := sim.requests("e1", at.Add(-time.Second)); len(all) != 1 {
					t.Errorf("%d requests at once after the pause, want a probe", len(all))
				}
				sim.pass(10 * time.Minute)
				if n := len(sim.received()); n != 6 {
					t.Errorf("%d of 6 received in the end", n)
				}
				r.drain()
			})
		})
	}
}
