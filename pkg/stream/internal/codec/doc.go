// Package codec is records, record batches and the fields of Kafka's requests, as values and as bytes.
package codec
