package loop

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
)

// throttled is a simulation of Retry-After: 600 deliveries wait on 200 ordering keys of e1, which has all its 64 slots,
// while one special delivery gets its answer at the time answered.
type throttled struct {
	*simulation
	r        *replica
	answered time.Time
}

// throttle lets attempt n of the special delivery be answered as given, and all others with 200 after 100 ms.
func throttle(t *testing.T, n int, answer func(at time.Time) reply) *throttled {
	sim := newSimulation(t, 1, "e1", "e2")
	th := &throttled{simulation: sim}
	sim.replies(func(d *delivery.Delivery, attempt int) reply {
		if d.Event.ID != "special" {
			return reply{status: 200, takes: 100 * time.Millisecond}
		}
		if attempt < n {
			return reply{status: 404, takes: time.Millisecond}
		}
		if attempt > n {
			return reply{status: 200, takes: time.Millisecond}
		}
		th.answered = time.Now().Add(50 * time.Millisecond)
		re := answer(th.answered)
		re.takes = 50 * time.Millisecond
		return re
	})
	th.r = sim.start()
	for i := range 300 { // until all slots are there
		sim.plan(newDelivery("e1", fmt.Sprint("w", i), fmt.Sprint("w", i)))
	}
	time.Sleep(30 * time.Second)
	sim.plan(newDelivery("e1", "special", "special"))
	if n > 1 {
		wait := 0 * time.Second
		for i := range n - 1 {
			wait += delivery.Standard[i]
		}
		time.Sleep(wait - 10*time.Second)
		for th.mu.Lock(); th.answered.IsZero(); th.mu.Lock() {
			th.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
		th.mu.Unlock()
	}
	for i := range 600 {
		sim.plan(newDelivery("e1", fmt.Sprint("s", i%200), fmt.Sprint(i)))
	}
	time.Sleep(200 * time.Millisecond)
	return th
}

// Next are the first request after the answer, and the next of the special delivery, from the answer on.
func (th *throttled) next() (others, special time.Duration) {
	others, special = -1, -1
	for _, b := range th.requests("e1", th.answered) {
		after := b.at.Sub(th.answered)
		switch {
		case b.name == "special" && special < 0:
			special = after
		case b.name != "special" && others < 0:
			others = after
		}
	}
	return others, special
}

// header is the answer of a status with Retry-After, as the channel reads it.
func header(status int, value string, date func(at time.Time) time.Time) func(time.Time) reply {
	return func(at time.Time) reply {
		own := ""
		if date != nil {
			own = date(at).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
		}
		return reply{status: status, retryAfter: webhook.RetryAfter(status, value, own, at)}
	}
}

// Field case 71.
func TestRetryAfter_HoldsTheEndpoint(t *testing.T) {
	const soon = 150 * time.Millisecond
	date := func(ahead, until time.Duration) func(at time.Time) reply {
		return func(at time.Time) reply {
			value := at.Add(ahead + until).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
			return header(503, value, func(at time.Time) time.Time { return at.Add(ahead) })(at)
		}
	}
	second := time.Second
	tests := map[string]struct {
		n      int
		answer func(at time.Time) reply
		// others is when the next request is made; the special one follows between from and to.
		others, from, to time.Duration
	}{
		"a: 429, two minutes":               {1, header(429, "120", nil), 120 * second, 120 * second, 121 * second},
		"b: 503, a date by its own clock":   {1, date(40*time.Minute, 90*second), 90 * second, 90 * second, 91 * second},
		"c: 503, a date of 2015":            {1, header(503, "Wed, 21 Oct 2015 07:28:00 GMT", func(time.Time) time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) }), 0, 4 * second, 5 * second},
		"c: 503, 0":                         {1, header(503, "0", nil), 0, 4 * second, 5 * second},
		"c: 503, -5":                        {1, header(503, "-5", nil), 0, 4 * second, 5 * second},
		"d: 429, a day":                     {1, header(429, "86400", nil), time.Hour, time.Hour, time.Hour + second},
		"e: 429, a word":                    {1, header(429, "soon", nil), 0, 4 * second, 5 * second},
		"e: 429, a fraction":                {1, header(429, "12.5", nil), 0, 4 * second, 5 * second},
		"e: 429, an exponent":               {1, header(429, "1e3", nil), 0, 4 * second, 5 * second},
		"e: 429, nothing":                   {1, header(429, "", nil), 0, 4 * second, 5 * second},
		"e: 429, 30 digits":                 {1, header(429, "123456789012345678901234567890", nil), time.Hour, time.Hour, time.Hour + second},
		"f: 500":                            {1, header(500, "120", nil), 0, 4 * second, 5 * second},
		"f: 200":                            {1, header(200, "120", nil), 0, -1, -1},
		"h: 429, a minute, fourth attempt":  {4, header(429, "60", nil), 60 * second, 24 * time.Minute, 30*time.Minute + second},
		"h: 429, an hour, shorter own wait": {3, header(429, "3600", nil), time.Hour, time.Hour, time.Hour + second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				th := throttle(t, test.n, test.answer)
				th.pass(2 * time.Hour)
				synctest.Wait()
				others, special := th.next()
				if others < test.others || others > test.others+soon {
					t.Errorf("the next request is made after %s, want %s", others, test.others)
				}
				if special < test.from || special > test.to {
					t.Errorf("the same delivery is tried again after %s, want from %s to %s", special, test.from, test.to)
				}
				th.r.drain()
				check(t, th.simulation, nil)
				if n := len(th.received()); n != 900+test.n+1 && n != 900+test.n && special >= 0 {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

func TestRetryAfter_OtherEndpointsAndWhatIsPlannedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := throttle(t, 1, header(429, "120", nil))
		for i := range 100 {
			th.plan(newDelivery("e1", fmt.Sprint("m", i), fmt.Sprint("m", i)))
			th.plan(newDelivery("e2", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(time.Minute)
		if n := len(th.requests("e2", th.answered)); n != 100 {
			t.Errorf("%d of 100 requests to the other endpoint", n)
		}
		if n := len(th.requests("e1", th.answered)); n != 0 {
			t.Errorf("%d requests while it is held", n)
		}
		th.r.kill() // the hold outlives it
		th.r = th.start()
		th.pass(time.Hour)
		if others, _ := th.next(); others < 2*time.Minute || others > 2*time.Minute+time.Second {
			t.Errorf("after a kill the next request is made after %s", others)
		}
		at, once := th.answered.Add(2*time.Minute), 0
		for _, b := range th.requests("e1", th.answered) {
			if b.at.Before(at.Add(90 * time.Millisecond)) {
				once++
			}
		}
		if once > 32 { // halved by the 429; 4 after the kill
			t.Errorf("%d at once where the hold ends", once)
		}
		held := false
		for _, h := range th.reports {
			held = held || h.Name == "e1" && h.HoldUntil.Sub(th.answered).Round(time.Second) == 2*time.Minute
		}
		if !held {
			t.Errorf("the hold is not reported: %+v", th.reports)
		}
		th.r.drain()
		for _, a := range th.attempts() {
			if a.Status == 429 && (a.Fault.String() != "FAULT_THROTTLED" || a.RetryAfter.AsTime().Sub(th.answered) != 2*time.Minute) {
				t.Errorf("attempt %v", a)
			}
		}
		check(t, th.simulation, nil)
	})
}

// Field case 71 g.
func TestRetryAfter_IsNeverShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		var answered time.Time
		sim.replies(func(d *delivery.Delivery, n int) reply {
			switch {
			case n > 1 || d.Event.ID > "3":
				return reply{status: 200, takes: time.Millisecond}
			case d.Event.ID == "0":
				answered = time.Now().Add(10 * time.Millisecond)
				return reply{status: 429, takes: 10 * time.Millisecond, retryAfter: 2 * time.Minute}
			}
			return reply{status: 429, takes: time.Second, retryAfter: 10 * time.Second}
		})
		r := sim.start()
		for i := range 8 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		sim.pass(time.Hour)
		r.drain()
		all := sim.requests("e1", answered)
		if first := all[0].at.Sub(answered); len(all) != 8 || first < 2*time.Minute || first > 2*time.Minute+time.Second {
			t.Errorf("%d requests, the first %s after the answer", len(all), first)
		}
	})
}

// The hold of an answer that comes while the body of a probe is read is newer than the probe.
func TestRetryAfter_HoldsAProbeThatWaitsForItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		var blocked atomic.Bool
		sim.onFetch(func(int64) bool { return blocked.Load() })
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			if d.Event.ID == "slow" {
				return reply{status: 429, takes: 20 * time.Second, retryAfter: time.Hour}
			}
			return reply{status: 404, takes: 5 * time.Millisecond}
		})
		r := sim.start()
		began := time.Now()
		sim.plan(newDelivery("e1", "slow", "slow"))
		for i := range 14 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(500 * time.Millisecond)
		blocked.Store(true)
		time.Sleep(24 * time.Second)
		if !sim.lastReport("e1").CircuitOpen {
			t.Fatal("the circuit is not open")
		}
		blocked.Store(false)
		time.Sleep(10 * time.Minute)
		if all := sim.requests("e1", began.Add(20*time.Second)); len(all) > 0 {
			t.Errorf("held for an hour from 20 s on, and requested %s after the first", all[0].at.Sub(began))
		}
		r.drain()
	})
}
