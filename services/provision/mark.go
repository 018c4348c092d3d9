package provision

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// marker marks keys as published, in groups, behind the answers: a key that is not marked is published once more by the next
// call with it, under the same id.
type marker struct {
	mark  func(ctx context.Context, names ...string) error
	log   *zap.Logger
	names chan string
}

const (
	// mostMarks may wait; what comes beyond them stays unmarked.
	mostMarks = 10_000
	// marksAtOnce go into one request.
	marksAtOnce = 500
	// lastMarks bounds the last request of a process that stops.
	lastMarks = time.Second
)

func newMarker(mark func(ctx context.Context, names ...string) error, log *zap.Logger) *marker {
	return &marker{mark: mark, log: log, names: make(chan string, mostMarks)}
}

func (m *marker) note(name string) {
	select {
	case m.names <- name:
	default:
	}
}

// Run marks until ctx ends, and then what still waits.
func (m *marker) Run(ctx context.Context) error {
	for {
		select {
		case name := <-m.names:
			m.group(ctx, name)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMarks)
			defer cancel()
			for last.Err() == nil {
				select {
				case name := <-m.names:
					m.group(last, name)
				default:
					return nil
				}
			}
			return nil
		}
	}
}

// group marks a key, and those that wait behind it.
func (m *marker) group(ctx context.Context, first string) {
	names := append(make([]string, 0, 64), first)
	for waiting := true; waiting && len(names) < marksAtOnce; {
		select {
		case name := <-m.names:
			names = append(names, name)
		default:
			waiting = false
		}
	}
	if err := m.mark(ctx, names...); err != nil && ctx.Err() == nil {
		m.log.Warn("idempotency keys not marked as published", zap.Int("count", len(names)), zap.Error(err))
	}
}
