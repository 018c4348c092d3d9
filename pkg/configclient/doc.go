// Package configclient is how a service follows the configuration.
//
// A Source hears of the newest revision from the configuration service and answers what any revision said: from memory,
// from the configuration service, and, to those who count and plan, from the store that all services share. They
// therefore go on at the revision their logs are at when they start while the configuration service is away. No secret
// lies in the store: who sends needs the configuration service once, at its start.
//
// A Snapshot is the configuration as of one revision, decoded into the types of the domain once: money as spend.Money,
// zones loaded, defaults filled in. A snapshot is never changed; it may be shared.
package configclient
