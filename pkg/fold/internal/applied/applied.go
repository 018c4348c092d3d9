// Package applied is what an engine shows of the events it has applied.
package applied

import (
	"time"

	"github.com/tollgate/tollgate/pkg/event"
)

// Event is one that was applied, with when its batch was begun and its outcomes were published.
type Event struct {
	// Event as the log has it; of one that was forwarded, as it was sent.
	Event *event.Event
	// Topic (with prefix), Partition and Offset of its record.
	Topic     string
	Partition int32
	Offset    int64
	// Forwarded is set where it was sent on from a subject's old key.
	Forwarded bool
	// Outcomes is how many records followed from it, those of timers that were due before it included.
	Outcomes         int
	Begun, Published time.Time
}
