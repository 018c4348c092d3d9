package kind

import (
	"encoding/binary"
	"hash/fnv"
	"time"
)

// Rule is a trigger with a state. One of its kinds is set; with none of them each match fires, for a notification that
// has only a cap.
type Rule struct {
	Crossing   *Crossing
	Balance    *Balance
	Thresholds *Thresholds
	Delayed    *Delayed
	Absence    *Absence
	// Cap bounds how often it fires; nil where nothing does.
	Cap *Cap
	// Silent is a rule that is not in force: its states follow the events, nothing fires and no timer is set by an event that
	// matches. Who has no state yet has none to follow: that is the caller's.
	Silent bool
	// Key and Field as they are written: a state of another kind, key or field is begun anew.
	Key, Field string
}

// Role is what an event is to a rule.
type Role byte

const (
	// Matches: it is of the trigger's types, and the filter holds.
	Matches Role = iota
	// Cancels ends a delay, or the absence of what has ended itself.
	Cancels
	// Renews is of the types that cancel and does not: a pending timer is rendered from it.
	Renews
)

// Input is what a kind reads of an event.
type Input struct {
	Role Role
	// Time is the event's own, not after Now, which is the log time.
	Time, Now time.Time
	// Value of the field, what it was before, and the whole it is a part of; each may be absent.
	Value, Before, Whole Number
	// Day is what a delay counts from; its zero value is absent.
	Day Day
	// Origin names the event, and Event is what is rendered when a timer fires.
	Origin Origin
	Event  []byte
}

// Firing is one time that a rule fires.
type Firing struct {
	// Name is unique among those of one event or timer: a threshold, a direction, the due time of a timer, or empty.
	Name string
	// Of a timer: the event that set it, the event to render, and the due time. Of an event they are empty.
	Set   Origin
	Event []byte
	Due   time.Time
}

// Reason is why something was held back.
type Reason byte

const (
	_ Reason = iota
	// Capped: the cap was reached in the window that Held names.
	Capped
	// NoWhole: thresholds are of a whole that is absent or 0.
	NoWhole
	// OtherCurrency: the value is of another currency than the rule's.
	OtherCurrency
	// TooLarge: the event has more than a timer holds.
	TooLarge
	// Cancelled: a timer that was pending, set by the event that Held names.
	Cancelled
	// NoDay: there is no day to count from.
	NoDay
	// Invalid: the value is no number that can be compared. It is the caller's, who reads it.
	Invalid
)

// Held is what was held back, for a Decision.
type Held struct {
	Reason Reason
	// Firing that it would have been.
	Firing string
	// First and Until are the window of the cap.
	First, Until time.Time
	// Set and Event are those of a timer that fired and was capped, or was cancelled; as of a Firing.
	Set   Origin
	Event []byte
}

// Result is what comes of an event or a timer.
type Result struct {
	Firings []Firing
	Held    []Held
	// Ends is when the state is of no use any more, if no event comes before; zero where it stays.
	Ends time.Time
	// NoBefore: there was a value, and nothing that it could be compared with.
	NoBefore bool
}

// print is the mark of kind, key and field.
func (r *Rule) print() uint32 {
	h := fnv.New32a()
	name := "event"
	switch {
	case r.Crossing != nil:
		name = "crossing"
	case r.Balance != nil:
		name = "balance"
	case r.Thresholds != nil:
		name = "thresholds"
	case r.Delayed != nil:
		name = "delayed"
	case r.Absence != nil:
		name = "absence"
	}
	var size [4]byte
	for _, part := range []string{name, r.Key, r.Field} {
		binary.BigEndian.PutUint32(size[:], uint32(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	return h.Sum32()
}

// current is a state of this rule as it now is: one of another kind, key or field is begun anew.
func (r *Rule) current(s State) State {
	if p := r.print(); s.print != p {
		return State{print: p}
	}
	return s
}

// Apply folds an event into the state.
func (r *Rule) Apply(s State, in Input) (State, Result) {
	s = r.current(s)
	var out Result
	switch {
	case r.Crossing != nil:
		r.Crossing.apply(&s, in, &out)
	case r.Balance != nil:
		r.Balance.apply(&s, in, &out)
	case r.Thresholds != nil:
		r.Thresholds.apply(&s, in, &out)
	case r.Delayed != nil:
		if r.Silent && in.Role == Matches {
			in.Role = Cancels // it replaces what is pending, and sets nothing
		}
		r.Delayed.apply(&s, in, &out)
	case r.Absence != nil:
		r.Absence.apply(&s, in, &out)
	case in.Role == Matches:
		out.Firings = []Firing{{}}
	}
	return s, r.finish(&s, in.Now, out)
}

// Fire works the timer of a state, which was due at a time. Where the rule is of another kind, key or field by now, or
// the timer was moved, nothing comes of it.
func (r *Rule) Fire(s State, due time.Time) (State, Result) {
	s = r.current(s)
	var out Result
	if s.due == 0 || s.due != due.UnixMilli() {
		return s, r.finish(&s, due, out)
	}
	s.due = 0
	switch {
	case r.Delayed != nil:
		r.Delayed.fire(&s, due, &out)
	case r.Absence != nil:
		r.Absence.fire(&s, due, &out)
	}
	return s, r.finish(&s, due, out)
}

// finish caps what fires, and gives when a state that ended may go: the window of its cap goes on.
func (r *Rule) finish(s *State, now time.Time, out Result) Result {
	if r.Silent {
		out.Firings, out.Held = nil, nil
	}
	r.Cap.apply(s, now, &out)
	if !s.idle() {
		return out
	}
	out.Ends = now
	if r.Cap != nil && s.fired > 0 {
		if until := time.UnixMilli(s.windowFrom).UTC().Add(r.Cap.Window); until.After(now) {
			out.Ends = until
		}
	}
	return out
}

// Cap lets N fire in a window that begins with the first of them and does not hold its end.
type Cap struct {
	N      uint64
	Window time.Duration
}

func (c *Cap) apply(s *State, at time.Time, out *Result) {
	if c == nil || len(out.Firings) == 0 {
		return
	}
	kept := out.Firings[:0]
	for _, f := range out.Firings {
		if s.fired == 0 || at.UnixMilli()-s.windowFrom >= c.Window.Milliseconds() {
			s.windowFrom, s.fired = at.UnixMilli(), 0
		}
		if s.fired >= c.N {
			first := time.UnixMilli(s.windowFrom).UTC()
			out.Held = append(out.Held, Held{
				Reason: Capped, Firing: f.Name, First: first, Until: first.Add(c.Window), Set: f.Set, Event: f.Event,
			})
			continue
		}
		s.fired++
		kept = append(kept, f)
	}
	out.Firings = kept
}
