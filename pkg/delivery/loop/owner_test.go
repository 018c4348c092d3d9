package loop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

func TestOwner_SendsAtOnceAndRecordsWithin50ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		defer r.drain()
		synctest.Wait()
		began := time.Now()
		d := sim.plan(newDelivery("e1", "s", "one"))
		time.Sleep(time.Millisecond)
		got := sim.received()
		if len(got) != 1 || got[0].id != d.ID {
			t.Fatalf("received %v", got)
		}
		if waited := got[0].at.Sub(began); waited > time.Millisecond/3+time.Microsecond {
			t.Errorf("sent after %s: it waited for a tick", waited)
		}
		time.Sleep(50 * time.Millisecond)
		as := sim.attempts()
		if len(as) != 1 || as[0].Settlement != deliveryv1.Settlement_SETTLEMENT_DELIVERED || as[0].Status != 204 || as[0].Delivery != d.ID {
			t.Errorf("attempts %v", as)
		}
	})
}

func TestOrder_OnlyItsOwnKeyWaitsForAHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(d *delivery.Delivery, n int) (delivery.Result, time.Duration) {
			if d.Event.ID == "a1" && n == 1 {
				return delivery.Failed, time.Millisecond
			}
			return delivery.Accepted, time.Millisecond
		})
		r := sim.start()
		defer r.drain()
		sim.plan(newDelivery("e1", "a", "a1"))
		sim.plan(newDelivery("e1", "a", "a2"))
		time.Sleep(time.Millisecond)
		sim.plan(newDelivery("e1", "b", "b1"))
		sim.plan(newDelivery("e1", "b", "b2"))
		time.Sleep(time.Second)
		if got := bodies(sim, r); got != "a1 b1 b2" {
			t.Fatalf("within a second: %s", got)
		}
		time.Sleep(5 * time.Second)
		if got := bodies(sim, r); got != "a1 b1 b2 a1 a2" {
			t.Errorf("after the first wait: %s", got)
		}
	})
}

// Bodies are the names of the received deliveries, in order.
func bodies(sim *simulation, _ *replica) string {
	names := map[string]string{}
	for _, rec := range sim.broker.all(topicDeliveries) {
		if d, err := delivery.Decode(rec); err == nil {
			names[d.ID] = d.Event.ID
		}
	}
	var out []string
	for _, r := range sim.received() {
		out = append(out, names[r.id])
	}
	return strings.Join(out, " ")
}

func TestOrder_NextIsSentOnceDeadIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
			if d.Event.ID == "a1" {
				return delivery.Refused, time.Millisecond
			}
			return delivery.Accepted, time.Millisecond
		})
		r := sim.start()
		defer r.drain()
		synctest.Wait()
		sim.plan(newDelivery("e1", "a", "a1"))
		sim.plan(newDelivery("e1", "a", "a2"))
		time.Sleep(3 * time.Millisecond)
		sim.broker.setDown(true)
		time.Sleep(10 * time.Second)
		if got := bodies(sim, r); got != "a1" {
			t.Fatalf("while nothing can be recorded: %s", got)
		}
		sim.broker.setDown(false)
		time.Sleep(time.Second)
		if got := bodies(sim, r); got != "a1 a2" {
			t.Errorf("once it can: %s", got)
		}
		if dead := sim.broker.all(topicDead); len(dead) != 1 {
			t.Errorf("%d dead letters", len(dead))
		}
	})
}

func TestOwner_DeadAfterNineAttemptsWithin28Hours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		r := sim.start()
		defer r.drain()
		d := sim.plan(newDelivery("e1", "a", "a1"))
		sim.pass(28 * time.Hour)
		as := sim.attempts()
		if len(as) != 9 {
			t.Fatalf("%d attempts", len(as))
		}
		for i, a := range as[:8] {
			wait := delivery.Standard.Wait(d.ID, i+1)
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

func TestOwner_KeepsConcurrencyOfEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		sim.configure(2, 3, "e1", "e2")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, 20 * time.Millisecond
		})
		r := sim.start()
		for i := range 200 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(100 * time.Millisecond)
		sim.plan(newDelivery("e2", "s", "other"))
		time.Sleep(10 * time.Millisecond)
		if !slices.ContainsFunc(sim.received(), func(r receipt) bool { return r.orderingKey == "e2|events.ordered|s" }) {
			t.Errorf("the other endpoint waited behind the busy one")
		}
		r.drain()
		r = sim.start() // from references: the limit also holds before bodies are read
		time.Sleep(10 * time.Second)
		r.drain()
		if sim.busiest["e1"] != 3 {
			t.Errorf("%d at once", sim.busiest["e1"])
		}
		if n := len(sim.received()); n < 201 {
			t.Errorf("%d of 201 received", n)
		}
	})
}

func TestDrain_WaitsOneSecondAndCountsNoBrokenAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
			if d.Event.ID == "slow" {
				return delivery.Accepted, 10 * time.Second
			}
			return delivery.Accepted, 500 * time.Millisecond
		})
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "slow"))
		sim.plan(newDelivery("e1", "b", "quick"))
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		r.drain()
		if took := time.Since(began); took < time.Second || took > 1100*time.Millisecond {
			t.Errorf("drained in %s", took)
		}
		as := sim.attempts()
		if len(as) != 1 || as[0].Settlement != deliveryv1.Settlement_SETTLEMENT_DELIVERED {
			t.Errorf("attempts %v: the quick one and nothing else counts", as)
		}
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, time.Millisecond
		})
		r = sim.start()
		time.Sleep(time.Second)
		r.drain()
		if as = sim.attempts(); len(as) != 2 || as[1].Number != 1 {
			t.Errorf("the successor's attempts: %v", as)
		}
	})
}

func TestOrder_NotBeforeHoldsItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		defer r.drain()
		d := newDelivery("e1", "a", "a1")
		d.NotBefore = time.Now().Add(time.Hour)
		sim.plan(d)
		sim.plan(newDelivery("e1", "a", "a2"))
		time.Sleep(59 * time.Minute)
		if got := bodies(sim, r); got != "" {
			t.Fatalf("before the hour: %s", got)
		}
		time.Sleep(2 * time.Minute)
		if got := bodies(sim, r); got != "a1 a2" {
			t.Errorf("after it: %s", got)
		}
	})
}

func TestWindow_DropsRepeatsAndKeepsReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		d := newDelivery("e1", "a", "a1")
		sim.plan(d)
		sim.plan(d)
		time.Sleep(time.Second)
		r.drain()
		r = sim.start()
		defer r.drain()
		sim.plan(d)
		again := *d
		again.ReplayJob = "job-1"
		sim.plan(&again)
		sim.plan(&again)
		time.Sleep(time.Second)
		if n := len(sim.received()); n != 2 {
			t.Errorf("received %d times, not once and once for the replay", n)
		}
	})
}

func TestReject_UndecodableRecordGoesToRejectedTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		sim.broker.add(stream.Record{Topic: topicDeliveries, Key: []byte("k"), Value: []byte("\xff\xff nonsense"), Time: time.Now()})
		sim.broker.add(stream.Record{Topic: topicDeliveries, Time: time.Now()})
		sim.plan(newDelivery("e1", "a", "a1"))
		time.Sleep(time.Second)
		r.drain()
		rejected := sim.broker.all(topicRejected)
		if len(rejected) != 2 || string(rejected[0].Value) != "\xff\xff nonsense" {
			t.Fatalf("rejected %v", rejected)
		}
		ids := map[string]bool{}
		for i, r := range rejected {
			j, err := event.ParseRejected(r)
			if err != nil || j.Reason != "DELIVERY_UNREADABLE" || j.Topic != topicDeliveries || j.Offset != int64(i) {
				t.Errorf("rejected %+v, %v", j, err)
			}
			ids[j.ID] = j.ID != ""
		}
		if len(ids) != 2 || ids[""] {
			t.Errorf("the rejections have the ids %v", ids)
		}
		if len(sim.received()) != 1 {
			t.Error("the delivery behind them was not sent")
		}
	})
}

func TestReject_LogIsBoundedWithACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		sim := newSimulation(t, 1, "e1")
		for range n {
			sim.broker.add(stream.Record{Topic: topicDeliveries, Value: []byte("\xff\xff nonsense"), Time: time.Now()})
		}
		core, logs := observer.New(zap.InfoLevel)
		r := sim.start(func(c *Channel) { c.Log = zap.New(core) })
		time.Sleep(time.Minute)
		r.drain()
		lines := logs.FilterMessage("record rejected").All()
		omitted := int64(0)
		for _, line := range logs.FilterMessage("lines omitted").All() {
			omitted += line.ContextMap()["omitted"].(int64)
		}
		second := slices.IndexFunc(lines, func(l observer.LoggedEntry) bool { return l.Time.Sub(lines[0].Time) >= time.Second })
		if first := len(lines[:max(second, 0)]); second >= 0 && first > linesPerSecond || len(lines) >= n/2 || int64(len(lines))+omitted != n {
			t.Errorf("%d rejections, %d lines, %d omitted", n, len(lines), omitted)
		}
		if len(sim.broker.all(topicRejected)) != n {
			t.Errorf("%d of %d are on the rejected topic", len(sim.broker.all(topicRejected)), n)
		}
	})
}

func TestSlots_SendingStopsAt1000UnrecordedResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		synctest.Wait()
		for i := range 5000 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		sim.broker.setDown(false)
		time.Sleep(time.Microsecond) // read, not recorded
		sim.broker.setDown(true)
		time.Sleep(time.Minute)
		n := len(sim.received())
		if n < 900 || n > 1000+64 {
			t.Errorf("%d sent while nothing could be recorded", n)
		}
		if !strings.Contains(sim.healthText(), "can't be recorded") {
			t.Errorf("health reports %s", sim.healthText())
		}
		sim.broker.setDown(false)
		time.Sleep(10 * time.Second)
		if n := len(sim.received()); n != 5000 {
			t.Errorf("%d of 5,000 received in the end", n)
		}
		if sim.healthText() != "<nil>" {
			t.Errorf("health still reports %s", sim.healthText())
		}
		r.drain()
	})
}

func TestOpen_PositionBelowLogIsIncidentUntilAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(d *delivery.Delivery, n int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "a0"))
		time.Sleep(time.Second)
		r.drain()
		for i := range 9 {
			sim.plan(newDelivery("e1", "a", fmt.Sprint("a", i+1)))
		}
		sim.broker.trim(topicDeliveries, 5)
		sim.answers(func(d *delivery.Delivery, n int) (delivery.Result, time.Duration) {
			return delivery.Accepted, time.Millisecond
		})
		r = sim.start()
		time.Sleep(time.Minute)
		if n := len(sim.received()); n != 1 {
			t.Fatalf("%d received over a gap", n)
		}
		if !strings.Contains(sim.healthText(), "4 deliveries left the log unread") || !strings.Contains(sim.healthText(), "1 deliveries have left the log before") {
			t.Errorf("health reports %s", sim.healthText())
		}
		r.drain()
		r = sim.start(func(c *Channel) { c.AcceptLostDeliveries = true })
		time.Sleep(time.Minute)
		r.drain()
		if got := bodies(sim, r); got != "a0 a5 a6 a7 a8 a9" {
			t.Errorf("received %s", got)
		}
		last := sim.attempts()[1]
		if last.Settlement != deliveryv1.Settlement_SETTLEMENT_DEAD || last.Reason != "gone" || last.Offset != 0 {
			t.Errorf("the lost delivery is settled as %v", last)
		}
	})
}

// Lag is what is not recorded yet: it is a partition's whole truth while nothing can be.
func TestLag_FollowsWhatIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		defer r.drain()
		sim.plan(newDelivery("e1", "s", "one"))
		time.Sleep(time.Second)
		if n := r.worked.Load(); n != 1 {
			t.Errorf("worked up to %d of 1 that is recorded", n)
		}
		r.setStoreAway(true)
		sim.plan(newDelivery("e1", "s", "two"))
		time.Sleep(time.Second)
		if got, n := len(sim.received()), r.worked.Load(); got != 2 || n != 1 {
			t.Errorf("%d sent, worked up to %d while the store is away", got, n)
		}
		r.setStoreAway(false)
		time.Sleep(10 * time.Second)
		if n := r.worked.Load(); n != 2 {
			t.Errorf("worked up to %d of 2 that are recorded", n)
		}
	})
}
