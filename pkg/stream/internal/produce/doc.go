// Package produce appends records: a queue for each partition, and senders that take what the queues of one broker have
// ready in few requests.
package produce
