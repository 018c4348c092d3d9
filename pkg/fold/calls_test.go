package fold

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fold/internal/record"
)

func TestCallsFrom_FullListReachesBackToItsOldest(t *testing.T) {
	const hour = int64(record.HourMillis)
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	s := Subject[int]{Time: at(1000 * hour)}
	for i := range int64(record.CallsInRecord) {
		if got := s.CallsFrom(); !got.Equal(at(976 * hour)) {
			t.Fatalf("with %d calls from %v on; want all of a day", i, got)
		}
		s.header.Calls.Add(record.AcceptedCall{ID: uint64(i), At: 990*hour + i})
	}
	if got := s.CallsFrom(); !got.Equal(at(990 * hour)) {
		t.Errorf("full, from %v on", got)
	}
	if _, ok := s.Counted(Identity{7: 15}); !ok {
		t.Error("what stands in the list is not counted")
	}
	if _, ok := s.Counted(Identity{7: 16}); ok {
		t.Error("counted is not what stands in the list")
	}
}
