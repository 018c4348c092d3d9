package fold

import (
	"github.com/tollgate/tollgate/pkg/fold/internal/duelist"
)

// list returns the time under which the subject must be listed now, or 0. It stands in one list at a time: a timer that
// moves later keeps its entry, which is listed again when it comes up; one that moves earlier has another.
func (s *Subject[B]) list(cursor int64) int64 {
	if len(s.header.Timers) == 0 {
		return 0
	}
	at := max(s.header.Timers[0].Due, duelist.FirstOf(cursor))
	if s.header.Listed != 0 && duelist.MinuteOf(s.header.Listed) >= cursor && s.header.Listed <= at {
		return 0
	}
	s.header.Listed = at
	return at
}

// dueList works a step of a list under the log time before the batch.
func (b *batch[B]) dueList(c duelist.Step) error {
	if !c.Current {
		b.to.DueMinute, b.to.DuePosition = c.Cursor, c.Position
		if c.Drop {
			b.deletes = append(b.deletes, duelist.Key(c.Minute))
		}
	}
	for _, key := range c.Subjects {
		s, err := b.subject(key)
		if err != nil {
			return err
		}
		if !s.Exists {
			continue
		}
		// Of a minute that goes on, an entry that is still to come stands for itself.
		if duelist.MinuteOf(s.header.Listed) == c.Minute && (!c.Current || s.header.Listed <= b.to.LogTime) {
			s.header.Listed = 0
			b.touch(s)
		}
		if err := b.due(s, b.to.LogTime); err != nil {
			return err
		}
	}
	return nil
}
