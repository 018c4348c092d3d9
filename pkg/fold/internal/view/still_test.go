package view

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
)

func TestStill_CountsFromTheFirstRead(t *testing.T) {
	var s Still
	w := state.Watermark{Token: state.NewToken(), Serial: 7}
	if got := s.For(0, w); got != 0 {
		t.Errorf("unchanged for %s when read first", got)
	}
	before := s.seen[0]
	s.seen[0] = peek{token: before.token, serial: before.serial, since: before.since.Add(-time.Minute)}
	if got := s.For(0, w); got < time.Minute {
		t.Errorf("unchanged for %s after a minute", got)
	}
	w.Serial++
	if got := s.For(0, w); got != 0 {
		t.Errorf("unchanged for %s after a commit", got)
	}
}
