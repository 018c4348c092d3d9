package delivery

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

func TestARefusedDeadLetterFloodsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1", "e2")
		w.answers(func(d *Delivery, _ int) (Result, time.Duration) {
			if d.Event.ID == "bad" {
				return Refused, time.Millisecond
			}
			return Accepted, time.Millisecond
		})
		w.broker.refuse(topicDead, stream.ErrUnknownTopic)
		r := w.start()
		w.plan(order("e1", "bad", "bad"))
		for i := range 2000 {
			w.plan(order("e2", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Minute)
		seen := map[string]int{}
		for _, got := range w.received() {
			if seen[got.id]++; seen[got.id] == 2 {
				t.Errorf("%s was sent again", got.id)
			}
		}
		if len(seen) > 1000+64 {
			t.Errorf("%d sent while nothing could be recorded", len(seen))
		}
		if ill := w.ill(); !strings.Contains(ill, "results are not recorded") || !strings.Contains(ill, stream.ErrUnknownTopic.Error()) {
			t.Errorf("health says %s", ill)
		}
		w.broker.refuse(topicDead, nil)
		time.Sleep(10 * time.Second)
		if ill := w.ill(); ill != "<nil>" {
			t.Errorf("health still says %s", ill)
		}
		r.drain()
		if a, d, got := len(w.attempts()), len(w.broker.all(topicDead)), len(w.received()); a != 2001 || d != 1 || got != 2001 {
			t.Errorf("%d attempts, %d dead letters, %d receipts", a, d, got)
		}
	})
}

func TestOnlyWhatWasNotPlacedIsAppendedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Refused, time.Millisecond })
		w.broker.refuse(topicRejected, stream.ErrUnknownTopic)
		r := w.start()
		w.plan(order("e1", "a", "a"))
		w.broker.append(stream.Record{Topic: topicDeliveries, Value: []byte("\xff\xff nonsense"), Time: time.Now()})
		time.Sleep(time.Minute)
		w.broker.refuse(topicRejected, nil)
		time.Sleep(10 * time.Second)
		r.drain()
		if d, rejected := len(w.broker.all(topicDead)), len(w.broker.all(topicRejected)); d != 1 || rejected != 1 {
			t.Errorf("%d dead letters, %d rejected", d, rejected)
		}
	})
}

func TestARecordStampedAheadIsStampedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.broker.refuse(topicAttempts, stream.ErrTimestampAhead)
		began := time.Now()
		r := w.start(func(c *Channel) {
			c.Clock = func() time.Time {
				if time.Since(began) > time.Minute { // the clock was set right
					return time.Now().Add(-time.Second)
				}
				return time.Now().Add(time.Hour)
			}
		})
		w.plan(order("deleted", "a", "a")) // settled by our clock, without an attempt
		time.Sleep(30 * time.Second)
		if n := len(w.attempts()); n != 0 {
			t.Fatalf("%d attempts stand in the log", n)
		}
		time.Sleep(time.Minute)
		r.drain()
		if n := len(w.attempts()); n != 1 {
			t.Errorf("%d attempts stand in the log", n)
		}
	})
}

func TestAStoreThatIsAwayIsSaidThoughNothingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		time.Sleep(10 * time.Second)
		r.setAway(true)
		time.Sleep(4 * time.Second)
		if ill := w.ill(); ill != "<nil>" {
			t.Errorf("within 5 s health says %s", ill)
		}
		time.Sleep(4 * time.Second)
		if ill := w.ill(); !strings.Contains(ill, "results are not recorded: store is away") {
			t.Errorf("health says %s", ill)
		}
		r.setAway(false)
		time.Sleep(4 * time.Second)
		if ill := w.ill(); ill != "<nil>" {
			t.Errorf("health still says %s", ill)
		}
		r.drain()
	})
}
