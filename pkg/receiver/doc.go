// Package receiver makes requests to addresses that tenants configured: endpoints of webhooks, handlers of hooks. It
// authenticates as they ask, and masks their secrets wherever a receiver sends them back.
package receiver
