package loop

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
)

// traffic is what endpoints of one kind get: each a burst every so often, one endpoint after the other or all at once.
type traffic struct {
	endpoints []string
	first     time.Duration
	every     time.Duration // 0 is once
	together  bool
	burst     int
	subjects  int
	answer    func(c *call) reply
}

// call is a request that a receiver answers, under the simulation's lock.
type call struct {
	*delivery.Delivery
	endpoint int           // its number among those of its kind
	n        int           // of the attempt
	at       time.Duration // since the beginning
	inFlight int           // others to the endpoint
	rand     *rand.Rand
}

// between draws a time.
func (c *call) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.rand.Int64N(int64(most-least)))
}

// burst is what is planned at once.
type burst struct {
	at       time.Duration
	endpoint string
	n        int
	subjects int
}

func (k *traffic) bursts(length time.Duration) (all []burst) {
	for from := k.first; from < length; from += k.every {
		for i, name := range k.endpoints {
			b := burst{from, name, k.burst, k.subjects}
			if !k.together {
				b.at += k.every * time.Duration(i) / time.Duration(len(k.endpoints))
			}
			if b.at < length {
				all = append(all, b)
			}
		}
		if k.every == 0 {
			break
		}
	}
	return all
}

// isolation compares how long the deliveries of healthy endpoints wait for their first request beside others and alone.
type isolation struct {
	slots int
	// What is planned between from and length is measured.
	from, length time.Duration
	healthy      traffic
	others       []traffic
	// most is what the healthy ones wait at most, alone too; 0 is any time.
	most time.Duration
}

func (c *isolation) check(t *testing.T) {
	t.Helper()
	alone, beside := c.run(t, nil), c.run(t, c.others)
	t.Logf("p99 of %d alone %s, beside the others %s; at most %s and %s", len(alone), p99(alone), p99(beside), alone[len(alone)-1], beside[len(beside)-1])
	if len(alone) < 300 || len(beside) != len(alone) {
		t.Fatalf("%d deliveries alone, %d beside others", len(alone), len(beside))
	}
	if p99(beside) > p99(alone)*3/2 {
		t.Errorf("p99 %s beside the others, %s alone", p99(beside), p99(alone))
	}
	if c.most > 0 && p99(beside) > c.most {
		t.Errorf("p99 %s beside the others, at most %s", p99(beside), c.most)
	}
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

// run returns how long the healthy ones waited, sorted.
func (c *isolation) run(t *testing.T, others []traffic) (waits []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		type of struct {
			kind *traffic
			i    int
		}
		kinds, names := map[string]of{}, []string{}
		var plan []burst
		all := append([]traffic{c.healthy}, others...)
		for k := range all {
			for i, name := range all[k].endpoints {
				kinds[name] = of{&all[k], i}
				names = append(names, name)
			}
			plan = append(plan, all[k].bursts(c.length)...)
		}
		slices.SortStableFunc(plan, func(a, b burst) int { return cmp.Compare(a.at, b.at) })
		sim := newSimulation(t, 1, names...)
		began := time.Now()
		sim.replies(func(d *delivery.Delivery, n int) reply {
			k := kinds[d.Endpoint]
			// Of the request alone: the healthy ones get the same answers beside the others, whatever is sent first.
			own := rand.New(rand.NewPCG(xxhash.Sum64String(d.Event.ID), uint64(n)))
			return k.kind.answer(&call{d, k.i, n, time.Since(began), sim.inFlight[d.Endpoint], own})
		})
		if c.length >= 12*time.Hour {
			sim.idle.Store(int64(rarely))
		}
		r := sim.start(func(ch *Channel) { ch.Slots, ch.SnapshotEvery = slots.New(c.slots, 1000), 0 })
		measured, numbers := map[string]time.Time{}, map[string]int{}
		for _, b := range plan {
			time.Sleep(time.Until(began.Add(b.at)))
			for range b.n {
				numbers[b.endpoint]++
				name := fmt.Sprintf("%s/%d", b.endpoint, numbers[b.endpoint])
				d := newDelivery(b.endpoint, fmt.Sprint(xxhash.Sum64String(name)%uint64(b.subjects)), name)
				d.Tenant = strings.Split(b.endpoint, "/")[1]
				if kinds[b.endpoint].kind == &all[0] && b.at >= c.from {
					measured[d.Event.ID] = time.Now()
				}
				sim.plan(d)
			}
		}
		time.Sleep(time.Until(began.Add(c.length + time.Minute)))
		r.kill()
		for _, b := range sim.requests("", time.Time{}) {
			if at, ok := measured[b.name]; ok && b.n == 1 {
				waits = append(waits, b.at.Sub(at))
			}
		}
	})
	slices.Sort(waits)
	return waits
}

// endpointsOf are n endpoints of a tenant.
func endpointsOf(tenant, kind string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("tenants/%s/%s%d", tenant, kind, i))
	}
	return all
}

// in answers with a status after a time.
func (c *call) in(status int, least, most time.Duration) reply {
	return reply{status: status, takes: c.between(least, most)}
}

func healthily(c *call) reply { return c.in(200, 5*time.Millisecond, 45*time.Millisecond) }

func silently(*call) reply { return reply{takes: 15 * time.Second} }

// steady are healthy endpoints of a tenant, one of which gets ten deliveries every so often.
func steady(tenant string, n int, every time.Duration) traffic {
	return traffic{endpoints: endpointsOf(tenant, "healthy", n), every: every * time.Duration(n), burst: 10, subjects: 5, answer: healthily}
}

// An endpoint of which nothing is known yet gets four slots: one that never answers takes no more of a process that just
// opened its partitions.
func TestIsolation_ThirtyThatNeverAnsweredBeginWithFourSlots(t *testing.T) {
	(&isolation{
		slots: 128, length: 15 * time.Second, healthy: steady("t", 70, 200*time.Millisecond),
		others: []traffic{{endpoints: endpointsOf("t", "silent", 30), together: true, burst: 60, subjects: 60, answer: silently}},
	}).check(t)
}

// An endpoint that just timed out gets one slot, however many it had: the first delivery of a crowd finds out that it is
// silent.
func TestIsolation_ThirtyThatJustTimedOutGetOneSlot(t *testing.T) {
	fall := 2 * time.Minute
	answer := func(c *call) reply {
		if c.at < fall {
			return healthily(c)
		}
		return silently(c)
	}
	some := func(first time.Duration, burst int) traffic {
		return traffic{endpoints: endpointsOf("t", "falls", 30), first: first, together: true, burst: burst, subjects: 60, answer: answer}
	}
	(&isolation{
		slots: 128, from: fall, length: fall + 40*time.Second, healthy: steady("t", 70, 400*time.Millisecond),
		others: []traffic{some(0, 200), some(fall, 1), some(fall+20*time.Second, 60)},
	}).check(t)
}

// An endpoint that is silent for long is only probed: thirty of them take no slot each of a process that has no more.
func TestIsolation_ThirtySilentForAnHourAreProbed(t *testing.T) {
	(&isolation{
		slots: 30, from: 40 * time.Minute, length: time.Hour, healthy: steady("t", 70, 10*time.Second),
		others: []traffic{{endpoints: endpointsOf("t", "silent", 30), together: true, burst: 300, subjects: 300, answer: silently}},
	}).check(t)
}

// An endpoint whose circuit closes begins with one slot, however many it had: it may be able to do no more.
func TestIsolation_ThirtyThatComeBackGetOneSlot(t *testing.T) {
	away, back := time.Minute, 3*time.Minute
	answer := func(c *call) reply {
		switch {
		case c.at < away:
			return healthily(c)
		case c.at < back:
			return reply{status: 404, takes: time.Millisecond}
		case c.inFlight == 0:
			return c.in(200, time.Second, 2*time.Second)
		}
		return silently(c)
	}
	some := func(first time.Duration, burst int) traffic {
		return traffic{endpoints: endpointsOf("t", "returns", 30), first: first, together: true, burst: burst, subjects: 100, answer: answer}
	}
	(&isolation{
		slots: 128, from: back, length: back + 40*time.Second, healthy: steady("t", 70, 400*time.Millisecond),
		others: []traffic{some(0, 200), some(away, 100)},
	}).check(t)
}

// An endpoint that is overloaded every third time is sent to by fewer, though it is never ten failures from a success.
func TestIsolation_ThirtyOverloadedGetHalf(t *testing.T) {
	(&isolation{
		slots: 128, from: 20 * time.Second, length: 80 * time.Second, healthy: steady("t", 70, 500*time.Millisecond),
		others: []traffic{{
			endpoints: endpointsOf("t", "overloaded", 30), together: true, burst: 200, subjects: 200,
			answer: func(c *call) reply {
				if c.rand.IntN(3) == 0 {
					return c.in(503, 4*time.Second, 6*time.Second)
				}
				return c.in(200, 4*time.Second, 6*time.Second)
			},
		}},
	}).check(t)
}

// One endpoint takes no more than a sixteenth of the slots of its process while others wait: four that accept whatever they
// get, each after ten seconds, leave some.
func TestIsolation_FourThatAreSlowLeaveSlots(t *testing.T) {
	(&isolation{
		slots: 128, from: time.Minute, length: 2 * time.Minute, healthy: steady("t", 70, time.Second),
		others: []traffic{{
			endpoints: endpointsOf("t", "slow", 4), together: true, burst: 1500, subjects: 1500,
			answer: func(c *call) reply { return c.in(200, 9*time.Second, 11*time.Second) },
		}},
	}).check(t)
}

// Where all slots are taken, the tenants take turns: one with many endpoints that take all they get has half the turns of
// another's.
func TestIsolation_ATenantWithManyEndpointsTakesItsTurns(t *testing.T) {
	c := isolation{
		slots: 64, from: 5 * time.Second, length: 25 * time.Second, healthy: steady("small", 5, 400*time.Millisecond),
		others: []traffic{{
			endpoints: endpointsOf("big", "hungry", 25), together: true, burst: 140, subjects: 140,
			answer: func(c *call) reply { return c.in(200, 300*time.Millisecond, 700*time.Millisecond) },
		}},
	}
	c.healthy.burst, c.healthy.subjects = 10, 1
	c.healthy.answer = func(c *call) reply { return c.in(200, 50*time.Millisecond, 150*time.Millisecond) }
	c.check(t)
}

// Then the endpoints of the tenant take turns.
func TestIsolation_EndpointsOfOneTenantTakeTurns(t *testing.T) {
	c := isolation{
		slots: 32, from: 2 * time.Second, length: 17 * time.Second, healthy: steady("t", 5, 450*time.Millisecond),
		others: []traffic{{
			endpoints: endpointsOf("t", "hungry", 20), together: true, burst: 600, subjects: 600,
			answer: func(c *call) reply { return c.in(200, 30*time.Millisecond, 50*time.Millisecond) },
		}},
	}
	c.healthy.burst, c.healthy.subjects = 10, 1
	c.healthy.answer = func(c *call) reply { return c.in(200, 100*time.Millisecond, 300*time.Millisecond) }
	c.check(t)
}

// An endpoint that answers gets more and more slots: one that needs twelve at once keeps up beside silent ones.
func TestIsolation_ABusyEndpointGetsMoreSlots(t *testing.T) {
	(&isolation{
		slots: 256, from: 2 * time.Second, length: 12 * time.Second, most: 200 * time.Millisecond,
		healthy: traffic{
			endpoints: endpointsOf("t", "busy", 1), every: 100 * time.Millisecond, burst: 12, subjects: 100,
			answer: func(c *call) reply { return c.in(200, 80*time.Millisecond, 120*time.Millisecond) },
		},
		others: []traffic{{endpoints: endpointsOf("t", "silent", 30), together: true, burst: 60, subjects: 60, answer: silently}},
	}).check(t)
}

// misbehaviours are thirty ways, each another.
var misbehaviours = [...]func(c *call) reply{
	silently,
	func(c *call) reply { return reply{status: 200, takes: 14 * time.Second} }, // just in time
	func(c *call) reply { return c.in(200, 0, 15*time.Second) },                // drips
	func(c *call) reply { return c.in(500, 5*time.Millisecond, 45*time.Millisecond) },
	func(c *call) reply { return reply{status: 500, takes: 10 * time.Second} },
	func(c *call) reply { return c.sometimes(2, reply{status: 502, takes: 20 * time.Millisecond}) },
	func(c *call) reply { return reply{status: 503, takes: time.Millisecond, retryAfter: time.Second} },
	func(c *call) reply { return reply{status: 503, takes: time.Millisecond, retryAfter: 24 * time.Hour} },
	func(c *call) reply {
		return c.sometimes(2, reply{status: 429, takes: time.Millisecond, retryAfter: c.between(0, time.Hour)})
	},
	func(c *call) reply { return reply{status: 429, takes: time.Millisecond} },
	func(c *call) reply { return c.unless(c.inFlight < 2, reply{status: 429, takes: 10 * time.Millisecond}) },
	func(c *call) reply { return c.sometimes(3, reply{status: 503, takes: 5 * time.Second}) },
	func(c *call) reply { return reply{status: 410, takes: time.Millisecond} },
	func(c *call) reply { return reply{status: 404, takes: 5 * time.Second} },
	func(c *call) reply { return reply{status: 422, takes: time.Millisecond} },
	func(c *call) reply {
		return c.unless(c.every(12*time.Hour), reply{status: 401, takes: time.Millisecond})
	},
	func(c *call) reply { return reply{status: 302, takes: time.Millisecond} },
	func(c *call) reply { return reply{broke: true} },                          // refuses connections
	func(c *call) reply { return reply{broke: true, takes: 10 * time.Second} }, // is not found
	func(c *call) reply { return reply{broke: true, takes: 3 * time.Second} },  // resets
	func(c *call) reply { return c.sometimes(2, reply{broke: true, takes: time.Millisecond}) },
	func(c *call) reply { return c.unless(c.every(time.Hour), silently(c)) }, // flaps
	func(c *call) reply { return c.unless(c.every(10*time.Minute), reply{status: 500, takes: time.Second}) },
	func(c *call) reply { return c.unless(c.every(time.Minute), silently(c)) },
	func(c *call) reply {
		return c.unless(c.Event.Subject != "0", reply{status: 400, takes: time.Millisecond}) // a poison body
	},
	func(c *call) reply { return c.unless(c.Event.Subject != "0", silently(c)) },
	func(c *call) reply { return c.sometimes(10, silently(c)) },
	func(c *call) reply { return c.unless(c.n >= 4, reply{status: 404, takes: 20 * time.Millisecond}) },
	func(c *call) reply { return c.unless(c.at%time.Hour < 3*time.Second, silently(c)) }, // tires
	func(c *call) reply { // is slower from hour to hour
		return reply{status: 200, takes: time.Duration(c.at.Hours()) * 500 * time.Millisecond}
	},
}

// unless answers otherwise where it does not go well.
func (c *call) unless(well bool, otherwise reply) reply {
	if well {
		return healthily(c)
	}
	return otherwise
}

// sometimes answers otherwise one time in n.
func (c *call) sometimes(n int, otherwise reply) reply {
	return c.unless(c.rand.IntN(n) > 0, otherwise)
}

// every is true for a time, then false for as long.
func (c *call) every(d time.Duration) bool { return c.at/d%2 == 0 }

// A day of a process with few slots, beside thirty endpoints that misbehave; six hours of it in short runs.
func TestIsolation_HealthyEndpointsWaitNoLongerBesideThirtyThatMisbehave(t *testing.T) {
	length := 24 * time.Hour
	if testing.Short() {
		length = 6 * time.Hour
	}
	(&isolation{
		slots: 64, length: length, healthy: steady("t", 70, time.Minute),
		others: []traffic{{
			endpoints: endpointsOf("t", "misbehaves", len(misbehaviours)), every: 2 * time.Hour, together: true, burst: 60, subjects: 20,
			answer: func(c *call) reply { return misbehaviours[c.endpoint](c) },
		}},
	}).check(t)
}
