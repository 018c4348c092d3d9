package loop

import (
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// counted is a target that counts how often it was made ready.
type counted struct {
	target
	n *atomic.Int64
}

func (c *counted) Fingerprint() uint64 {
	c.n.Add(1)
	return c.print
}

// A revision costs a partition what it changed, not what it has.
func TestRevision_MakesReadyWhatItChanged(t *testing.T) {
	for _, named := range []bool{false, true} {
		revisions(t, named)
	}
}

// revisions checks a history of some; named: each names what it changed.
func revisions(t *testing.T, named bool) {
	synctest.Test(t, func(t *testing.T) {
		const n = 300
		sim := newSimulation(t, 1)
		var made atomic.Int64
		follow := func(revision int64, changed ...int) {
			next := &delivery.Targets{Revision: revision, ByName: map[string]delivery.Target{}}
			if named {
				next.Serial, next.Since, next.Changed = revision, sim.targets.Serial, []string{}
			}
			for name, to := range sim.targets.ByName {
				next.ByName[name] = to
			}
			for _, i := range changed {
				name := fmt.Sprint("e", i)
				next.ByName[name] = &counted{target{concurrency: 4, print: uint64(revision)}, &made}
				if named {
					next.Changed = append(next.Changed, name)
				}
			}
			sim.mu.Lock()
			sim.targets = next
			close(sim.changed)
			sim.changed = make(chan struct{})
			sim.mu.Unlock()
			time.Sleep(time.Second)
		}
		var all []int
		for i := range n {
			all = append(all, i)
		}
		follow(1, all...)
		r := sim.start()
		for i := range n {
			sim.plan(newDelivery(fmt.Sprint("e", i), "s", fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		made.Store(0)
		follow(2, 7)
		follow(3)
		follow(4, 8, 9)
		if got := made.Load(); got != 3 {
			t.Errorf("three changes in three revisions made %d of %d endpoints ready", got, n)
		}
		sim.mu.Lock()
		next := &delivery.Targets{Revision: 5, ByName: map[string]delivery.Target{}} // none is active
		if named {
			next.Serial, next.Since, next.Changed = 5, 4, []string{"e7", "e8"}
			next.ByName = maps.Clone(sim.targets.ByName)
			delete(next.ByName, "e7")
			delete(next.ByName, "e8")
		}
		sim.targets = next
		close(sim.changed)
		sim.changed = make(chan struct{})
		sim.mu.Unlock()
		for i := range n {
			sim.plan(newDelivery(fmt.Sprint("e", i), "s", fmt.Sprint("again", i)))
		}
		time.Sleep(time.Second)
		cancelled := 0
		for _, a := range sim.attempts() {
			if a.Settlement == deliveryv1.Settlement_SETTLEMENT_CANCELLED {
				cancelled++
			}
		}
		if want := map[bool]int{false: n, true: 2}[named]; cancelled != want {
			t.Errorf("%d cancelled of %d whose endpoints are not active", cancelled, want)
		}
		r.drain()
	})
}

// BenchmarkRevision is what a new revision costs a partition that has 100,000 endpoints, one of which changed.
func BenchmarkRevision(b *testing.B) {
	const n = 100_000
	sim := newSimulation(b, 1)
	o := &owner{Channel: &Channel{Directory: sim}}
	o.beginQueue()
	targets := &delivery.Targets{Revision: 1, ByName: make(map[string]delivery.Target, n)}
	var made atomic.Int64
	for i := range n {
		name := fmt.Sprint("tenants/acme/endpoints/e", i)
		targets.ByName[name] = &counted{target{concurrency: 4, print: 1}, &made}
		o.queue.Identify(o.queue.Endpoint(queue.EndpointHash(name)), name, "acme")
	}
	sim.targets = targets
	o.follow()
	b.ResetTimer()
	for i := range b.N {
		next := &delivery.Targets{Revision: targets.Revision + 1, ByName: targets.ByName, Serial: targets.Serial + 1, Since: targets.Serial, Changed: []string{"tenants/acme/endpoints/e7"}}
		next.ByName["tenants/acme/endpoints/e7"] = &counted{target{concurrency: 4, print: uint64(i)}, &made}
		targets, sim.targets = next, next
		o.follow()
	}
}
