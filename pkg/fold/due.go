package fold

import (
	"time"

	"github.com/tollgate/tollgate/pkg/fold/internal/duelist"
	"github.com/tollgate/tollgate/pkg/fold/internal/poison"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
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

// due fires the subject's timers that are due by a time, by due time, then in the order of their names as written.
func (b *batch[B]) due(s *Subject[B], by int64) error {
	for s.Exists && len(s.header.Timers) > 0 && s.header.Timers[0].Due <= by {
		t := s.header.Timers[0]
		s.header.Timers = s.header.Timers[1:]
		switch {
		case b.ruleless(s):
		case t.Name == record.UnusedTimer:
			s.header.Schedule(t.Name, t.Due+unusedAfter.Milliseconds())
		case t.Name == record.ExpiryTimer:
			b.expire(s, t.Due/record.HourMillis, allSegments)
			if n := len(s.header.IDs.Segments); n > 0 {
				s.header.Schedule(record.ExpiryTimer, b.expiryDue(s.Key, s.header.IDs.Segments[n-1].Newest))
			}
		default:
			name, err := b.memory.timers.Read(t.Name)
			if err != nil {
				return err
			}
			identity := s.header.TimerIdentity(s.Key, name, t.Due)
			b.moment(s, t.Due, identity, &stream.Record{Offset: -1, Key: subjectKey(s.Key)})
			b.now = poison.Place{Offset: -1, Subject: s.Key, Timer: name, Due: t.Due}
			b.counts.Timers++
			if why, ok := b.earlier.At(b.now); ok {
				b.reject(s.record, identity, reason.Panic, why, s.Time)
			} else if err := b.watched(s, nil, name, func() { b.fire(s, name, time.UnixMilli(t.Due).UTC()) }); err != nil {
				return err
			}
		}
		b.touch(s)
		b.settle(s)
		// Whatever comes before this position in the log has been applied to this state of the record: a snapshot that
		// holds it must not repeat it.
		s.header.Applied = max(s.header.Applied, b.to.Offset-1)
	}
	return nil
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
		s, err := b.open(b.memory.by[key])
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
