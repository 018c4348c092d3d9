// Package webhook is the pure part of the channel webhook: its endpoints, what is valid of them, the bodies of its
// messages and their signature. The service of the same name sends them.
//
// Everything here is pure: no context, no clock, no I/O.
package webhook
