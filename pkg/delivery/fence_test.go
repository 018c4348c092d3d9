package delivery

import (
	"bytes"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

var part = state.Partition{Domain: "test", Count: 1}

// holder is the token that the store holds.
func (w *world) holder() state.Token {
	mark, _, err := w.store.Peek(w.t.Context(), part, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return mark.Token
}

// fence opens the partition as another process would.
func (w *world) fence() {
	if _, err := w.store.Open(w.t.Context(), part, "other"); err != nil {
		w.t.Fatal(err)
	}
}

// settleUnasked puts a settlement without a request into the log, as an owner does.
func (w *world) settleUnasked(id string, offset int64, by state.Token) {
	value, err := proto.Marshal(&deliveryv1.Attempt{
		Delivery: id, Topic: topicDeliveries, Offset: offset, Settlement: deliveryv1.Settlement_SETTLEMENT_CANCELLED,
		Reason: "endpoint_disabled", Owner: by[:],
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.broker.append(stream.Record{Topic: topicAttempts, Value: value, Time: time.Now()})
}

func TestASettlementWithoutARequestHoldsOnlyByTheOwnerBefore(t *testing.T) {
	for _, test := range []struct {
		name     string
		by       func(before, last state.Token) state.Token
		lost     bool // the store, before the next opening
		accepted bool
	}{
		{"one of an owner fenced before is ignored", func(before, _ state.Token) state.Token { return before }, false, true},
		{"one of the last owner, which died before its commit, holds", func(_, last state.Token) state.Token { return last }, false, false},
		{"with the store lost one of an owner fenced before is ignored", func(before, _ state.Token) state.Token { return before }, true, true},
		{"with the store lost one of the last owner holds", func(_, last state.Token) state.Token { return last }, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, "e1")
				w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
				waits := w.plan(order("e1", "a", "waits"))
				r := w.start()
				time.Sleep(2 * time.Second)
				before := w.holder()
				r.kill()
				w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
				r = w.start()
				time.Sleep(10 * time.Second)
				last := w.holder()
				r.kill()
				w.settleUnasked(waits.ID, 0, test.by(before, last))
				if test.lost {
					w.store.Restore(empty())
				}
				w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond })
				r = w.start()
				time.Sleep(10 * time.Minute)
				r.drain()
				got := w.received()
				if accepted := got[len(got)-1].accepted; accepted != test.accepted {
					t.Errorf("received %+v", got)
				}
			})
		})
	}
}

func TestAFencedOwnerPublishesNoGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
		w.plan(order("e1", "a", "waits"))
		r := w.start()
		time.Sleep(2*time.Second + 100*time.Millisecond)
		old := w.holder()
		w.fence()
		w.configure(2, 64)
		time.Sleep(5 * time.Second)
		r.drain()
		found := 0
		for _, a := range w.attempts() {
			if a.Number == 0 {
				found++
				if bytes.Equal(a.Owner, old[:]) {
					t.Error("settled by an owner that had been fenced")
				}
			}
		}
		if n := len(w.broker.all(topicDead)); found != 1 || n != 1 {
			t.Errorf("%d settlements, %d dead letters, want one each by the next owner", found, n)
		}
	})
}

func TestAnOwnerThatStoodStillAsksBeforeItSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		var still atomic.Bool
		r := w.start(func(c *Channel) {
			c.Clock = func() time.Time { // the loop reads it each turn
				if still.CompareAndSwap(true, false) {
					time.Sleep(3 * time.Second)
				}
				return time.Now()
			}
		})
		time.Sleep(1500 * time.Millisecond)
		old := w.holder()
		still.Store(true)
		time.Sleep(1500 * time.Millisecond) // it stands still by now
		w.fence()
		r.setAway(true) // no commit says so
		w.plan(order("e1", "a", "one"))
		time.Sleep(5 * time.Second)
		r.setAway(false)
		time.Sleep(10 * time.Second)
		r.drain()
		all := w.attempts()
		if len(all) != 1 || len(w.received()) != 1 || bytes.Equal(all[0].Owner, old[:]) {
			t.Errorf("%d receipts, attempts %v: want one, by the owner after", len(w.received()), all)
		}
	})
}
