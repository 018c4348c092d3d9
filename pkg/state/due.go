package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
)

// Due times stand in records; a list per minute says whose. A timer due within
// a minute, its end included, stands in the list of that end, so that a list
// is worked whole once log time has reached it. An entry whose record is not
// due is passed over: a subject that is touched fires its own timers, and a
// timer may have moved.

const minuteMillis = 60_000

// minuteOf is the minute under which a due time is listed.
func minuteOf(due int64) int64 { return (due + minuteMillis - 1) / minuteMillis }

// reached is the last minute that log time has reached.
func reached(logTime int64) int64 { return logTime / minuteMillis }

// list returns the minute under which the subject must be listed now, or 0. It
// stands in one list at a time: a timer that moves later keeps its entry,
// which is listed again when it comes up.
func (s *Subject[B]) list(cursor int64) int64 {
	if len(s.header.timers) == 0 {
		return 0
	}
	minute := max(minuteOf(s.header.timers[0].due), cursor)
	if s.header.listed >= cursor && s.header.listed != 0 && s.header.listed <= minute {
		return 0
	}
	s.header.listed = minute
	return minute
}

func appendDue(list []byte, subject string) []byte {
	list = binary.AppendUvarint(list, uint64(len(subject)))
	return append(list, subject...)
}

// readDue takes at most n subjects off a list, from a position, and returns
// the position behind them.
func readDue(list []byte, from int64, n int) (subjects []string, next int64) {
	if from >= int64(len(list)) {
		return nil, from
	}
	r := reader{b: list[from:]}
	for len(subjects) < n && len(r.b) > 0 && !r.bad {
		subjects = append(subjects, string(r.bytes(int(r.uvarint()))))
	}
	return subjects, int64(len(list) - len(r.b))
}

// dueChunk is a step of work off the due lists.
type dueChunk struct {
	subjects []string
	minute   int64 // of the list they come from
	cursor   int64 // minute and position afterwards
	position int64
	drop     bool // the list of minute is worked off
	peek     bool // only what is due now, the list stays

	list []byte // for half
	from int64
}

// any says whether there is something to do that must be committed.
func (c dueChunk) any() bool { return len(c.subjects) > 0 || c.drop }

// half is the same step with half of its subjects.
func (c dueChunk) half() dueChunk {
	if len(c.subjects) < 2 {
		return c
	}
	c.subjects, c.position = readDue(c.list, c.from, len(c.subjects)/2)
	return c
}

// dueWork is what an owner remembers of the lists between batches.
type dueWork struct {
	list   []byte // of the watermark's minute, nil when not read
	probed int64  // no list stands from the watermark's minute up to here
	ahead  int64  // the same, by the owner's clock
	peeked bool   // what is due within the current minute has been worked
	peek   []byte // the list of the minute that log time is in
	peekAt int64
}

// concluded takes over what a committed batch did.
func (d *dueWork) concluded(c dueChunk, appends []Entry) {
	if c.drop {
		d.list = nil
	}
	if c.peek {
		d.peekAt = c.position
	}
	for _, e := range appends {
		minute := minuteIn(e.Key)
		d.probed, d.ahead = min(d.probed, minute-1), min(d.ahead, minute-1)
	}
}

func minuteIn(key string) int64 {
	m, _ := strconv.ParseInt(key[len(duePrefix):], 10, 64)
	return m
}

// outstanding says whether something may be due that log time has reached.
func (d *dueWork) outstanding(w *Watermark) bool {
	return d.list != nil || w.DueMinute != 0 && d.probed < reached(w.LogTime)
}

// nextDue finds the next step among the lists up to a minute.
func (o *Owner[B, C]) nextDue(ctx context.Context, by int64) (dueChunk, error) {
	d, w := &o.due, &o.w
	c := dueChunk{minute: w.DueMinute, cursor: w.DueMinute, position: w.DuePosition}
	if w.DueMinute == 0 || d.list == nil && d.probed >= by {
		return c, nil
	}
	if d.list == nil {
		minute, list, err := o.findDue(ctx, max(w.DueMinute, d.probed+1), by)
		if err != nil {
			return c, err
		}
		if list == nil {
			d.probed = by
			return c, nil
		}
		if minute != w.DueMinute {
			c.minute, c.cursor, c.position = minute, minute, 0
			d.probed = minute - 1
		}
		d.list = list
	}
	if c.position >= int64(len(d.list)) {
		// Timers fired from the list may have added to it.
		values, err := o.config.Store.Load(ctx, o.place.partition, o.stored, []string{dueKey(c.minute)})
		if err != nil {
			return c, fmt.Errorf("read due list: %w", err)
		}
		d.list = values[0]
	}
	c.list, c.from = d.list, c.position
	c.subjects, c.position = readDue(d.list, c.position, o.config.DueStep)
	if len(c.subjects) == 0 {
		c.drop, c.cursor, c.position = true, c.minute+1, 0
	}
	return c, nil
}

const probeStep = 500

// findDue reads the first list there is between two minutes, both included.
func (o *Owner[B, C]) findDue(ctx context.Context, from, to int64) (int64, []byte, error) {
	for ; from <= to; from += probeStep {
		keys := make([]string, 0, probeStep)
		for m := from; m <= to && m < from+probeStep; m++ {
			keys = append(keys, dueKey(m))
		}
		values, err := o.config.Store.Load(ctx, o.place.partition, o.stored, keys)
		if err != nil {
			return 0, nil, fmt.Errorf("read due lists: %w", err)
		}
		for i, list := range values {
			if list != nil {
				return from + int64(i), list, nil
			}
		}
	}
	return 0, nil, nil
}

// dueList works a step of a list under the log time before the batch.
func (b *batch[B]) dueList(c dueChunk) error {
	if !c.peek {
		b.to.DueMinute, b.to.DuePosition = c.cursor, c.position
		if c.drop {
			b.deletes = append(b.deletes, dueKey(c.minute))
		}
	}
	for _, key := range c.subjects {
		s, err := b.subject(key)
		if err != nil {
			return err
		}
		if !s.Exists {
			continue
		}
		if !c.peek && s.header.listed == c.minute {
			s.header.listed = 0
			b.touch(s)
		}
		if err := b.due(s, b.to.LogTime); err != nil {
			return err
		}
	}
	return nil
}

// dueWithinMinute works what is due by log time in the minute that is not over
// yet, and says when there is no more. A touched subject does so by itself; a
// change of the configuration needs it of all.
func (o *Owner[B, C]) dueWithinMinute(ctx context.Context) (done bool, err error) {
	d := &o.due
	if d.peeked || o.w.DueMinute == 0 {
		return true, nil
	}
	if d.peek == nil {
		values, err := o.config.Store.Load(ctx, o.place.partition, o.stored, []string{dueKey(reached(o.w.LogTime) + 1)})
		if err != nil {
			return false, fmt.Errorf("read due list: %w", err)
		}
		d.peek, d.peekAt = values[0], 0
	}
	subjects, next := readDue(d.peek, d.peekAt, o.config.DueStep)
	if len(subjects) == 0 {
		d.peek, d.peeked = nil, true
		return true, nil
	}
	c := dueChunk{subjects: subjects, position: next, peek: true, list: d.peek, from: d.peekAt}
	if err := o.batch(ctx, c, nil); err != nil {
		return false, err
	}
	return false, nil
}
