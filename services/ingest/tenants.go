package ingest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/event/schema"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

const (
	// tenantsEvery is how often configuration is asked for changes while no event waits for one: by then a deleted tenant is
	// refused, and an event type is as it was changed.
	tenantsEvery = time.Second
	// tenantsRetry is how often they are read while configuration does not answer.
	tenantsRetry = time.Second
	// tenantsPause is between two readings at least, however many events name tenants that are not known.
	tenantsPause = 100 * time.Millisecond
	// tenantsPatience bounds a reading, and so what an event waits while configuration is away.
	tenantsPatience = time.Second
)

// readingPatience is tenantsPatience; tests on servers have more, so that a busy machine is not taken for one without configuration.
var readingPatience = tenantsPatience

// tenants know what configuration has of tenants, and parse events by it. What they refuse has to be known: by a reading of
// configuration that began after the event came, so that a tenant or a type made a moment ago is in it. While configuration
// does not answer, events of any tenant are accepted, since the counters know what a tenant is to them; an event of a type that
// is not known has no queue, and is turned away as TYPE_UNVERIFIED.
type tenants struct {
	// list may bring what replicas have kept together with an error: configuration itself did not answer then.
	list func(ctx context.Context, before *directory) (*directory, error)
	log  *zap.Logger
	// known is the last reading, nil before the first.
	known  atomic.Pointer[directory]
	wanted chan struct{}

	mu sync.Mutex
	// answers is false while configuration did not answer the last reading.
	answers bool
	// next is the reading that begins next, where an event waits for it.
	next *reading
	read time.Time
}

// reading is one of all tenants; complete is valid once done is closed.
type reading struct {
	done     chan struct{}
	complete bool
}

func newTenants(list func(ctx context.Context, before *directory) (*directory, error), log *zap.Logger) *tenants {
	return &tenants{list: list, log: log, wanted: make(chan struct{}, 1), answers: true}
}

// run reads until ctx ends: at times, and when an event waits.
func (t *tenants) run(ctx context.Context) error {
	defer t.ended()
	for ctx.Err() == nil {
		wait := tenantsEvery
		if !t.once(ctx) {
			wait = tenantsRetry
		}
		if !sleep(ctx, tenantsPause, nil) || !sleep(ctx, wait-tenantsPause, t.wanted) {
			return nil
		}
	}
	return nil
}

// ended releases all that wait, now and later: calls are answered after ctx has ended.
func (t *tenants) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answers = false; t.next != nil {
		close(t.next.done)
		t.next = nil
	}
}

// sleep is false when ctx ended; a signal ends it early.
func sleep(ctx context.Context, d time.Duration, signal <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-signal:
	case <-ctx.Done():
		return false
	}
	return true
}

// once is one reading, for all events that wait for the next; false where configuration did not answer.
func (t *tenants) once(ctx context.Context) bool {
	t.mu.Lock()
	mine := t.next
	t.next = nil
	t.mu.Unlock()
	before := t.known.Load()
	all, err := t.list(ctx, before)

	t.mu.Lock()
	defer t.mu.Unlock()
	first := before == nil
	if all != nil {
		t.known.Store(all)
	}
	switch {
	case err == nil:
		if first || !t.answers {
			t.log.Info("tenants read", zap.Int("tenants", len(all.tenants)))
		}
		t.read = time.Now()
	case first || t.answers:
		t.log.Warn("tenants not read, events of any tenant are accepted", zap.Error(err))
	}
	t.answers = err == nil
	waiting := []*reading{mine}
	if err != nil { // events that began to wait meanwhile do not wait for another failure
		waiting, t.next = append(waiting, t.next), nil
	}
	for _, r := range waiting {
		if r != nil {
			r.complete = err == nil
			close(r.done)
		}
	}
	return err == nil
}

// inputs are what one call or batch brings: each is parsed once, and again where configuration is read anew for it.
type inputs struct {
	n     int
	parse func(i int, p event.Parser) (*event.Event, error)
}

// Declared implements queue.Catalog.
func (t *tenants) Declared(tenant, name string) *event.Type {
	return t.known.Load().Declared(tenant, name)
}

// Types implements queue.Catalog.
func (t *tenants) Types(tenant string) (all []*event.Type) {
	d := t.known.Load()
	if !d.has(tenant) {
		return nil
	}
	for _, one := range d.tenants[tenant].types {
		all = append(all, one.made)
	}
	return all
}

// Refresh implements queue.Catalog.
func (t *tenants) Refresh(ctx context.Context) bool { return t.readAnew(ctx) }

// exists reports whether there is a tenant; true also where that can't be known now.
func (t *tenants) exists(ctx context.Context, tenant string) bool {
	return t.known.Load().has(tenant) || !t.readAnew(ctx) || t.known.Load().has(tenant)
}

// parse reads and validates inputs, in their order.
func (t *tenants) parse(ctx context.Context, in inputs) []event.Parsed {
	known := t.known.Load()
	parsed := make([]event.Parsed, in.n)
	unsure := false
	for i := range parsed {
		parsed[i].Event, parsed[i].Err = in.parse(i, event.Parser{Tenants: known})
		unsure = unsure || !t.sure(known, parsed[i])
	}
	if !unsure {
		return parsed
	}
	verified := t.readAnew(ctx)
	newest := t.known.Load()
	for i := range parsed {
		if t.sure(known, parsed[i]) {
			continue
		}
		if newest != known {
			parsed[i].Event, parsed[i].Err = in.parse(i, event.Parser{Tenants: newest})
		}
		switch e := parsed[i].Event; {
		case verified && parsed[i].Err == nil && !newest.has(e.Tenant):
			parsed[i].Err = fault.NewInvalid(reason.UnknownTenant,
				fault.Violation{Field: "tenant", Description: fmt.Sprintf("%q does not exist", e.Tenant)})
		case !verified && parsed[i].Err != nil && mayBeDeclared(e.Type) && newest.Declared(e.Tenant, e.Type) == nil:
			parsed[i].Err = fault.New(fault.Unavailable, reason.TypeUnverified,
				"whether the tenant declares %.200q is not known, since configuration does not answer; the event was not accepted", e.Type).After(time.Second)
		}
	}
	return parsed
}

// sure reports that a newer reading of configuration would change nothing about an event: it is valid and of a known tenant,
// or it has a fault that does not depend on what its tenant declares.
func (t *tenants) sure(known *directory, p event.Parsed) bool {
	switch {
	case p.Err == nil:
		return known.has(p.Event.Tenant)
	case p.Event == nil:
		return true
	case fault.ReasonOf(p.Err) == reason.UnknownField:
		return false
	case fault.KindOf(p.Err) == fault.Denied:
		return true
	}
	return !mayBeDeclared(p.Event.Type)
}

// mayBeDeclared reports whether a type can be one that a tenant declares.
func mayBeDeclared(name string) bool {
	_, builtIn := event.Lookup(name)
	return !builtIn && schema.IsType(name) && !event.IsEntityTaken(event.EntityOf(name))
}

// readAnew returns once a reading is complete that began after the call; false where there is none to be had now.
func (t *tenants) readAnew(ctx context.Context) bool {
	t.mu.Lock()
	if !t.answers {
		t.mu.Unlock()
		return false
	}
	if t.next == nil {
		t.next = &reading{done: make(chan struct{})}
	}
	r := t.next
	t.mu.Unlock()
	signal(t.wanted)
	select {
	case <-r.done:
		return r.complete
	case <-ctx.Done():
		return false
	}
}

// age is how long ago the tenants were last read, in seconds; -1 before the first time.
func (t *tenants) age() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.read.IsZero() {
		return -1
	}
	return time.Since(t.read).Seconds()
}
