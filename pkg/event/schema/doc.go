// Package schema is what a tenant declares of its own event types: fields with their kinds and bounds. On the wire the
// data of such an event is a google.protobuf.Struct, which every consumer can read without the declaration. New compiles a
// declaration to a Protobuf message, so that rules, texts and channels work on it as on the messages of built-in types;
// pkg/event reads the data of an event into it.
//
// The package is pure; a Schema is immutable and safe for use by many goroutines.
package schema
