// Package scenario holds whole journeys as tests: what producers send at one end, and what must be seen at the other, on
// every service in one process with an embedded Kafka and Redis, and on separate processes with real ones. The script is
// the same.
//
// What must be seen is computed by a model that shares no code with the product.
package scenario
