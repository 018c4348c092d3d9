package provision

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/hook"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/receiver"
	"github.com/tollgate/tollgate/services/provision/arrived"
	"github.com/tollgate/tollgate/services/provision/chain"
)

// handler is a hook that is ready to be asked.
type handler struct {
	*hook.Hook
	// receiver is what requests go to; of an HTTP handler alone.
	receiver *receiver.Receiver
	// policy is the tenant's, for isOf.
	policy outbound.Policy
	// broken is why nobody can be asked; each question is then a fault.
	broken error
}

// book is the hooks of one revision.
type book struct {
	snapshot *configclient.Snapshot
	handlers map[string]*handler
	// chains are the handlers to ask, in their order, by tenant and type.
	chains map[chainKey][]*chain.Handler
	types  map[chainKey]declaredType
	// arrived are the same handlers, as those of events of the log.
	arrived map[chainKey][]arrived.Handler
}

type chainKey struct{ tenant, eventType string }

// directory follows the configuration and keeps the book of its newest revision.
type directory struct {
	source *configclient.Source
	denied []netip.Prefix
	keep   func(map[outbound.Key]bool)
	chain  *chain.Chain
	// metrics are of the hooks that there are.
	metrics *metrics
	health  *daemon.Health
	log     *zap.Logger

	newest atomic.Pointer[book]
	// read is closed once there is a book.
	read chan struct{}
	once sync.Once
}

// retryRead is how soon a revision that could not be read is asked for again.
const retryRead = time.Second

// Run takes over each new revision until ctx ends.
func (d *directory) Run(ctx context.Context) error {
	for {
		changed := d.source.Changed()
		var again <-chan time.Time
		if _, all, ok := d.source.Newest(); ok {
			s, err := d.source.At(ctx, all)
			if err != nil {
				err = fmt.Errorf("hooks of revision %d not read: %w", all, err)
				again = time.After(retryRead)
			} else {
				d.take(s)
			}
			d.health.Set("hooks", err)
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *directory) take(s *configclient.Snapshot) {
	before := d.newest.Load()
	b := &book{snapshot: s, handlers: map[string]*handler{}, chains: map[chainKey][]*chain.Handler{}, arrived: map[chainKey][]arrived.Handler{}}
	b.declare(s, before)
	identities := map[outbound.Key]bool{}
	for t := range s.Targets(hook.Kind) {
		h := d.handler(t, b, before)
		b.handlers[t.Name] = h
		if h.receiver != nil {
			identities[h.receiver.Identity.Key()] = true
		}
		if h.broken != nil {
			d.log.Warn("hook can't be asked", zap.String("hook", t.Name), zap.Error(h.broken))
		}
		if h.asked() {
			b.add(h)
		}
	}
	for key, handlers := range b.chains {
		slices.SortFunc(handlers, chain.Order)
		for _, h := range handlers {
			b.arrived[key] = append(b.arrived[key], arrived.Handler{Name: h.Name, Concurrency: h.Concurrency})
		}
	}
	d.keep(identities)
	// One that changed is asked at once, whatever the answers of the one before were.
	d.chain.Keep(func(name string) bool {
		return before != nil && b.handlers[name] != nil && b.handlers[name] == before.handlers[name]
	})
	d.metrics.keep(b.names())
	d.newest.Store(b)
	d.once.Do(func() { close(d.read) })
}

// add puts a handler into the chain of each of its types. The handler may be that of the book before, which others read: it is
// not changed.
func (b *book) add(h *handler) {
	for _, name := range h.Types {
		t := b.lookup(h.Tenant, name)
		if t == nil {
			continue
		}
		key := chainKey{h.Tenant, name}
		b.chains[key] = append(b.chains[key], h.of(t))
	}
}

// of is the handler as it is asked about a type.
func (h *handler) of(t *event.Type) *chain.Handler {
	// A hook with a path that its type does not have is broken, so nobody asks what it may change.
	mayChange, _ := hook.ParsePaths(h.MayChange, t.Data.ProtoReflect().Descriptor())
	policy := chain.Forbid
	if h.Allow {
		policy = chain.Allow
	}
	return &chain.Handler{
		Name: h.Name, Priority: h.Priority, Policy: policy, Timeout: h.Timeout, Concurrency: h.Concurrency, MayChange: mayChange,
	}
}

// asked reports whether the handler is asked at all.
func (h *handler) asked() bool { return h.Status == hook.Enabled }

// names are those of all handlers.
func (b *book) names() []string { return slices.Collect(maps.Keys(b.handlers)) }

// handler makes a hook ready, or takes the one of the revision before, where nothing of it changed: its connections stay.
func (d *directory) handler(t *configclient.Target, b, before *book) *handler {
	of, _ := t.Value.(*hook.Hook)
	tenant, ok := b.snapshot.Tenant(of.Tenant)
	if ok && before != nil {
		if was := before.handlers[t.Name]; was != nil && was.broken == nil && t.Unreadable == nil &&
			reflect.DeepEqual(was.Hook, of) && !b.declaring(of) && reflect.DeepEqual(was.policy, tenant.Outbound) {
			return was
		}
	}
	h := &handler{Hook: of}
	switch {
	case !ok:
		h.broken = fmt.Errorf("tenant %s does not exist", of.Tenant)
	case t.Unreadable != nil:
		h.broken = t.Unreadable
	case of.HTTP != nil:
		r := receiver.New(of.HTTP.Address, tenant.Outbound, d.denied)
		h.receiver, h.policy, h.broken = &r, tenant.Outbound, r.Broken
	}
	for _, name := range of.Types {
		if t := b.lookup(of.Tenant, name); t != nil && h.broken == nil {
			if _, err := hook.ParsePaths(of.MayChange, t.Data.ProtoReflect().Descriptor()); err != nil {
				h.broken = fmt.Errorf("its paths can't be read: %w", err)
			}
		}
	}
	return h
}
