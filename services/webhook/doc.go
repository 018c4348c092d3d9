// Package webhook tells endpoints over HTTPS.
//
// It consumes deliveries.webhook, keyed by endpoint, and produces
// deliveries.attempts (one record for each attempt, in the partition of its
// delivery) and deliveries.dead (what was given up). What waits is kept in Redis
// as references to the log, never as bodies; with Redis lost it is found again
// from the attempts.
//
// It promises what pkg/delivery does: every delivery is settled, first receipts
// of a subject are in order, repeats bear the same id. Requests are signed by
// Standard Webhooks with every valid secret, sent with the newest configuration
// of their endpoint, and reach only addresses that the tenant's policy allows.
package webhook
