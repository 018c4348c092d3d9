package loop

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

var part = state.Partition{Domain: "test", Count: 1}

// storedToken is the token in the store.
func (sim *simulation) storedToken() state.Token {
	mark, _, err := sim.store.Peek(sim.t.Context(), part, nil)
	if err != nil {
		sim.t.Fatal(err)
	}
	return mark.Token
}

// fence opens the partition as another process does.
func (sim *simulation) fence() {
	if _, err := sim.store.Open(sim.t.Context(), part, "other"); err != nil {
		sim.t.Fatal(err)
	}
}

// settleWithoutRequest adds a settlement without a request to the log, as an owner does.
func (sim *simulation) settleWithoutRequest(id string, offset int64, by state.Token) {
	value, err := proto.Marshal(&deliveryv1.Attempt{
		Delivery: id, Topic: topicDeliveries, Offset: offset, Settlement: deliveryv1.Settlement_SETTLEMENT_CANCELLED,
		Reason: "endpoint_disabled", Owner: by[:],
	})
	if err != nil {
		sim.t.Fatal(err)
	}
	sim.broker.add(stream.Record{Topic: topicAttempts, Value: value, Time: time.Now()})
}

func TestFence_SettlementWithoutRequestCountsOnlyFromPreviousOwner(t *testing.T) {
	for _, test := range []struct {
		name     string
		by       func(before, last state.Token) state.Token
		lost     bool // the store, before the next opening
		accepted bool
	}{
		{"a settlement by an owner that was fenced is ignored", func(before, _ state.Token) state.Token { return before }, false, true},
		{"a settlement by the last owner, which died before its commit, counts", func(_, last state.Token) state.Token { return last }, false, false},
		{"with the store lost, a settlement by an owner that was fenced is ignored", func(before, _ state.Token) state.Token { return before }, true, true},
		{"with the store lost, a settlement by the last owner counts", func(_, last state.Token) state.Token { return last }, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation(t, 1, "e1")
				sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
					return delivery.Failed, time.Millisecond
				})
				waits := sim.plan(newDelivery("e1", "a", "waits"))
				r := sim.start()
				time.Sleep(2 * time.Second)
				before := sim.storedToken()
				r.kill()
				sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
					return delivery.Failed, time.Millisecond
				})
				r = sim.start()
				time.Sleep(10 * time.Second)
				last := sim.storedToken()
				r.kill()
				sim.settleWithoutRequest(waits.ID, 0, test.by(before, last))
				if test.lost {
					sim.store.Restore(empty())
				}
				sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
					return delivery.Accepted, time.Millisecond
				})
				r = sim.start()
				time.Sleep(10 * time.Minute)
				r.drain()
				got := sim.received()
				if accepted := got[len(got)-1].accepted; accepted != test.accepted {
					t.Errorf("received %+v", got)
				}
			})
		})
	}
}

func TestFence_FencedOwnerSettlesNothingWithoutRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		sim.plan(newDelivery("e1", "a", "waits"))
		r := sim.start()
		time.Sleep(2*time.Second + 100*time.Millisecond)
		old := sim.storedToken()
		sim.fence()
		sim.configure(2, 64)
		time.Sleep(5 * time.Second)
		r.drain()
		found := 0
		for _, a := range sim.attempts() {
			if a.Number == 0 {
				found++
				if bytes.Equal(a.Owner, old[:]) {
					t.Error("settled by an owner that had been fenced")
				}
			}
		}
		if n := len(sim.broker.all(topicDead)); found != 1 || n != 1 {
			t.Errorf("%d settlements, %d dead letters, want one each by the next owner", found, n)
		}
	})
}

func TestFence_PausedOwnerChecksBeforeSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		var current atomic.Bool
		r := sim.start(func(c *Channel) {
			c.Clock = func() time.Time { // the loop reads it each turn
				if current.CompareAndSwap(true, false) {
					time.Sleep(3 * time.Second)
				}
				return time.Now()
			}
		})
		time.Sleep(1500 * time.Millisecond)
		old := sim.storedToken()
		current.Store(true)
		time.Sleep(1500 * time.Millisecond) // the loop is paused by now
		sim.fence()
		r.setStoreAway(true) // no commit detects the fence
		sim.plan(newDelivery("e1", "a", "one"))
		time.Sleep(5 * time.Second)
		r.setStoreAway(false)
		time.Sleep(10 * time.Second)
		r.drain()
		all := sim.attempts()
		if len(all) != 1 || len(sim.received()) != 1 || bytes.Equal(all[0].Owner, old[:]) {
			t.Errorf("%d receipts, attempts %v: want one, by the owner after", len(sim.received()), all)
		}
	})
}

func TestFence_OvertakenOwnerRejoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		old := sim.start()
		synctest.Wait()
		young := sim.start()
		time.Sleep(1100 * time.Millisecond)
		old.drain()
		young.drain()
		// The old owner opens again after that; a group allows this only where it owns the partition.
		if !errors.Is(old.err, stream.ErrRejoin) && old.err != nil {
			t.Errorf("ended with %v", old.err)
		}
	})
}
