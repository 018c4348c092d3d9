// Package service is what the services of all channels have in common: they follow the configuration of their targets, run
// the loop over the partitions of their topic, report the health of targets, and make tests on request. What differs is the
// channel's Sender.
package service
