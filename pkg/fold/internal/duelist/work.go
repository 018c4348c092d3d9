package duelist

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
)

// Step is some work off the lists.
type Step struct {
	Subjects []string
	Minute   int64 // of the list they come from
	Cursor   int64 // minute and position afterwards
	Position int64
	Drop     bool // the list of Minute is worked off
	Current  bool // what is due within the minute of the log time; its list stays

	list []byte // for Half
	from int64
}

// Any reports whether there is something to do that must be committed.
func (s Step) Any() bool { return len(s.Subjects) > 0 || s.Drop }

// Half is the same step with half of its subjects.
func (s Step) Half() Step {
	if len(s.Subjects) < 2 {
		return s
	}
	if s.Current {
		s.Subjects = s.Subjects[:len(s.Subjects)/2]
	} else {
		s.Subjects, s.Position = Read(s.list, s.from, len(s.Subjects)/2)
	}
	return s
}

// Work is what an owner remembers of its partition's lists between batches.
type Work struct {
	load func(ctx context.Context, keys []string) ([][]byte, error)
	size int // of a step, in subjects

	list          []byte // of the watermark's minute, nil when not read
	probed        int64  // no list stands from the watermark's minute up to here
	probedByClock int64  // the same, by the owner's clock

	// current is what the list of the minute that log time is in still holds; taken is the part that is being worked.
	current List
	taken   []Entry
	// clock is the minute that the owner's clock is in, where that is another; only its first entry is of interest.
	clock List
}

// NewWork works lists that load reads, size subjects at a time.
func NewWork(load func(ctx context.Context, keys []string) ([][]byte, error), size int) *Work {
	return &Work{load: load, size: size}
}

// Committed takes over what a committed batch did: its step, and what it added to lists.
func (w *Work) Committed(s Step, appends []state.Entry) {
	if s.Drop {
		w.list = nil
	}
	if s.Current {
		for _, e := range w.taken[len(s.Subjects):] { // did not fit
			w.current.Push(e)
		}
		w.taken = nil
	}
	for _, e := range appends {
		minute := MinuteOfKey(e.Key)
		w.probed, w.probedByClock = min(w.probed, minute-1), min(w.probedByClock, minute-1)
		w.current.Add(minute, e.Value)
		w.clock.Add(minute, e.Value)
	}
}

// InList reports whether a whole list is being worked.
func (w *Work) InList() bool { return w.list != nil }

// Outstanding reports whether something may be due that log time has reached.
func (w *Work) Outstanding(at *state.Watermark) bool {
	if at.DueMinute == 0 {
		return false
	}
	minute := Reached(at.LogTime)
	return w.list != nil || w.probed < minute || len(w.taken) > 0 || w.current.Minute != minute+1 || w.current.DueBy(at.LogTime)
}

// Next finds the next step of what log time has reached: first whole lists, then what is due within the minute that it is
// in.
func (w *Work) Next(ctx context.Context, at *state.Watermark) (Step, error) {
	by := Reached(at.LogTime)
	s := Step{Minute: at.DueMinute, Cursor: at.DueMinute, Position: at.DuePosition}
	if at.DueMinute == 0 {
		return s, nil
	}
	if w.list == nil && w.probed >= by {
		return w.nextCurrent(ctx, s, at.LogTime)
	}
	if w.list == nil {
		minute, list, err := w.find(ctx, max(at.DueMinute, w.probed+1), by)
		if err != nil {
			return s, err
		}
		if list == nil {
			w.probed = by
			return w.nextCurrent(ctx, s, at.LogTime)
		}
		if minute != at.DueMinute {
			s.Minute, s.Cursor, s.Position = minute, minute, 0
			w.probed = minute - 1
		}
		w.list = list
	}
	if s.Position >= int64(len(w.list)) {
		// Timers fired from the list may have added to it.
		values, err := w.load(ctx, []string{Key(s.Minute)})
		if err != nil {
			return s, fmt.Errorf("read due list: %w", err)
		}
		w.list = values[0]
	}
	s.list, s.from = w.list, s.Position
	s.Subjects, s.Position = Read(w.list, s.Position, w.size)
	if len(s.Subjects) == 0 {
		s.Drop, s.Cursor, s.Position = true, s.Minute+1, 0
	}
	return s, nil
}

// nextCurrent is the step of what is due within the minute that log time is in.
func (w *Work) nextCurrent(ctx context.Context, none Step, logTime int64) (Step, error) {
	minute := Reached(logTime) + 1
	if err := w.read(ctx, &w.current, minute); err != nil {
		return none, err
	}
	s := none
	for len(s.Subjects) < w.size && w.current.DueBy(logTime) {
		e := w.current.Pop()
		w.taken = append(w.taken, e)
		s.Subjects = append(s.Subjects, e.Subject)
	}
	if len(s.Subjects) == 0 {
		return none, nil
	}
	s.Minute, s.Current = minute, true
	return s, nil
}

// read reads the list of a minute, unless it is the one that was read last: what a commit adds to that is taken over.
func (w *Work) read(ctx context.Context, m *List, minute int64) error {
	if m.Minute == minute {
		return nil
	}
	values, err := w.load(ctx, []string{Key(minute)})
	if err != nil {
		return fmt.Errorf("read due list: %w", err)
	}
	*m = Parse(minute, values[0])
	return nil
}

const probeStep = 500

// find reads the first list there is between two minutes, both included.
func (w *Work) find(ctx context.Context, from, to int64) (int64, []byte, error) {
	for ; from <= to; from += probeStep {
		keys := make([]string, 0, probeStep)
		for m := from; m <= to && m < from+probeStep; m++ {
			keys = append(keys, Key(m))
		}
		values, err := w.load(ctx, keys)
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

// DueAt reports whether a timer is due by a time of the clock: one of a whole list, or within the minute of that time.
func (w *Work) DueAt(ctx context.Context, at *state.Watermark, now int64) (bool, error) {
	by := Reached(now)
	if by > w.probedByClock {
		_, list, err := w.find(ctx, max(at.DueMinute, w.probedByClock+1), by)
		if err != nil || list != nil {
			return list != nil, err
		}
		w.probedByClock = by
	}
	m := &w.current
	if m.Minute != by+1 {
		m = &w.clock
		if err := w.read(ctx, m, by+1); err != nil {
			return false, err
		}
	}
	return m.DueBy(now), nil
}

// Overdue is for how long the first timer has been due of those that are known, with the step that is next: of a whole list,
// of the minute that log time is in, or of that of the clock. It is below 0 where that is still to come, 0 where none is known.
func (w *Work) Overdue(next Step, now time.Time) time.Duration {
	at, ok := w.current.First()
	if !ok {
		at, ok = w.clock.First()
	}
	switch {
	case next.Any() && next.Current:
		at = w.taken[0].at
	case next.Any():
		at = FirstOf(next.Minute)
	case !ok:
		return 0
	}
	return now.Sub(time.UnixMilli(at))
}

// FirstByClock is when the first timer is due within the minute that the clock is in; not ok where there is none, or where
// that minute's list was not read yet.
func (w *Work) FirstByClock(now int64) (at int64, ok bool) {
	minute := Reached(now) + 1
	switch minute {
	case w.current.Minute:
		return w.current.First()
	case w.clock.Minute:
		return w.clock.First()
	}
	return 0, false
}
