package config

import (
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel/table"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

// index is what is derived from the resources that stand: how many there are and how large, and which name what. Without
// it each change of a notification read all others. It is of the revision in memory, which a change brings up to its own
// transaction before it asks: nobody commits meanwhile.
type index struct {
	log *zap.Logger

	mu   sync.Mutex
	held map[string]held
	// names are of the resources that have a use.
	names map[list]map[string]map[string]bool
}

// list is what uses are found by: what a resource does with something of an owner, such as an event type of a tenant.
type list struct{ what, of string }

// use is one entry of a resource in a list.
type use struct {
	list
	value string
}

// What notifications do: those that are active are evaluated on types as they name them, publish to a topic of Kafka and name a target.
// Whether they are active or not, they rely on a tenant's default target, and have parameters for a target.
const (
	evaluatedOn   = "evaluated on"
	publishesTo   = "publishes to"
	notifies      = "notifies"
	reliesOn      = "relies on"
	parametersFor = "has parameters for"
)

// usesOf is what a notification does.
func usesOf(r resource) (all []use) {
	n := r.(*configv1.Notification)
	tenant := tenantOf(n.GetName())
	add := func(what, of, value string) { all = append(all, use{list{what, of}, value}) }
	if n.GetActive() {
		for _, t := range slices.Concat(n.GetTrigger().GetEventTypes(), n.GetTrigger().GetDelayed().GetCancelledBy().GetEventTypes()) {
			add(evaluatedOn, tenant, t)
		}
		for _, topic := range publishes(n) {
			add(publishesTo, tenant, topic)
		}
	}
	for _, a := range n.GetActions() {
		target := table.Channels.Target(a)
		if n.GetActive() && target != "" {
			add(notifies, target, "")
		}
		if len(a.GetParameters()) > 0 && target != "" {
			add(parametersFor, target, "")
		}
		if c, part := table.Channels.Of(a); part != nil && part.Target() == "" {
			add(reliesOn, tenant, c.Name)
		}
	}
	return all
}

// Reset implements store.Index.
func (x *index) Reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.held, x.names = map[string]held{}, map[list]map[string]map[string]bool{}
}

// Change implements store.Index.
func (x *index) Change(before, after *store.Version) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.count(before, -1)
	x.count(after, 1)
}

// count adds a version, or takes it away.
func (x *index) count(v *store.Version, sign int64) {
	if v == nil {
		return
	}
	for _, place := range places(v.Kind, v.Name) {
		h := x.held[place]
		x.held[place] = held{h.number + sign, h.bytes + sign*int64(len(v.Body))}
	}
	k := kindOf(v.Kind)
	if k == nil || k.uses == nil {
		return
	}
	r, err := k.decode(*v)
	if err != nil {
		x.log.Error("resource not read: what it names is not known", zap.String("name", v.Name), zap.Error(err))
		return
	}
	for _, u := range k.uses(r) {
		x.enter(u, v.Name, sign > 0)
	}
}

func (x *index) enter(u use, name string, in bool) {
	values := x.names[u.list]
	if values == nil {
		values = map[string]map[string]bool{}
		x.names[u.list] = values
	}
	if in {
		if values[u.value] == nil {
			values[u.value] = map[string]bool{}
		}
		values[u.value][name] = true
		return
	}
	delete(values[u.value], name)
	if len(values[u.value]) == 0 {
		delete(values, u.value)
	}
	if len(values) == 0 {
		delete(x.names, u.list)
	}
}

// of is how much there is in a place.
func (x *index) of(place string) held {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.held[place]
}

// number is how many resources have a use whose value a condition holds for, one of them not counted.
func (x *index) number(l list, holds func(value string) bool, without string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := map[string]bool{}
	for value, names := range x.names[l] {
		if holds(value) {
			maps.Copy(all, names)
		}
	}
	delete(all, without)
	return len(all)
}

// users are the names of the resources with a use whose value a condition holds for, sorted.
func (x *index) users(l list, holds func(value string) bool) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := map[string]bool{}
	for value, names := range x.names[l] {
		if holds(value) {
			maps.Copy(all, names)
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func is(value string) func(string) bool { return func(other string) bool { return other == value } }

// queries are what a resource is validated against: single resources from the database, and what names them from the index.
type queries struct {
	store.Reader
	index *index
}

var _ store.Index = (*index)(nil)
