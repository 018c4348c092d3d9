package safeguard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/scope"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
)

// catalog is what counting reads of one revision of the configuration. It is immutable and shared by all partitions.
type catalog struct {
	revision int64
	classes  map[classKey]*class
	tenants  map[string]*configclient.Tenant
	// scopes are by their text, for the next catalog: classes share a few.
	scopes map[string]scoped
	// faults are classes with a scope that this binary can't compile.
	faults []configclient.Fault
}

type classKey struct{ tenant, id string }

// class is a class of service.
type class struct {
	// offers are nil where the class does not offer the option.
	offers [spend.Options]*offer
}

// offer is one safeguard as a class offers it.
type offer struct {
	*configclient.Offer
	scope scoped
}

// noticed says whether a spend has come to the second notice.
func (of *offer) noticed(spent spend.Amount) bool {
	return of.SecondNotice > 0 && spent >= of.SecondNotice
}

// scoped is a compiled scope, or what is wrong with it. One that can't be compiled was stored by a service that judges
// otherwise: its own subscribers' usage is rejected until it is mended, everybody else's goes on.
type scoped struct {
	*scope.Scope
	err error
}

// newCatalog compiles a snapshot; before is the catalog of another revision, or nil.
func newCatalog(s *configclient.Snapshot, before *catalog) *catalog {
	m := s.Message().GetClassesOfService()
	c := &catalog{revision: s.Revision, classes: make(map[classKey]*class, len(m)), tenants: map[string]*configclient.Tenant{}, scopes: map[string]scoped{}}
	for _, stored := range m {
		parts := strings.Split(stored.GetName(), "/") // tenants/{tenant}/classesOfService/{class}
		if len(parts) != 4 {
			continue
		}
		key := classKey{parts[1], parts[3]}
		found, ok := s.Class(key.tenant, key.id)
		if !ok {
			continue
		}
		made := &class{}
		for o := range spend.Option(spend.Options) {
			if offered := found.Offer(o); offered != nil {
				made.offers[o] = &offer{Offer: offered, scope: c.scope(offered.Scope, before)}
				if err := made.offers[o].scope.err; err != nil {
					c.faults = append(c.faults, configclient.Fault{Name: found.Name, Err: fmt.Errorf("scope of the %s safeguard: %w", o, err)})
				}
			}
		}
		c.classes[key] = made
	}
	for _, t := range s.Tenants() {
		c.tenants[t.ID] = t
	}
	return c
}

func (c *catalog) scope(text string, before *catalog) scoped {
	if known, ok := c.scopes[text]; ok {
		return known
	}
	var s scoped
	if known, ok := before.known(text); ok {
		s = known
	} else {
		s.Scope, s.err = scope.Compile(text)
	}
	c.scopes[text] = s
	return s
}

func (c *catalog) known(text string) (scoped, bool) {
	if c == nil {
		return scoped{}, false
	}
	s, ok := c.scopes[text]
	return s, ok
}

// class is nil where the tenant has none of that id.
func (c *catalog) class(tenant, id string) *class {
	if c == nil {
		return nil
	}
	return c.classes[classKey{tenant, id}]
}

// nobody is a tenant that the configuration does not know.
var nobody = &configclient.Tenant{DedupWindow: configclient.DefaultDedupWindow}

// tenant is never nil.
func (c *catalog) tenant(id string) *configclient.Tenant {
	if c != nil {
		if t, ok := c.tenants[id]; ok {
			return t
		}
	}
	return nobody
}

// catalogs are the revisions at hand, each compiled once for all partitions.
type catalogs struct {
	state.Revisions[*catalog]
	highest func() (*catalog, bool)
}

// IncidentScope is of a class whose scope this binary can't compile: usage of its subscribers is rejected until it is
// corrected, and can be sent again then.
const IncidentScope = "SCOPE_INVALID"

// unusable are those of the newest revision that was compiled.
func (c *catalogs) unusable() []*daemon.Incident {
	last := c.latest()
	if last == nil {
		return nil
	}
	return configclient.Incidents(IncidentScope, last.faults)
}

func compileCatalogs(ctx context.Context, source *configclient.Source) *catalogs {
	c := configclient.Compile(ctx, source, newCatalog)
	return &catalogs{c, c.Latest}
}

// readPatience bounds the wait of a read for a revision that no partition here is folded by.
const readPatience = time.Second

// at is the catalog of a revision, for a read.
func (c *catalogs) at(ctx context.Context, r state.Revision) (*catalog, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	return state.Await(ctx, c.Revisions, r)
}

// newest is the catalog of the newest revision at hand.
func (c *catalogs) newest() (*catalog, error) {
	if found := c.latest(); found != nil {
		return found, nil
	}
	return nil, errNoConfiguration
}

var errNoConfiguration = errors.New("no configuration was read yet")

// latest is the catalog of the highest revision at hand; nil where there is none.
func (c *catalogs) latest() *catalog {
	found, _ := c.highest()
	return found
}
