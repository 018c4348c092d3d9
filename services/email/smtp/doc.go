// Package smtp speaks with mail servers as RFC 5321 asks: one message to one recipient, in a conversation whose every step
// has its own time limit and whose every answer is bounded and kept.
//
// It decides nothing: whose a refusal is, and what follows from it, is decided by package email. Connections come from the
// guarded dialer of pkg/outbound; mechanisms of AUTH from the library that also writes the messages.
package smtp
