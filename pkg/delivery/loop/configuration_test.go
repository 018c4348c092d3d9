package loop

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// An owner that had not read the revision which enabled an endpoint once cancelled deliveries planned for it.
func TestConfiguration_StaleReplicaHoldsInsteadOfCancelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "other")
		sim.setStale(true)
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "one"))
		sim.plan(newDelivery("e1", "a", "two"))
		time.Sleep(10 * time.Second)
		if n := len(sim.attempts()); n != 0 {
			t.Errorf("%d settlements under a revision that may be old", n)
		}
		if !strings.Contains(sim.healthText(), "not active in revision 1, which may not be the newest") {
			t.Errorf("health reports %s", sim.healthText())
		}
		for revision := range int64(5) { // it is looked at again with each
			sim.configure(2+revision, 64, "other")
			time.Sleep(time.Second)
		}
		if !strings.Contains(sim.healthText(), "1 deliveries are held") {
			t.Errorf("health reports %s", sim.healthText())
		}
		sim.configure(7, 64, "other", "e1")
		sim.setStale(false)
		time.Sleep(time.Second)
		r.drain()
		if got := bodies(sim, r); got != "one two" {
			t.Errorf("received %s", got)
		}
	})
}

func TestConfiguration_HeldDeliveryIsCancelledOnceRevisionIsNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "other")
		sim.setStale(true)
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "one"))
		time.Sleep(10 * time.Second)
		sim.setStale(false)
		time.Sleep(time.Second)
		r.drain()
		all := sim.attempts()
		if len(all) != 1 || all[0].Settlement != deliveryv1.Settlement_SETTLEMENT_CANCELLED {
			t.Errorf("attempts %v", all)
		}
	})
}

func TestConfiguration_DisabledEndpointCancelsWaitingDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		r := sim.start()
		for i := range 30 {
			sim.plan(newDelivery("e1", "a", fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Minute) // the head of the ordering key waits half an hour
		r.drain()
		r = sim.start()
		defer r.drain()
		time.Sleep(time.Minute)
		sim.configure(2, 64)
		time.Sleep(time.Second)
		cancelled := 0
		for _, a := range sim.attempts() {
			if a.Settlement == deliveryv1.Settlement_SETTLEMENT_CANCELLED && a.Reason == "endpoint_deleted" && a.Number == 0 {
				cancelled++
			}
		}
		if cancelled != 30 || len(sim.broker.all(topicDead)) != 30 {
			t.Errorf("%d cancelled, %d dead letters", cancelled, len(sim.broker.all(topicDead)))
		}
	})
}

func TestConfiguration_ChangedEndpointIsTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		r := sim.start()
		defer r.drain()
		sim.plan(newDelivery("e1", "a", "a1"))
		time.Sleep(10 * time.Minute)
		before := len(sim.received())
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, time.Millisecond
		})
		sim.configure(2, 64, "e1")
		time.Sleep(time.Second)
		if got := sim.received(); len(got) != before+1 || !got[before].accepted {
			t.Errorf("%d receipts after the change, %d before", len(got), before)
		}
	})
}

// After a restart nothing distinguished a delivery that failed without using an attempt from one that waits for its NotBefore:
// once its endpoint was mended it waited for the rest of its step all the same.
func TestConfiguration_ChangedEndpointIsTriedAtOnceAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 421, as: failedEndpoint} })
		minutes := func(c *Channel) { c.Backoff = delivery.Backoff{time.Minute, 5 * time.Minute} }
		r := sim.start(minutes)
		sim.plan(newDelivery("e1", "a", "a1"))
		later := newDelivery("e1", "b", "b1")
		later.NotBefore = time.Now().Add(time.Hour)
		sim.plan(later)
		time.Sleep(5 * time.Second)
		r.kill()
		r = sim.start(minutes)
		time.Sleep(5 * time.Second)
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 200} })
		sim.configure(2, 64, "e1")
		time.Sleep(time.Second)
		if got := bodies(sim, r); got != "a1 a1" {
			t.Errorf("received %q after the change", got)
		}
		time.Sleep(time.Hour)
		r.drain()
		if got := bodies(sim, r); got != "a1 a1 b1" {
			t.Errorf("received %q in the end", got)
		}
	})
}

func TestConfiguration_DeliveryOfUnknownRevisionIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		defer r.drain()
		d := newDelivery("new", "a", "a1")
		d.Revision = 5
		sim.plan(d)
		time.Sleep(time.Minute)
		if len(sim.attempts()) != 0 {
			t.Fatalf("settled under an old configuration: %v", sim.attempts())
		}
		if !strings.Contains(sim.healthText(), "1 deliveries are held: the oldest was planned by revision 5, the newest known is 1") {
			t.Errorf("health reports %s", sim.healthText())
		}
		sim.configure(5, 64, "e1", "new")
		time.Sleep(time.Millisecond)
		if len(sim.received()) != 1 {
			t.Error("not sent when the revision came")
		}
		if sim.healthText() != "<nil>" {
			t.Errorf("health still reports %s", sim.healthText())
		}
	})
}

// A delivery whose revision has come waits for its endpoint like any other: the service is ready.
func TestConfiguration_HeldForAPausedEndpointIsHeldNoMoreOnceItsRevisionArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.pause(1, "e1", true)
		r := sim.start()
		defer r.drain()
		sim.pause(2, "e1", false)
		for _, body := range []string{"a1", "b1"} {
			d := newDelivery("e1", body, body)
			d.Revision = 5
			sim.plan(d)
		}
		time.Sleep(time.Minute)
		if !strings.Contains(sim.healthText(), "2 deliveries are held") {
			t.Fatalf("health reports %s", sim.healthText())
		}
		sim.pause(5, "e1", true)
		time.Sleep(time.Minute)
		if text := sim.healthText(); text != "<nil>" {
			t.Errorf("health reports %s", text)
		}
		sim.pause(6, "e1", false)
		time.Sleep(time.Second)
		if n := len(sim.received()); n != 2 {
			t.Errorf("%d of 2 received in the end", n)
		}
	})
}

func TestConfiguration_HeldDeliveryIsReadOnceItsRevisionArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		for i := range 100 {
			d := newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i))
			d.Revision = 5
			sim.plan(d)
		}
		time.Sleep(time.Second)
		reads := r.reads.Load()
		time.Sleep(10 * time.Minute)
		sim.configure(4, 64, "e1")
		time.Sleep(10 * time.Minute)
		if n := r.reads.Load() - reads; n != 0 {
			t.Errorf("%d reads while the revision is not known", n)
		}
		sim.configure(5, 64, "e1")
		time.Sleep(time.Second)
		r.drain()
		if n := len(sim.received()); n != 100 {
			t.Errorf("%d of 100 received once it is", n)
		}
	})
}
