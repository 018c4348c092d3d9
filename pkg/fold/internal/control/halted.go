package control

import "time"

// Patience is how long a revision that is being fetched goes without an incident.
const Patience = 10 * time.Second

// Halted is where the owner stands still.
type Halted struct {
	offset int64     // of the record, and
	since  time.Time // since when
	Read   int64     // up to here the log behind it does not leave it out
	Passed int64     // behind the last record that was looked at and may pass
}

// Waits reports whether the owner is at a record since a short time.
func (h *Halted) Waits(offset int64, now time.Time) bool {
	if h.offset != offset || h.since.IsZero() {
		h.offset, h.since, h.Read = offset, now, offset+1
	}
	return now.Sub(h.since) < Patience
}
