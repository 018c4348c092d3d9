// Package email sends e-mail over SMTP.
//
// It consumes deliveries.email, keyed by SMTP profile, and produces deliveries.attempts (one record for each attempt, in the
// partition of its delivery) and deliveries.dead. Redis holds references to waiting deliveries in the log, never bodies.
//
// It gives the guarantees of pkg/delivery: every delivery is settled, repeats have the same Message-ID. A message is sent with
// the newest configuration of its profile, to addresses that the tenant's policy allows, and to nobody who is suppressed. A
// refusal is the recipient's, the message's or the profile's (finding.go), and each is treated otherwise.
package email
