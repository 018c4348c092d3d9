package loop

import "github.com/tollgate/tollgate/pkg/delivery/internal/slots"

// Slots bounds what one process has in flight and unrecorded, over all partitions of a channel.
type Slots = slots.Slots

// NewSlots bounds deliveries in flight and unrecorded results; channels use 2,048 and 1,000.
func NewSlots(maxInFlight, unrecordedResultsMax int) *Slots {
	return slots.New(maxInFlight, unrecordedResultsMax)
}
