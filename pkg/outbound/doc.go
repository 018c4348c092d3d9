// Package outbound talks HTTP to URLs that somebody else chose.
//
// It promises that a request reaches only addresses that the tenant's policy allows, judged on the address actually
// dialled; that redirects are not followed, proxies of the environment not used, certificates always verified; that every phase has a
// deadline and everything kept of an answer a size; and that connections are never shared wider than one tenant and one
// TLS identity. Every outcome is a Result, a failing receiver as well: what it took by phase, and an error class of a
// closed set.
//
// Other protocols to foreign addresses (SMTP, SMPP) take Policy.Control for their dialer.
package outbound
