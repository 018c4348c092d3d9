// Package rpc is gRPC as every service speaks it: a server whose calls are authenticated, bounded, counted and logged
// in one way, and a client that fits it.
//
// Every method needs an API key in the metadata `authorization: Bearer <key>`; only the health and the reflection
// service answer without one. A server without any key answers nothing else. Keys are compared as SHA-256 hashes in
// constant time; Keys does the same for HTTP doors.
//
// Errors leave as google.rpc.Status with ErrorInfo and BadRequest (pkg/fault); what is not a fault is INTERNAL without
// its text, and a panic is INTERNAL too, its stack in the log only. The client turns them back into faults.
//
// Without a certificate the listener is plain text, which is meant for loopback and for networks that encrypt
// themselves; the key crosses the wire as it is.
package rpc
