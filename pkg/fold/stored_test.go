package fold

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
)

func TestReadStored_UnchangedWatermarkIsStale(t *testing.T) {
	e := &Engine[int, int]{partitions: 1, peeked: map[int32]peek{}}
	w := state.Watermark{Token: state.NewToken(), Serial: 7}
	if got := e.unchanged("k", w); got != 0 {
		t.Errorf("unchanged for %s when read first", got)
	}
	before := e.peeked[0]
	e.peeked[0] = peek{token: before.token, serial: before.serial, since: before.since.Add(-time.Minute)}
	if got := e.unchanged("k", w); got < time.Minute {
		t.Errorf("unchanged for %s after a minute", got)
	}
	w.Serial++
	if got := e.unchanged("k", w); got != 0 {
		t.Errorf("unchanged for %s after a commit", got)
	}
}
