package delivery

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// An owner that had not read the revision which enabled an endpoint once cancelled what had been planned for it.
func TestAReplicaThatHasNotReadTheNewestKeepsInsteadOfCancelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "other")
		w.setStale(true)
		r := w.start()
		w.plan(order("e1", "a", "one"))
		w.plan(order("e1", "a", "two"))
		time.Sleep(10 * time.Second)
		if n := len(w.attempts()); n != 0 {
			t.Errorf("%d settlements under a revision that may be old", n)
		}
		if !strings.Contains(w.ill(), "not active in revision 1, and whether that is the newest is not known") {
			t.Errorf("health says %s", w.ill())
		}
		w.configure(2, 64, "other", "e1")
		w.setStale(false)
		time.Sleep(time.Second)
		r.drain()
		if got := bodies(w, r); got != "one two" {
			t.Errorf("received %s", got)
		}
	})
}

func TestWhatWasKeptIsCancelledOnceTheRevisionIsKnownToBeTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "other")
		w.setStale(true)
		r := w.start()
		w.plan(order("e1", "a", "one"))
		time.Sleep(10 * time.Second)
		w.setStale(false)
		time.Sleep(time.Second)
		r.drain()
		all := w.attempts()
		if len(all) != 1 || all[0].Settlement != deliveryv1.Settlement_SETTLEMENT_CANCELLED {
			t.Errorf("attempts %v", all)
		}
	})
}
