// Package configclient is how a service follows the configuration.
//
// A Source learns of the newest revision from the configuration service and returns the content of any revision: from
// memory, from the configuration service and, for services that count and plan, from the store that all services share.
// Those services therefore start and continue at the revision of their logs while the configuration service is
// unreachable. The store holds no secrets: a service that sends needs the configuration service once, at its start.
//
// A Snapshot is the configuration of one revision, decoded once into the types of the domain: money as spend.Money,
// zones loaded, defaults filled in. A snapshot is never changed and may be shared.
package configclient
