// Package stream is Tollgate's way to Kafka and the only importer of kafka-go.
//
// It promises four things. What Produce acknowledged was acknowledged by all
// in-sync replicas. Records of one partition are appended in the order they
// were handed in. A reader starts at the offset it is given and never jumps: an offset
// the log no longer holds, or does not hold yet, is an *OutOfRangeError. And a
// committed offset never moves back.
//
// What it cannot promise: an error that ends with a context means "unknown",
// and a lost answer makes a record appear twice with the same bytes. Records
// therefore carry ids, and consumers drop repeats.
//
// DESIGN.md beside this file has the map of files and what is not obvious.
package stream
