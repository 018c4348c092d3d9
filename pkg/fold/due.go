package fold

import (
	"context"
	"fmt"

	"github.com/tollgate/tollgate/pkg/fold/internal/duelist"
	"github.com/tollgate/tollgate/pkg/state"
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

// dueChunk is a step of work off the due lists.
type dueChunk struct {
	subjects []string
	minute   int64 // of the list they come from
	cursor   int64 // minute and position afterwards
	position int64
	drop     bool // the list of minute is worked off
	soon     bool // what is due within the minute; its list stays

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
	if c.soon {
		c.subjects = c.subjects[:len(c.subjects)/2]
	} else {
		c.subjects, c.position = duelist.Read(c.list, c.from, len(c.subjects)/2)
	}
	return c
}

// dueWork is what an owner remembers of the lists between batches.
type dueWork struct {
	list   []byte // of the watermark's minute, nil when not read
	probed int64  // no list stands from the watermark's minute up to here
	ahead  int64  // the same, by the owner's clock

	// soon is what the list of the minute that log time is in still holds; taken is the part that is being worked.
	soon  duelist.List
	taken []duelist.Entry
	// next is the minute that the owner's clock is in, where that is another; of its entries only the first is of
	// interest.
	next duelist.List
}

// concluded takes over what a committed batch did.
func (d *dueWork) concluded(c dueChunk, appends []state.Entry) {
	if c.drop {
		d.list = nil
	}
	if c.soon {
		for _, e := range d.taken[len(c.subjects):] { // did not fit
			d.soon.Push(e)
		}
		d.taken = nil
	}
	for _, e := range appends {
		minute := duelist.MinuteOfKey(e.Key)
		d.probed, d.ahead = min(d.probed, minute-1), min(d.ahead, minute-1)
		d.soon.Add(minute, e.Value)
		d.next.Add(minute, e.Value)
	}
}

// outstanding says whether something may be due that log time has reached.
func (d *dueWork) outstanding(w *state.Watermark) bool {
	if w.DueMinute == 0 {
		return false
	}
	minute := duelist.Reached(w.LogTime)
	return d.list != nil || d.probed < minute || len(d.taken) > 0 || d.soon.Minute != minute+1 || d.soon.DueBy(w.LogTime)
}

// nextDue finds the next step of what log time has reached: first whole lists, then what is due within the minute that
// it is in.
func (o *Owner[B, C]) nextDue(ctx context.Context) (dueChunk, error) {
	d, w := &o.due, &o.w
	by := duelist.Reached(w.LogTime)
	c := dueChunk{minute: w.DueMinute, cursor: w.DueMinute, position: w.DuePosition}
	if w.DueMinute == 0 {
		return c, nil
	}
	if d.list == nil && d.probed >= by {
		return o.nextSoon(ctx, c)
	}
	if d.list == nil {
		minute, list, err := o.findDue(ctx, max(w.DueMinute, d.probed+1), by)
		if err != nil {
			return c, err
		}
		if list == nil {
			d.probed = by
			return o.nextSoon(ctx, c)
		}
		if minute != w.DueMinute {
			c.minute, c.cursor, c.position = minute, minute, 0
			d.probed = minute - 1
		}
		d.list = list
	}
	if c.position >= int64(len(d.list)) {
		// Timers fired from the list may have added to it.
		values, err := o.config.Store.Load(ctx, o.place.partition, o.stored, []string{duelist.Key(c.minute)})
		if err != nil {
			return c, fmt.Errorf("read due list: %w", err)
		}
		d.list = values[0]
	}
	c.list, c.from = d.list, c.position
	c.subjects, c.position = duelist.Read(d.list, c.position, o.config.DueStep)
	if len(c.subjects) == 0 {
		c.drop, c.cursor, c.position = true, c.minute+1, 0
	}
	return c, nil
}

// nextSoon is the step of what is due within the minute that log time is in.
func (o *Owner[B, C]) nextSoon(ctx context.Context, none dueChunk) (dueChunk, error) {
	d, minute := &o.due, duelist.Reached(o.w.LogTime)+1
	if err := o.readMinute(ctx, &d.soon, minute); err != nil {
		return none, err
	}
	c := none
	for len(c.subjects) < o.config.DueStep && d.soon.DueBy(o.w.LogTime) {
		e := d.soon.Pop()
		d.taken = append(d.taken, e)
		c.subjects = append(c.subjects, e.Subject)
	}
	if len(c.subjects) == 0 {
		return none, nil
	}
	c.minute, c.soon = minute, true
	return c, nil
}

// readMinute reads the list of a minute, unless it is the one that was read last: what a commit adds to that is taken
// over.
func (o *Owner[B, C]) readMinute(ctx context.Context, m *duelist.List, minute int64) error {
	if m.Minute == minute {
		return nil
	}
	values, err := o.config.Store.Load(ctx, o.place.partition, o.stored, []string{duelist.Key(minute)})
	if err != nil {
		return fmt.Errorf("read due list: %w", err)
	}
	*m = duelist.Parse(minute, values[0])
	return nil
}

const probeStep = 500

// findDue reads the first list there is between two minutes, both included.
func (o *Owner[B, C]) findDue(ctx context.Context, from, to int64) (int64, []byte, error) {
	for ; from <= to; from += probeStep {
		keys := make([]string, 0, probeStep)
		for m := from; m <= to && m < from+probeStep; m++ {
			keys = append(keys, duelist.Key(m))
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
	if !c.soon {
		b.to.DueMinute, b.to.DuePosition = c.cursor, c.position
		if c.drop {
			b.deletes = append(b.deletes, duelist.Key(c.minute))
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
		// Of a minute that goes on, an entry that is still to come stands for itself.
		if duelist.MinuteOf(s.header.Listed) == c.minute && (!c.soon || s.header.Listed <= b.to.LogTime) {
			s.header.Listed = 0
			b.touch(s)
		}
		if err := b.due(s, b.to.LogTime); err != nil {
			return err
		}
	}
	return nil
}
