package access

import "github.com/tollgate/tollgate/pkg/event"

// Caller is whoever makes a call. A nil Caller may do nothing.
type Caller struct {
	// ID is the beginning of the hash of the secret.
	ID string
	// Operator may do everything; its key stands in grpc.api_key_hashes_file.
	Operator bool
	// Service is a service of this installation; its key stands in grpc.service_key_hashes_file.
	Service bool
	// Key is the tenant's key; nil of operators and services.
	Key *Key
}

// Has reports whether the caller may do what a scope names, in the tenants that it reaches.
func (c *Caller) Has(s Scope) bool {
	return c != nil && (c.Operator || c.Key != nil && c.Key.Rights.Scopes.Has(s))
}

// Reaches reports whether a tenant, by its id, is the caller's: operators and services reach all.
func (c *Caller) Reaches(tenant string) bool {
	return c != nil && (c.Operator || c.Service || c.Key != nil && tenant != "" && c.Key.Tenant == tenant)
}

// Allows reports whether the caller may read events of an entity and operation from the event queue.
func (c *Caller) Allows(entity string, op event.Operation) bool {
	return c.rights().Grants.Allows(entity, op)
}

// SeesContact reports whether events of the queue are shown with their contact fields.
func (c *Caller) SeesContact() bool { return c.rights().Contact }

// SeesPersonal reports whether events of the queue are shown with their personal fields.
func (c *Caller) SeesPersonal() bool { return c.rights().Personal }

// Gives reports whether the caller may give another key these rights: nobody gives what he has not.
func (c *Caller) Gives(r Rights) bool { return c != nil && (c.Operator || c.rights().Covers(r)) }

func (c *Caller) rights() Rights {
	switch {
	case c == nil:
		return Rights{}
	case c.Operator:
		return Rights{Grants: AllGrants(), Contact: true, Personal: true}
	case c.Key != nil:
		return c.Key.Rights
	}
	return Rights{}
}
