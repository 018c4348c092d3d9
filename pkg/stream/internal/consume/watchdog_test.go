package consume

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
)

// testConsumer has no brokers, and is asked for none.
func testConsumer(t *testing.T) *Consumer {
	t.Helper()
	k, err := cluster.Open(cluster.Config{Prefix: "p"}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(k, Bounds{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// watched runs the watchdog over one claim, in a bubble's time, until work
// returns; it returns the watchdog's error.
func watched(t *testing.T, work func(cl *Claim)) error {
	t.Helper()
	c := testConsumer(t)
	g := &group{c: c, cfg: GroupConfig{Name: "g", Watchdog: time.Minute, Drain: time.Second}, started: time.Now()}
	drain, stop := context.WithCancel(t.Context())
	defer stop()
	cl := newClaim(g, "p.t", 0, 1, "m", Position{Offset: -1}, drain)
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		work(cl)
	}()
	err := g.watch(drain, func() {}, []*Claim{cl}, idle)
	<-idle
	if stuck := err != nil; stuck != (len(c.Health().Incidents) == 1) {
		t.Errorf("watchdog returned %v, incidents are %v", err, c.Health().Incidents)
	}
	return err
}

func TestWatchdog_ReportsStuckWorkAlone(t *testing.T) {
	for name, row := range map[string]struct {
		work  func(cl *Claim)
		stuck bool
	}{
		"work without a sign for the watchdog's time is stuck": {
			func(*Claim) { time.Sleep(2 * time.Minute) }, true},
		"work that shows signs is not, however long it takes": {
			func(cl *Claim) {
				for range 100 {
					time.Sleep(50 * time.Second)
					cl.Progress()
				}
			}, false},
		"waiting for another service is progress": {
			func(cl *Claim) { cl.Waiting(func() { time.Sleep(time.Hour) }) }, false},
		"after waiting the time starts anew": {
			func(cl *Claim) {
				cl.Waiting(func() { time.Sleep(time.Hour) })
				time.Sleep(50 * time.Second)
			}, false},
		"work stuck after waiting is stuck": {
			func(cl *Claim) {
				cl.Waiting(func() { time.Sleep(time.Hour) })
				time.Sleep(2 * time.Minute)
			}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := watched(t, row.work)
				if errors.Is(err, ErrStuck) != row.stuck {
					t.Errorf("watchdog returned %v, want stuck: %v", err, row.stuck)
				}
			})
		})
	}
}

func TestDrain_EndsTheWorksContextAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &group{cfg: GroupConfig{Watchdog: time.Minute, Drain: 3 * time.Second}, started: time.Now()}
		drain, revoke := context.WithCancel(t.Context())
		finish, endWork := context.WithCancel(t.Context())
		cl := newClaim(g, "p.t", 0, 1, "m", Position{Offset: -1}, drain)
		idle := make(chan struct{})
		var ended time.Duration
		go func() {
			defer close(idle)
			<-cl.Draining()
			began := time.Now()
			<-finish.Done()
			ended = time.Since(began)
		}()
		time.AfterFunc(time.Hour, revoke)
		go cl.Waiting(func() { <-idle })
		if err := g.watch(drain, endWork, []*Claim{cl}, idle); err != nil {
			t.Fatal(err)
		}
		if ended != 3*time.Second {
			t.Errorf("the work's context ended %s after the revoke", ended)
		}
	})
}

// A failing partition is tried again and again, without spinning.
func TestConsume_RetriesFailingWorkWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConsumer(t)
		runs := 0
		g := &group{c: c, cfg: GroupConfig{Name: "g", Watchdog: time.Minute}, started: time.Now(),
			work: func(context.Context, *Claim) error { runs++; return errors.New("redis is away") }}
		drain, revoke := context.WithTimeout(t.Context(), 10*time.Minute)
		defer revoke()
		cl := newClaim(g, "p.t", 0, 1, "m", Position{Offset: -1}, drain)
		if g.repeat(drain, cl) {
			t.Error("it asked to rejoin")
		}
		if runs < 100 || runs > 400 {
			t.Errorf("%d runs in ten minutes", runs)
		}
		if d := cl.sinceSign(); d != 0 && d > time.Second {
			t.Errorf("no sign for %s although it was retried", d)
		}
	})
}
