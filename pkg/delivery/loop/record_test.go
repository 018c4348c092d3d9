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

func TestRecord_RefusedDeadLetterRepeatsNoDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
			if d.Event.ID == "bad" {
				return delivery.Refused, time.Millisecond
			}
			return delivery.Accepted, time.Millisecond
		})
		sim.broker.refuse(topicDead, stream.ErrUnknownTopic)
		r := sim.start()
		sim.plan(newDelivery("e1", "bad", "bad"))
		for i := range 2000 {
			sim.plan(newDelivery("e2", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Minute)
		seen := map[string]int{}
		for _, got := range sim.received() {
			if seen[got.id]++; seen[got.id] == 2 {
				t.Errorf("%s was sent again", got.id)
			}
		}
		if len(seen) > 1000+64 {
			t.Errorf("%d sent while nothing could be recorded", len(seen))
		}
		if healthText := sim.healthText(); !strings.Contains(healthText, "results are not recorded") || !strings.Contains(healthText, stream.ErrUnknownTopic.Error()) {
			t.Errorf("health reports %s", healthText)
		}
		sim.broker.refuse(topicDead, nil)
		time.Sleep(10 * time.Second)
		if healthText := sim.healthText(); healthText != "<nil>" {
			t.Errorf("health still reports %s", healthText)
		}
		r.drain()
		if a, d, got := len(sim.attempts()), len(sim.broker.all(topicDead)), len(sim.received()); a != 2001 || d != 1 || got != 2001 {
			t.Errorf("%d attempts, %d dead letters, %d receipts", a, d, got)
		}
	})
}

func TestRecord_ProducesOnlyMissingRecordsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Refused, time.Millisecond
		})
		sim.broker.refuse(topicRejected, stream.ErrUnknownTopic)
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "a"))
		sim.broker.add(stream.Record{Topic: topicDeliveries, Value: []byte("\xff\xff nonsense"), Time: time.Now()})
		time.Sleep(time.Minute)
		sim.broker.refuse(topicRejected, nil)
		time.Sleep(10 * time.Second)
		r.drain()
		if d, rejected := len(sim.broker.all(topicDead)), len(sim.broker.all(topicRejected)); d != 1 || rejected != 1 {
			t.Errorf("%d dead letters, %d rejected", d, rejected)
		}
	})
}

func TestRecord_FutureTimestampIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.broker.refuse(topicAttempts, stream.ErrTimestampAhead)
		began := time.Now()
		r := sim.start(func(c *Channel) {
			c.Clock = func() time.Time {
				if time.Since(began) > time.Minute { // the clock was corrected
					return time.Now().Add(-time.Second)
				}
				return time.Now().Add(time.Hour)
			}
		})
		sim.plan(newDelivery("deleted", "a", "a")) // settled at the time of this clock, without an attempt
		time.Sleep(30 * time.Second)
		if n := len(sim.attempts()); n != 0 {
			t.Fatalf("%d attempts are in the log", n)
		}
		time.Sleep(time.Minute)
		r.drain()
		if n := len(sim.attempts()); n != 1 {
			t.Errorf("%d attempts are in the log", n)
		}
	})
}

func TestHealth_ReportsUnreachableStoreWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		time.Sleep(10 * time.Second)
		r.setStoreAway(true)
		time.Sleep(4 * time.Second)
		if healthText := sim.healthText(); healthText != "<nil>" {
			t.Errorf("within 5 s health reports %s", healthText)
		}
		time.Sleep(4 * time.Second)
		if healthText := sim.healthText(); !strings.Contains(healthText, "results are not recorded: store is away") {
			t.Errorf("health reports %s", healthText)
		}
		r.setStoreAway(false)
		time.Sleep(4 * time.Second)
		if healthText := sim.healthText(); healthText != "<nil>" {
			t.Errorf("health still reports %s", healthText)
		}
		r.drain()
	})
}
