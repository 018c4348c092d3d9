// Package topic is the pure part of the actions that publish to topics of Kafka: validation, and the record.
//
// The channel has no service: who plans publishes, and there are no attempts. It writes to topics of tenants alone, whose
// names begin with one of their prefixes.
package topic
