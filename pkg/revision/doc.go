// Package revision is how a service follows the configuration.
//
// A Source hears of each new revision from the configuration service and answers what any revision said: from memory,
// from the store that all services share, or from the configuration service, in this order. A service that starts while
// the configuration service is away therefore goes on at the revision its logs are at.
//
// A Snapshot is the configuration as of one revision, decoded into the types of the domain once: money as spend.Money,
// zones loaded, defaults filled in. A snapshot is never changed; it may be shared.
package revision
