// Package streamtest gives tests a Kafka: an embedded broker, the real one of
// the test servers, or a real one of a test's own that may be killed. Its
// conformance suite is what package stream promises, checked on each of them.
package streamtest
