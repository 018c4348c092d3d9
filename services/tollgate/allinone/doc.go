// Package allinone runs every service in one process, on an embedded Kafka and Redis: their ordinary Run functions with
// the ordinary configuration, into which only addresses, one API key and one folder are written. No service knows.
//
// The log is kept in the folder and Redis is not, so that a start with the same folder is what a service does after it has
// lost its Redis: partitions are rebuilt from the log.
package allinone
