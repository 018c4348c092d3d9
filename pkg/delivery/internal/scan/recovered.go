package scan

import (
	"errors"

	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
)

// Recovered is what the attempts hold about deliveries: results that were published and not committed, or all results
// where the store was lost.
type Recovered struct {
	settled pages.Offsets
	retries map[int64]AttemptSummary
	// Until is the offset from which on nothing is known, Endpoints the same for the hash of each endpoint; the offset of
	// attempts stays until the readers passed it.
	Until     int64
	Endpoints map[uint64]int64
}

// NewRecovered holds nothing yet.
func NewRecovered() Recovered {
	return Recovered{retries: map[int64]AttemptSummary{}, Endpoints: map[uint64]int64{}}
}

// Add takes an attempt over, in the order of the log.
func (r *Recovered) Add(t *AttemptSummary, endpoint uint64) {
	r.Until, r.Endpoints[endpoint] = max(r.Until, t.Offset+1), max(r.Endpoints[endpoint], t.Offset+1)
	known, ok := r.retries[t.Offset]
	switch {
	case t.Settled():
		r.settled.Add(t.Offset, t.ID)
		delete(r.retries, t.Offset)
	case !ok:
		r.retries[t.Offset] = *t
	case t.Counted() >= known.Counted(): // numbers beyond 255 repeat
		latest := *t
		latest.Started = known.Started // when the first of them began
		r.retries[t.Offset] = latest
	}
}

// Apply changes a reference to what the attempts show; false where they show it settled. An error means that the
// attempts are of another log, whose offsets would settle deliveries that no receiver has.
func (r *Recovered) Apply(ref *pages.Reference) (waits bool, err error) {
	if ref.Offset >= r.Until {
		return true, nil
	}
	if id, known := r.settled.First(ref.Offset); known && id != ref.ID {
		return true, errOtherLog
	}
	if r.settled.Has(ref.Offset) {
		return false, nil
	}
	if t, ok := r.retries[ref.Offset]; ok {
		if t.ID != 0 && t.ID != ref.ID {
			return true, errOtherLog
		}
		if pages.Counted(t.Counted()) >= ref.Attempts {
			ref.Attempts, ref.Due = pages.Counted(t.Counted()), t.Next
		}
		if ref.First == 0 {
			ref.First = uint32(max(t.Started+999, 0) / 1000)
		}
	}
	return true, nil
}

var errOtherLog = errors.New("its attempts are of other deliveries")
