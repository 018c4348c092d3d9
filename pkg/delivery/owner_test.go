package delivery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

func TestADeliveryIsSentAtOnceAndRecordedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		defer r.drain()
		synctest.Wait()
		began := time.Now()
		d := w.plan(order("e1", "s", "one"))
		time.Sleep(time.Millisecond)
		got := w.received()
		if len(got) != 1 || got[0].id != d.ID {
			t.Fatalf("received %v", got)
		}
		if waited := got[0].at.Sub(began); waited > time.Millisecond/3+time.Microsecond {
			t.Errorf("sent after %s: something waited for a tick", waited)
		}
		time.Sleep(50 * time.Millisecond)
		as := w.attempts()
		if len(as) != 1 || as[0].Settlement != deliveryv1.Settlement_SETTLEMENT_DELIVERED || as[0].Status != 204 || as[0].Delivery != d.ID {
			t.Errorf("attempts %v", as)
		}
	})
}

func TestALaneWaitsForItsHeadAndOthersDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(d *Delivery, n int) (Result, time.Duration) {
			if d.Event.ID == "a1" && n == 1 {
				return Failed, time.Millisecond
			}
			return Accepted, time.Millisecond
		})
		r := w.start()
		defer r.drain()
		w.plan(order("e1", "a", "a1"))
		w.plan(order("e1", "a", "a2"))
		time.Sleep(time.Millisecond)
		w.plan(order("e1", "b", "b1"))
		w.plan(order("e1", "b", "b2"))
		time.Sleep(time.Second)
		if got := bodies(w, r); got != "a1 b1 b2" {
			t.Fatalf("within a second: %s", got)
		}
		time.Sleep(5 * time.Second)
		if got := bodies(w, r); got != "a1 b1 b2 a1 a2" {
			t.Errorf("after the first wait: %s", got)
		}
	})
}

// bodies are the names of what was received, in order.
func bodies(w *world, _ *replica) string {
	names := map[string]string{}
	for _, rec := range w.broker.all(topicDeliveries) {
		if d, err := Decode(rec); err == nil {
			names[d.ID] = d.Event.ID
		}
	}
	var out []string
	for _, r := range w.received() {
		out = append(out, names[r.id])
	}
	return strings.Join(out, " ")
}

func TestAfterAGivingUpTheLaneGoesOnceItIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(d *Delivery, _ int) (Result, time.Duration) {
			if d.Event.ID == "a1" {
				return Refused, time.Millisecond
			}
			return Accepted, time.Millisecond
		})
		r := w.start()
		defer r.drain()
		synctest.Wait()
		w.plan(order("e1", "a", "a1"))
		w.plan(order("e1", "a", "a2"))
		time.Sleep(3 * time.Millisecond)
		w.broker.setDown(true)
		time.Sleep(10 * time.Second)
		if got := bodies(w, r); got != "a1" {
			t.Fatalf("while nothing can be recorded: %s", got)
		}
		w.broker.setDown(false)
		time.Sleep(time.Second)
		if got := bodies(w, r); got != "a1 a2" {
			t.Errorf("once it can: %s", got)
		}
		if dead := w.broker.all(topicDead); len(dead) != 1 {
			t.Errorf("%d dead letters", len(dead))
		}
	})
}

func TestWhatFailsForeverIsGivenUpAfterNineAttemptsWithin28Hours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
		r := w.start()
		defer r.drain()
		d := w.plan(order("e1", "a", "a1"))
		time.Sleep(28 * time.Hour)
		as := w.attempts()
		if len(as) != 9 {
			t.Fatalf("%d attempts", len(as))
		}
		for i, a := range as[:8] {
			wait, _ := Backoff(d.ID, i+1)
			if got := as[i+1].Started.AsTime().Sub(a.Started.AsTime()); got < wait || got > wait+5*time.Millisecond {
				t.Errorf("attempt %d came after %s, planned %s", i+2, got, wait)
			}
			if a.Settlement != 0 || a.NextAttempt == nil {
				t.Errorf("attempt %d: %v", i+1, a)
			}
		}
		if last := as[8]; last.Settlement != deliveryv1.Settlement_SETTLEMENT_DEAD || last.Reason != "exhausted" || last.Number != 9 {
			t.Errorf("last attempt: %v", last)
		}
	})
}

func TestAnEndpointNeverHasMoreThanItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1", "e2")
		w.configure(2, 3, "e1", "e2")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, 20 * time.Millisecond })
		r := w.start()
		for i := range 200 {
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(100 * time.Millisecond)
		w.plan(order("e2", "s", "other"))
		time.Sleep(10 * time.Millisecond)
		if !slices.ContainsFunc(w.received(), func(r receipt) bool { return r.lane == "e2|events.ordered|s" }) {
			t.Errorf("the other endpoint waited behind the busy one")
		}
		r.drain()
		r = w.start() // from references: the limit must hold before bodies are read too
		time.Sleep(10 * time.Second)
		r.drain()
		if w.busiest["e1"] != 3 {
			t.Errorf("%d at once", w.busiest["e1"])
		}
		if n := len(w.received()); n < 201 {
			t.Errorf("%d of 201 received", n)
		}
	})
}

func TestARevokeLeavesOneSecondAndCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(d *Delivery, _ int) (Result, time.Duration) {
			if d.Event.ID == "slow" {
				return Accepted, 10 * time.Second
			}
			return Accepted, 500 * time.Millisecond
		})
		r := w.start()
		w.plan(order("e1", "a", "slow"))
		w.plan(order("e1", "b", "quick"))
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		r.drain()
		if took := time.Since(began); took < time.Second || took > 1100*time.Millisecond {
			t.Errorf("drained in %s", took)
		}
		as := w.attempts()
		if len(as) != 1 || as[0].Settlement != deliveryv1.Settlement_SETTLEMENT_DELIVERED {
			t.Errorf("attempts %v: the quick one and nothing else counts", as)
		}
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond })
		r = w.start()
		time.Sleep(time.Second)
		r.drain()
		if as = w.attempts(); len(as) != 2 || as[1].Number != 1 {
			t.Errorf("the successor's attempts: %v", as)
		}
	})
}

func TestADisabledEndpointsDeliveriesAreCancelledThoughTheyWaitForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
		r := w.start()
		for i := range 30 {
			w.plan(order("e1", "a", fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Minute) // the head of the lane waits half an hour
		r.drain()
		r = w.start()
		defer r.drain()
		time.Sleep(time.Minute)
		w.configure(2, 64)
		time.Sleep(time.Second)
		cancelled := 0
		for _, a := range w.attempts() {
			if a.Settlement == deliveryv1.Settlement_SETTLEMENT_CANCELLED && a.Reason == "endpoint_deleted" && a.Number == 0 {
				cancelled++
			}
		}
		if cancelled != 30 || len(w.broker.all(topicDead)) != 30 {
			t.Errorf("%d cancelled, %d dead letters", cancelled, len(w.broker.all(topicDead)))
		}
	})
}

func TestAChangedEndpointIsTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
		r := w.start()
		defer r.drain()
		w.plan(order("e1", "a", "a1"))
		time.Sleep(10 * time.Minute)
		before := len(w.received())
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond })
		w.configure(2, 64, "e1")
		time.Sleep(time.Second)
		if got := w.received(); len(got) != before+1 || !got[before].accepted {
			t.Errorf("%d receipts after the change, %d before", len(got), before)
		}
	})
}

func TestADeliveryOfARevisionNotSeenYetIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		defer r.drain()
		d := order("new", "a", "a1")
		d.Revision = 5
		w.plan(d)
		time.Sleep(time.Minute)
		if len(w.attempts()) != 0 {
			t.Fatalf("judged by an old configuration: %v", w.attempts())
		}
		if !strings.Contains(w.ill(), "1 deliveries are held: the oldest was planned by revision 5, known is 1") {
			t.Errorf("health says %s", w.ill())
		}
		w.configure(5, 64, "e1", "new")
		time.Sleep(time.Millisecond)
		if len(w.received()) != 1 {
			t.Error("not sent when the revision came")
		}
		if w.ill() != "<nil>" {
			t.Errorf("health still says %s", w.ill())
		}
	})
}

func TestNotBeforeHoldsItsLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		defer r.drain()
		d := order("e1", "a", "a1")
		d.NotBefore = time.Now().Add(time.Hour)
		w.plan(d)
		w.plan(order("e1", "a", "a2"))
		time.Sleep(59 * time.Minute)
		if got := bodies(w, r); got != "" {
			t.Fatalf("before the hour: %s", got)
		}
		time.Sleep(2 * time.Minute)
		if got := bodies(w, r); got != "a1 a2" {
			t.Errorf("after it: %s", got)
		}
	})
}

func TestAPlannersRepeatsAreDroppedAndReplaysAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		d := order("e1", "a", "a1")
		w.plan(d)
		w.plan(d)
		time.Sleep(time.Second)
		r.drain()
		r = w.start()
		defer r.drain()
		w.plan(d)
		again := *d
		again.ReplayJob = "job-1"
		w.plan(&again)
		w.plan(&again)
		time.Sleep(time.Second)
		if n := len(w.received()); n != 2 {
			t.Errorf("received %d times, not once and once for the replay", n)
		}
	})
}

func TestWhatIsNoDeliveryIsRejectedAndTheRestGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		w.broker.append(stream.Record{Topic: topicDeliveries, Key: []byte("k"), Value: []byte("\xff\xff nonsense"), Time: time.Now()})
		w.broker.append(stream.Record{Topic: topicDeliveries, Time: time.Now()})
		w.plan(order("e1", "a", "a1"))
		time.Sleep(time.Second)
		r.drain()
		rejected := w.broker.all(topicRejected)
		if len(rejected) != 2 || string(rejected[0].Value) != "\xff\xff nonsense" {
			t.Fatalf("rejected %v", rejected)
		}
		if reason, _ := rejected[0].Header("tollgate-reason"); string(reason) != "DELIVERY_UNREADABLE" {
			t.Errorf("reason %q", reason)
		}
		if len(w.received()) != 1 {
			t.Error("the delivery behind them did not go")
		}
	})
}

func TestNothingMoreIsSentWhileAThousandResultsAreUnrecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		synctest.Wait()
		for i := range 5000 {
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		w.broker.setDown(false)
		time.Sleep(time.Microsecond) // read, not recorded
		w.broker.setDown(true)
		time.Sleep(time.Minute)
		n := len(w.received())
		if n < 900 || n > 1000+64 {
			t.Errorf("%d sent while nothing could be recorded", n)
		}
		if !strings.Contains(w.ill(), "can't be recorded") {
			t.Errorf("health says %s", w.ill())
		}
		w.broker.setDown(false)
		time.Sleep(10 * time.Second)
		if n := len(w.received()); n != 5000 {
			t.Errorf("%d of 5,000 received in the end", n)
		}
		if w.ill() != "<nil>" {
			t.Errorf("health still says %s", w.ill())
		}
		r.drain()
	})
}

func TestAFullPartitionReadsNoFurtherAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
		few := func(c *Channel) { c.WaitingMax = 100 }
		r := w.start(few)
		for i := range 1000 {
			w.plan(order("e1", "s", fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		if !strings.Contains(w.ill(), "nothing more is read") {
			t.Errorf("health says %s", w.ill())
		}
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond })
		time.Sleep(time.Minute)
		if w.ill() != "<nil>" {
			t.Errorf("health still says %s", w.ill())
		}
		r.drain()
		if n := len(w.broker.all(topicAttempts)); n != 1001 {
			t.Errorf("%d attempts for 1,000 deliveries and one failure", n)
		}
	})
}

func TestAPositionBelowTheLogIsAnIncidentUntilAPersonAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(d *Delivery, n int) (Result, time.Duration) { return Failed, time.Millisecond })
		r := w.start()
		w.plan(order("e1", "a", "a0"))
		time.Sleep(time.Second)
		r.drain()
		for i := range 9 {
			w.plan(order("e1", "a", fmt.Sprint("a", i+1)))
		}
		w.broker.trim(topicDeliveries, 5)
		w.answers(func(d *Delivery, n int) (Result, time.Duration) { return Accepted, time.Millisecond })
		r = w.start()
		time.Sleep(time.Minute)
		if n := len(w.received()); n != 1 {
			t.Fatalf("%d received over a gap", n)
		}
		if !strings.Contains(w.ill(), "4 deliveries have left the log unread") || !strings.Contains(w.ill(), "1 deliveries have left the log before") {
			t.Errorf("health says %s", w.ill())
		}
		r.drain()
		r = w.start(func(c *Channel) { c.AcceptLostDeliveries = true })
		time.Sleep(time.Minute)
		r.drain()
		if got := bodies(w, r); got != "a0 a5 a6 a7 a8 a9" {
			t.Errorf("received %s", got)
		}
		last := w.attempts()[1]
		if last.Settlement != deliveryv1.Settlement_SETTLEMENT_DEAD || last.Reason != "gone" || last.Offset != 0 {
			t.Errorf("what is gone is settled as %v", last)
		}
	})
}

func TestAnOwnerThatWasOvertakenAsksToRejoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		old := w.start()
		synctest.Wait()
		young := w.start()
		time.Sleep(1100 * time.Millisecond)
		old.drain()
		young.drain()
		// The old one has opened again after that, as the group would have let it only when it owned the partition.
		if !errors.Is(old.err, stream.ErrRejoin) && old.err != nil {
			t.Errorf("ended with %v", old.err)
		}
	})
}
