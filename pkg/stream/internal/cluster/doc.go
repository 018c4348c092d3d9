// Package cluster is the connection to Kafka that producers and groups share: connections, what the cluster holds,
// which errors are temporary, and what waits for it or needs a person.
package cluster
