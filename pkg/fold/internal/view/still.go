package view

import (
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
)

// Still is for how long the watermarks of partitions that others own are known to have stood still. An owner's clock may be
// ahead of ours, or ours may have been set back: by their difference one that died would be fresh for as long.
type Still struct {
	mu   sync.Mutex
	seen map[int32]peek
}

// peek is a watermark that was read, and when it was read first.
type peek struct {
	token  state.Token
	serial uint64
	since  time.Time
}

// For notes a watermark that was read.
func (s *Still) For(partition int32, w state.Watermark) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.seen[partition]; last.token == w.Token && last.serial == w.Serial {
		return time.Since(last.since)
	}
	if s.seen == nil {
		s.seen = make(map[int32]peek)
	}
	s.seen[partition] = peek{token: w.Token, serial: w.Serial, since: time.Now()}
	return 0
}
