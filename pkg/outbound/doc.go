// Package outbound sends HTTP requests to URLs that tenants choose.
//
// It guarantees that a request reaches only addresses that the tenant's policy allows, checked on the address actually
// dialled; that redirects are not followed, proxies of the environment are not used and certificates are always
// verified; that every phase has a deadline and everything kept of a response has a bound; and that connections are
// shared only within one tenant and one TLS identity. Every outcome is a Result, also of a failing receiver: the
// duration of each phase, and an error class of a closed set.
//
// A request is sent once; one that a waiting connection lost is sent once more, where the receiver recognises repeats.
//
// Other protocols to foreign addresses (SMTP, SMPP) use Dialer and TLSConfig.
package outbound
