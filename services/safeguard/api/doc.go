// Package api answers over gRPC where subscribers stand, changes their options, charges payments, authorises usage and
// explains figures: OptionCatalogService, OptionInventoryService, OptionSubscriptionService, EnforcementService and
// OptionAuditService.
//
// It consumes requests at any replica, and reads records from the engine, from the replica that owns the partition, or from
// the store. It produces commands in the log of events, and answers after the commit that holds them.
//
// It promises: every violation of a request is named at once, each with a reason; a read shows how old it may be, and
// is answered REBUILDING where that is not known; a command without an answer gets an error with whether it may have been
// counted; under its reference it is counted once.
package api
