package fold

import (
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/wire"
)

// Due times stand in records; a list per minute says whose. A timer due within
// a minute, its end included, stands in the list of that end, with how long
// before it. A list is worked whole once log time has reached its end; until then
// what is due in it is worked as log time reaches that. An entry whose record is
// not due is passed over: a subject that is touched fires its own timers, and a
// timer may have moved.

const minuteMillis = 60_000

// minuteOf is the minute under which a due time is listed.
func minuteOf(due int64) int64 { return (due + minuteMillis - 1) / minuteMillis }

// reached is the last minute that log time has reached.
func reached(logTime int64) int64 { return logTime / minuteMillis }

// list returns the time under which the subject must be listed now, or 0. It
// stands in one list at a time: a timer that moves later keeps its entry, which
// is listed again when it comes up; one that moves earlier has another.
func (s *Subject[B]) list(cursor int64) int64 {
	if len(s.header.timers) == 0 {
		return 0
	}
	at := max(s.header.timers[0].due, firstOf(cursor))
	if s.header.listed != 0 && minuteOf(s.header.listed) >= cursor && s.header.listed <= at {
		return 0
	}
	s.header.listed = at
	return at
}

// firstOf is the first time that is listed under a minute.
func firstOf(minute int64) int64 { return (minute-1)*minuteMillis + 1 }

// dueEntry is a subject in a list, and when its timer is due.
type dueEntry struct {
	subject string
	at      int64
}

func appendDue(list []byte, subject string, at int64) []byte {
	list = binary.AppendUvarint(list, uint64(len(subject)))
	list = append(list, subject...)
	return binary.AppendUvarint(list, uint64(minuteOf(at)*minuteMillis-at))
}

// readDue takes at most n subjects off a list, from a position, and returns
// the position behind them.
func readDue(list []byte, from int64, n int) (subjects []string, next int64) {
	if from >= int64(len(list)) {
		return nil, from
	}
	r := wire.Reader{Rest: list[from:]}
	for len(subjects) < n && len(r.Rest) > 0 && !r.Bad {
		subjects = append(subjects, string(r.Bytes(r.Uvarint())))
		r.Uvarint()
	}
	return subjects, int64(len(list) - len(r.Rest))
}

// within are the entries of a minute's list that are due before its end.
func within(list []byte, minute int64) (entries []dueEntry) {
	r := wire.Reader{Rest: list}
	for len(r.Rest) > 0 && !r.Bad {
		subject := r.Bytes(r.Uvarint())
		if before := int64(r.Uvarint()); before > 0 && !r.Bad {
			entries = append(entries, dueEntry{string(subject), minute*minuteMillis - before})
		}
	}
	return entries
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
		c.subjects, c.position = readDue(c.list, c.from, len(c.subjects)/2)
	}
	return c
}

// dueWork is what an owner remembers of the lists between batches.
type dueWork struct {
	list   []byte // of the watermark's minute, nil when not read
	probed int64  // no list stands from the watermark's minute up to here
	ahead  int64  // the same, by the owner's clock

	// soon is what the list of the minute that log time is in still holds; taken is
	// the part that is being worked.
	soon  minuteList
	taken []dueEntry
	// next is the minute that the owner's clock is in, where that is another; of its
	// entries only the first is of interest.
	next minuteList
}

// minuteList is what is due within a minute, before its end.
type minuteList struct {
	minute  int64 // 0: not read
	entries dueHeap
}

// add takes over what a commit has added to a list.
func (m *minuteList) add(minute int64, list []byte) {
	if m.minute != minute {
		return
	}
	for _, e := range within(list, minute) {
		heap.Push(&m.entries, e)
	}
}

// dueBy says whether something is due by a time.
func (m *minuteList) dueBy(at int64) bool { return len(m.entries) > 0 && m.entries[0].at <= at }

// dueHeap has what is due first in front.
type dueHeap []dueEntry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(e any)        { *h = append(*h, e.(dueEntry)) }

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}

// concluded takes over what a committed batch did.
func (d *dueWork) concluded(c dueChunk, appends []state.Entry) {
	if c.drop {
		d.list = nil
	}
	if c.soon {
		for _, e := range d.taken[len(c.subjects):] { // did not fit
			heap.Push(&d.soon.entries, e)
		}
		d.taken = nil
	}
	for _, e := range appends {
		minute := minuteIn(e.Key)
		d.probed, d.ahead = min(d.probed, minute-1), min(d.ahead, minute-1)
		d.soon.add(minute, e.Value)
		d.next.add(minute, e.Value)
	}
}

func minuteIn(key string) int64 {
	m, _ := strconv.ParseInt(key[len(duePrefix):], 10, 64)
	return m
}

// outstanding says whether something may be due that log time has reached.
func (d *dueWork) outstanding(w *state.Watermark) bool {
	if w.DueMinute == 0 {
		return false
	}
	minute := reached(w.LogTime)
	return d.list != nil || d.probed < minute || len(d.taken) > 0 || d.soon.minute != minute+1 || d.soon.dueBy(w.LogTime)
}

// nextDue finds the next step of what log time has reached: first whole lists,
// then what is due within the minute that it is in.
func (o *Owner[B, C]) nextDue(ctx context.Context) (dueChunk, error) {
	d, w := &o.due, &o.w
	by := reached(w.LogTime)
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

// nextSoon is the step of what is due within the minute that log time is in.
func (o *Owner[B, C]) nextSoon(ctx context.Context, none dueChunk) (dueChunk, error) {
	d, minute := &o.due, reached(o.w.LogTime)+1
	if err := o.readMinute(ctx, &d.soon, minute); err != nil {
		return none, err
	}
	c := none
	for len(c.subjects) < o.config.DueStep && d.soon.dueBy(o.w.LogTime) {
		e := heap.Pop(&d.soon.entries).(dueEntry)
		d.taken = append(d.taken, e)
		c.subjects = append(c.subjects, e.subject)
	}
	if len(c.subjects) == 0 {
		return none, nil
	}
	c.minute, c.soon = minute, true
	return c, nil
}

// readMinute reads the list of a minute, unless it is the one that was read last:
// what a commit adds to that is taken over.
func (o *Owner[B, C]) readMinute(ctx context.Context, m *minuteList, minute int64) error {
	if m.minute == minute {
		return nil
	}
	values, err := o.config.Store.Load(ctx, o.place.partition, o.stored, []string{dueKey(minute)})
	if err != nil {
		return fmt.Errorf("read due list: %w", err)
	}
	*m = minuteList{minute: minute, entries: within(values[0], minute)}
	heap.Init(&m.entries)
	return nil
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
	if !c.soon {
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
		// Of a minute that goes on, an entry that is still to come stands for itself.
		if minuteOf(s.header.listed) == c.minute && (!c.soon || s.header.listed <= b.to.LogTime) {
			s.header.listed = 0
			b.touch(s)
		}
		if err := b.due(s, b.to.LogTime); err != nil {
			return err
		}
	}
	return nil
}
