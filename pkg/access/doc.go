// Package access is what a caller may do: scopes, grants of the event queue, keys of tenants and when they end. It decides
// and does no I/O; pkg/rpc asks it for each call.
//
// A caller is an operator, a service of this installation, a tenant's key, or several of these under one secret. An
// operator may do everything, a service what services need of each other, a tenant's key what its scopes name, within
// its tenant. Everything else is denied.
package access
