package loop

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// refusedRecipient, and one that is asked to come again.
func refusedRecipient(o *delivery.Outcome) {
	o.Result, o.Fault, o.Busy = delivery.Refused, delivery.FaultRecipient, false
}

func laterRecipient(o *delivery.Outcome) { o.Fault, o.Busy = delivery.FaultRecipient, false }

func failedEndpoint(o *delivery.Outcome) { o.Uncounted = true }

// A dozen refusals of recipients show that the endpoint works: they end a row of failures, and open no circuit, also where
// the partition is opened anew from the attempts.
func TestWhoseFault_RefusalsOfRecipientsAreNoneOfTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			var n int
			_, _ = fmt.Sscan(d.Event.ID, &n)
			switch {
			case n < 9 || n > 9 && n < 19:
				return reply{status: 500}
			case n == 9 || n == 19:
				return reply{status: 550, as: refusedRecipient}
			}
			return reply{status: 550, as: refusedRecipient}
		})
		r := sim.start()
		for n := range 40 {
			sim.plan(newDelivery("e1", fmt.Sprint(n), fmt.Sprint(n)))
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		r.drain()
		if h := sim.lastReport("e1"); h.CircuitOpen {
			t.Errorf("the circuit is open: %+v", h)
		}
		sim.store.Restore(empty())
		r = sim.start()
		time.Sleep(time.Second)
		r.drain()
		if h := sim.lastReport("e1"); h.CircuitOpen || !h.LastSuccess.IsZero() {
			t.Errorf("opened from the attempts: %+v", h)
		}
		refused := 0
		for _, a := range sim.attempts() {
			if a.Settlement == deliveryv1.Settlement_SETTLEMENT_DEAD && a.Reason == "refused" && a.Fault == deliveryv1.Fault_FAULT_RECIPIENT {
				refused++
			}
		}
		if refused != 22 {
			t.Errorf("%d refused, want 22", refused)
		}
	})
}

// A delivery whose endpoint fails keeps its attempts, also over a kill and a store that was lost.
func TestWhoseFault_FailuresOfTheEndpointUseNoAttempt(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("store lost %t", lost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation(t, 1, "e1")
				requests := 0
				sim.replies(func(*delivery.Delivery, int) reply {
					requests++
					switch requests {
					case 1, 2, 4, 5:
						return reply{status: 421, as: failedEndpoint}
					case 3:
						return reply{status: 450, as: laterRecipient}
					}
					return reply{status: 200}
				})
				minutes := func(c *Channel) { c.Backoff = delivery.Backoff{time.Minute, 5 * time.Minute} }
				r := sim.start(minutes)
				sim.plan(newDelivery("e1", "a", "a1"))
				time.Sleep(90 * time.Second) // two attempts
				r.kill()
				if lost {
					sim.store.Restore(empty())
				}
				r = sim.start(minutes)
				time.Sleep(15 * time.Minute)
				r.drain()
				var numbers []int32
				for _, a := range sim.attempts() {
					numbers = append(numbers, a.Number)
					if a.Uncounted != (a.Status == 421) {
						t.Errorf("attempt %v", a)
					}
				}
				if got, want := fmt.Sprint(numbers), "[1 1 1 2 2 2]"; got != want {
					t.Errorf("attempts have the numbers %s, want %s", got, want)
				}
				all := sim.attempts()
				if last := all[len(all)-1]; last.Settlement != deliveryv1.Settlement_SETTLEMENT_DELIVERED {
					t.Errorf("last %v", last)
				}
				if wait := all[3].Started.AsTime().Sub(all[2].Started.AsTime()); wait < 48*time.Second || wait > 61*time.Second {
					t.Errorf("the second attempt came %s after the first, want the first wait of the channel", wait)
				}
			})
		})
	}
}

// However often an endpoint fails, its deliveries are not used up: they are sent once it works.
func TestWhoseFault_AnEndpointThatFailsForADayUsesNoDeliveryUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		began := time.Now()
		sim.replies(func(*delivery.Delivery, int) reply {
			if time.Since(began) < 23*time.Hour {
				return reply{status: 421, as: failedEndpoint}
			}
			return reply{status: 200}
		})
		r := sim.start(func(c *Channel) { c.Backoff = delivery.Backoff{time.Minute, 2 * time.Minute} })
		for n := range 20 {
			sim.plan(newDelivery("e1", fmt.Sprint(n), fmt.Sprint(n)))
		}
		time.Sleep(24 * time.Hour)
		r.drain()
		delivered := 0
		for _, a := range sim.attempts() {
			if a.Settlement == deliveryv1.Settlement_SETTLEMENT_DELIVERED {
				delivered++
			} else if a.Settlement != 0 {
				t.Fatalf("settled otherwise: %v", a)
			}
		}
		if delivered != 20 {
			t.Errorf("%d of 20 delivered", delivered)
		}
	})
}

// What is withdrawn is settled without an attempt and without a dead letter.
func TestWhoseFault_AWithdrawnDeliveryIsCancelledWithoutADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			if d.Event.ID == "a1" {
				return reply{status: 0, as: func(o *delivery.Outcome) { o.Result, o.Reason = delivery.Withdrawn, "suppressed" }}
			}
			return reply{status: 200}
		})
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "a1"))
		sim.plan(newDelivery("e1", "a", "a2"))
		time.Sleep(time.Second)
		r.drain()
		all := sim.attempts()
		if len(all) != 2 || all[0].Number != 0 || all[0].Settlement != deliveryv1.Settlement_SETTLEMENT_CANCELLED || all[0].Reason != "suppressed" || all[0].Started != nil {
			t.Errorf("attempts %v", all)
		}
		if dead := sim.broker.all(topicDead); len(dead) != 0 {
			t.Errorf("%d dead letters", len(dead))
		}
	})
}
