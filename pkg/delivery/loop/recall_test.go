package loop

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/state"
)

// A result that was published and not committed is applied by the next owner, by its place in the log: its time may lie before
// that of a result which the record contains.
func TestRecall_AppliesWhatTheRecordLacksWhateverTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(d *delivery.Delivery, n int) reply {
			switch {
			case d.Event.ID == "fails":
				return reply{status: 500, takes: time.Millisecond}
			case d.Event.ID == "holds" && n == 1:
				return reply{status: 429, takes: time.Millisecond, retryAfter: 30 * time.Minute}
			}
			return reply{status: 200, takes: time.Millisecond}
		})
		clock := &settable{}
		r := sim.start(clock.in)
		sim.plan(newDelivery("e1", "a", "fails"))
		time.Sleep(2 * time.Second)
		clock.set(-time.Minute)
		time.Sleep(2 * time.Second)
		published := len(sim.attempts())
		sim.onCommit(func(state.Watermark) bool { return len(sim.attempts()) > published }, nil)
		sim.plan(newDelivery("e1", "b", "holds"))
		<-r.over
		sim.onCommit(nil, nil)
		r = sim.start(clock.in)
		at := time.Now()
		sim.pass(20 * time.Minute)
		if all := sim.requests("e1", at); len(all) != 0 {
			t.Errorf("%d requests while it is held, the first after %s", len(all), all[0].at.Sub(at))
		}
		r.drain()
	})
}

// Results that a record contains are not applied again where they are published after it: each failure counts once.
func TestRecall_CountsEachResultOnce(t *testing.T) {
	for _, killed := range []string{"before the second commit", "after it"} {
		synctest.Test(t, func(t *testing.T) {
			const n = 700
			sim := newSimulation(t, 1, "e1")
			sim.configure(2, 2*n, "e1")
			var fails bool
			sim.replies(func(*delivery.Delivery, int) reply {
				if fails {
					return reply{status: 404, takes: time.Second}
				}
				return reply{status: 200, takes: time.Millisecond}
			})
			r := sim.start()
			plan := func(kind string, n int) {
				for i := range n {
					sim.plan(newDelivery("e1", fmt.Sprint(i), kind+fmt.Sprint(i)))
				}
			}
			plan("good", 4000) // as many slots as there may be
			time.Sleep(30 * time.Second)
			before := len(sim.attempts())
			sim.mu.Lock()
			fails = true
			sim.mu.Unlock()
			sim.broker.setFull(true)
			plan("first", 1) // its commit waits until all others are answered
			time.Sleep(2 * time.Second)
			plan("bad", n-1)
			time.Sleep(2 * time.Second)
			over := func(to state.Watermark) bool { return len(sim.attempts()) > before+600 }
			if killed == "after it" {
				sim.onCommit(nil, over)
			} else {
				sim.onCommit(over, nil)
			}
			sim.broker.setFull(false) // commits of 1, 500 and the rest
			<-r.over
			sim.onCommit(nil, nil)
			sim.mu.Lock()
			fails = false
			sim.mu.Unlock()
			failed := len(sim.attempts()) - before
			r = sim.start()
			time.Sleep(1100 * time.Millisecond)
			r.kill()
			_, values, err := sim.store.Peek(t.Context(), simulated, []string{recordKey(0)})
			if err != nil {
				t.Fatal(err)
			}
			if e, err := health.Decode(values[0], 0); err != nil {
				t.Fatal(err)
			} else if e.Failures < int64(failed) || e.Failures > n {
				t.Errorf("killed %s: %d failures are known of %d, %d of which were published", killed, e.Failures, n, failed)
			}
		})
	}
}
