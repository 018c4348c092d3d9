package account

import (
	"fmt"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/scope"
	"github.com/tollgate/tollgate/pkg/spend"
)

// Catalog is what counting reads of one revision of the configuration. It is immutable and shared by all partitions.
type Catalog struct {
	Revision int64
	classes  map[classKey]*Class
	tenants  map[string]*configclient.Tenant
	// scopes are by their text, for the next catalog: classes share a few.
	scopes map[string]scoped
	// unreadable are classes with a scope that this binary can't compile.
	Unreadable []configclient.Unreadable
}

type classKey struct{ tenant, id string }

// Class is a class of service.
type Class struct {
	// offers are nil where the class does not offer the option.
	Offers [spend.Options]*Offer
}

// Offer is one safeguard as a class offers it.
type Offer struct {
	*configclient.Offer
	scope scoped
}

// noticed is whether a spend has come to the second notice.
func (of *Offer) noticed(spent spend.Amount) bool {
	return of.SecondNotice > 0 && spent >= of.SecondNotice
}

// scoped is a compiled scope, or what is wrong with it. One that can't be compiled was stored by a service of another
// version: usage of its own subscribers is rejected until it is corrected, that of all others is counted.
type scoped struct {
	*scope.Scope
	err error
}

// Compile makes a catalog of a snapshot; before is the catalog of another revision, or nil.
func Compile(s *configclient.Snapshot, before *Catalog) *Catalog {
	c := &Catalog{Revision: s.Revision, classes: map[classKey]*Class{}, tenants: map[string]*configclient.Tenant{}, scopes: map[string]scoped{}}
	for _, found := range s.Classes() {
		key := classKey{found.Tenant, found.ID}
		made := &Class{}
		for o := range spend.Option(spend.Options) {
			if offered := found.Offer(o); offered != nil {
				made.Offers[o] = &Offer{Offer: offered, scope: c.scope(offered.Scope, before)}
				if err := made.Offers[o].scope.err; err != nil {
					c.Unreadable = append(c.Unreadable, configclient.Unreadable{Name: found.Name, Err: fmt.Errorf("scope of the %s safeguard: %w", o, err)})
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

func (c *Catalog) scope(text string, before *Catalog) scoped {
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

func (c *Catalog) known(text string) (scoped, bool) {
	if c == nil {
		return scoped{}, false
	}
	s, ok := c.scopes[text]
	return s, ok
}

// Class is nil where the tenant has none of that id.
func (c *Catalog) Class(tenant, id string) *Class {
	if c == nil {
		return nil
	}
	return c.classes[classKey{tenant, id}]
}

// unknownTenant stands for one that the configuration does not have.
var unknownTenant = &configclient.Tenant{DedupWindow: configclient.DefaultDedupWindow}

// Tenant is never nil.
func (c *Catalog) Tenant(id string) *configclient.Tenant {
	if c != nil {
		if t, ok := c.tenants[id]; ok {
			return t
		}
	}
	return unknownTenant
}
