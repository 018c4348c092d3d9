// Package event is the noun of the whole system: one thing that happened, as it crosses every topic.
//
// An Event is decoded once per record: its data is the Go message of its type before any rule sees it. Decode reads the
// bytes of our own topics, Encode writes them (the same event is always the same bytes), and the Parse functions
// (ParseKafka, ParseHTTP, ParseJSON, FromProto) read what producers send, in Protobuf and in every mode of CloudEvents
// 1.0. Validate lists everything that is wrong at once.
//
// The catalog (Lookup, Types) has of every built-in type what it is about, which message its data is and whether it is
// ordered by its subject.
//
// DESIGN.md beside this file has the decisions and what is not obvious.
package event
