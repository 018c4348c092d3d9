// Package fleet runs an installation of Tollgate for whole-journey tests, benchmarks and soaks: the services with
// their ordinary configuration files, each on free ports of loopback, in this process or as processes of their own.
//
// Servers are Kafka and Redis servers of one's own, which may be killed. A Fleet is one installation on a Kafka and a
// Redis: topics and keys under a prefix of its own, and one API key. Its Members are the services that run; each can be
// asked for its addresses, waited for, stopped, and killed and started again.
package fleet
