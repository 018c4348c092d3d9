// Package hook is the pure part of hooks: what a stored one must be, how its secrets are hidden, and what the service that
// asks handlers makes of it. An HTTP handler is an address of a tenant as an endpoint of webhooks is one, and follows the same
// rules.
package hook
