// Package arrived hands out the events of a log to the handlers that are asked about them, each event once the events of the
// same subject before it are done, where its type is ordered.
//
// A handler that is slower than the log is read apart: by a reader of its own, from where it stands on, until it has caught up.
// So no handler holds a partition, or another handler, back. Where each of them stands is committed with the partition's offset:
// an event whose handler was not done is handed out again by the partition's next owner.
//
// What is asked, how often, and what an answer means, is not here.
package arrived
