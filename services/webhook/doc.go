// Package webhook notifies endpoints over HTTPS.
//
// It consumes deliveries.webhook, keyed by endpoint, and produces deliveries.attempts (one record for each attempt, in
// the partition of its delivery) and deliveries.dead (dead and cancelled deliveries). Redis holds references to waiting
// deliveries in the log, never bodies; after a loss of Redis they are rebuilt from the attempts.
//
// It gives the guarantees of pkg/delivery: every delivery is settled, first receipts of a subject are in order, repeats
// have the same id. Requests are signed by Standard Webhooks with every valid secret, sent with the newest
// configuration of their endpoint, and reach only addresses that the tenant's policy allows.
package webhook
