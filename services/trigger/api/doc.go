// Package api answers over gRPC what a notification would do, and why one did or did not fire: RuleService.
//
// It reads the logs that deliveries are planned from, and folds them by the code that plans, which services/trigger lends it
// as a Planner. It produces nothing, and stores nothing.
//
// It promises: a dry run counts what live planning would have planned of what was read, timers included, and names what was
// not read; whatever is shown has no personal data; each request has a bound of records, time and memory, and ends when its
// caller goes away.
package api
