// Package rpc is gRPC as all services use it: a server that authenticates, bounds, counts and logs its calls in one
// way, and a client that fits it.
//
// Every method needs an API key in the metadata `authorization: Bearer <key>`; only the health and the reflection
// service answer without one. A server without any key answers only those. Keys are compared as SHA-256 hashes in
// constant time; Keys does the same for HTTP.
//
// Errors are sent as google.rpc.Status with ErrorInfo and BadRequest (pkg/fault). An error that is not a fault is
// INTERNAL without its text; a panic is INTERNAL too, with its stack in the log only. The client turns them back into
// faults.
//
// Without a certificate the listener is plain text, for loopback and for networks that encrypt traffic themselves; the
// key is then sent in plain text.
package rpc
