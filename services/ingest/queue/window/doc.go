// Package window is the pure part of a subscription: which events were read, which may be sent next, which were sent and
// wait for an ack, when one has to be sent again, and how far everything is done. It has no clock and does no I/O: times
// and events are passed in. Its functions take constant time for each event, however many are held.
//
// It promises: an event that was added is sent until it is acknowledged; the position of a partition never passes one
// that is not; in an ordered window at most one event of a key is unacknowledged, and its events are sent in the order of
// their offsets; an ack reaches only what was sent.
package window
