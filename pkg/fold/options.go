package fold

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
)

// Identity is an event's, a timer's or an outcome's.
type Identity = event.Identity

// WindowHours is how long an id is remembered, in log time, where no Options.DedupWindow is set.
const WindowHours = 24

// Options are what a fold takes beside ordinary events. The zero value takes nothing more.
type Options[C any] struct {
	// Commands reach the fold's Apply: the engine takes calls. Without it they are passed over.
	Commands bool
	// Transfers let a subject get another key, as a subscriber that changes its number. The fold is handed
	// system.transfer, which has the new key's subject; system.transfer_settled, which has the old one's; and the
	// events that system.forward carries, under their own id and with the new key's subject. Without it all of them are
	// passed over.
	Transfers bool
	// Timers lists the names of all timers, at most 126, where they are few: a record then holds a byte for each name
	// instead of its letters. Timers of one due time fire in the order of the list, which may only grow at its end.
	Timers []string
	// DedupWindow is how long ids of a subject are remembered under the configuration in force (its zero value before
	// the first revision), in whole hours; nil means WindowHours. When it becomes longer, the ids known at that time
	// are kept longer; when it becomes shorter, older ids are forgotten.
	DedupWindow func(configuration C, key string) time.Duration
}

// Validate lists every violation.
func (o Options[C]) Validate() error {
	var violations []error
	if most := len(record.ListedNames) - record.EngineTimers; len(o.Timers) > most {
		violations = append(violations, fmt.Errorf("%d names of timers are listed, at most %d have a place", len(o.Timers), most))
	}
	seen := make(map[string]bool, len(o.Timers))
	for _, name := range o.Timers {
		if name == "" || seen[name] {
			violations = append(violations, fmt.Errorf("timer %q is listed twice or has no name", name))
		}
		seen[name] = true
	}
	return errors.Join(violations...)
}

// windowHours is the window for a key, in hours.
func (o Options[C]) windowHours(configuration C, key string) int64 {
	if o.DedupWindow == nil {
		return WindowHours
	}
	return int64((o.DedupWindow(configuration, key) + time.Hour - 1) / time.Hour)
}
