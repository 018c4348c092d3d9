package kind

import "slices"

// Crossing fires where a value passes Up, from below to it or above, or Down, from above to it or below. Either may be
// absent. What it was before is the value kept, else what the event gives, else nothing fires. Rearm is how far a value must go
// back beyond before the same side fires again.
type Crossing struct {
	Up, Down Number
	Rearm    Number
}

// The two sides, as a state keeps which of them is not armed.
var (
	sideUp   = Int(1)
	sideDown = Int(-1)
)

func (c *Crossing) apply(s *State, in Input, out *Result) {
	if in.Role != Matches || !in.Value.Present() {
		return
	}
	if !in.Value.comparable(c.Up) || !in.Value.comparable(c.Down) {
		out.Held = append(out.Held, Held{Reason: OtherCurrency})
		return
	}
	before, value := s.before(in), in.Value
	s.kept, out.NoBefore = value, !before.Present()
	if c.Up.Present() {
		if s.armed(sideUp) && before.Present() && before.cmp(c.Up) < 0 && value.cmp(c.Up) >= 0 {
			out.Firings = append(out.Firings, Firing{Name: "up " + c.Up.String()})
			s.disarm(sideUp)
		} else if value.cmp(c.Up.minus(c.Rearm)) < 0 {
			s.rearm(sideUp)
		}
	}
	if c.Down.Present() {
		if s.armed(sideDown) && before.Present() && before.cmp(c.Down) > 0 && value.cmp(c.Down) <= 0 {
			out.Firings = append(out.Firings, Firing{Name: "down " + c.Down.String()})
			s.disarm(sideDown)
		} else if value.cmp(c.Down.plus(c.Rearm)) > 0 {
			s.rearm(sideDown)
		}
	}
}

// before is what an event's value is compared with.
func (s *State) before(in Input) Number {
	if s.kept.Present() {
		if !s.kept.comparable(in.Value) {
			return Number{}
		}
		return s.kept
	}
	if !in.Before.comparable(in.Value) {
		return Number{}
	}
	return in.Before
}

func (s *State) armed(v Number) bool {
	return !slices.ContainsFunc(s.disarmed, func(n Number) bool { return n.cmp(v) == 0 })
}

func (s *State) disarm(v Number) { s.disarmed = append(slices.Clone(s.disarmed), v) }

func (s *State) rearm(v Number) {
	if !s.armed(v) {
		s.disarmed = slices.DeleteFunc(slices.Clone(s.disarmed), func(n Number) bool { return n.cmp(v) == 0 })
	}
}

// Balance fires "depleted" where a value that was restored falls to 0 or below, and "restored" where one that was depleted
// rises to 0 or above. It starts in the state of the first value's before: above 0 is restored.
type Balance struct {
	Depleted, Restored bool // which of them fire
}

func (b *Balance) apply(s *State, in Input, out *Result) {
	if in.Role != Matches || !in.Value.Present() {
		return
	}
	before, value := s.before(in), in.Value
	s.kept, out.NoBefore = value, !before.Present()
	if s.phase == unknown {
		start := value
		if before.Present() {
			start = before
		}
		s.phase = depleted
		if start.sign() > 0 {
			s.phase = restored
		}
	}
	if !before.Present() {
		return
	}
	switch {
	case s.phase == restored && value.sign() <= 0 && value.cmp(before) < 0:
		if s.phase = depleted; b.Depleted {
			out.Firings = append(out.Firings, Firing{Name: "depleted"})
		}
	case s.phase == depleted && value.sign() >= 0 && value.cmp(before) > 0:
		if s.phase = restored; b.Restored {
			out.Firings = append(out.Firings, Firing{Name: "restored"})
		}
	}
}

// Thresholds fires each of its values that a number passes from below, the lowest first. With Percent they are percent of
// the whole that the event gives, and so is what is kept.
type Thresholds struct {
	Values  []Number // ascending
	Percent bool
	Rearm   Number
}

func (c *Thresholds) apply(s *State, in Input, out *Result) {
	c.prune(s)
	if in.Role != Matches || !in.Value.Present() {
		return
	}
	value, given := in.Value, in.Before
	if !value.comparable(in.Whole) || !c.Percent && len(c.Values) > 0 && !value.comparable(c.Values[0]) {
		out.Held = append(out.Held, Held{Reason: OtherCurrency})
		return
	}
	if c.Percent {
		if !in.Whole.Present() || in.Whole.sign() <= 0 {
			out.Held = append(out.Held, Held{Reason: NoWhole})
			return
		}
		if value = value.percentOf(in.Whole); given.Present() {
			given = given.percentOf(in.Whole)
		}
	}
	before := s.before(Input{Value: value, Before: given})
	s.kept, out.NoBefore = value, !before.Present()
	for _, v := range c.Values {
		switch {
		case s.armed(v) && before.Present() && before.cmp(v) < 0 && value.cmp(v) >= 0:
			out.Firings = append(out.Firings, Firing{Name: v.String()})
			if c.Rearm.Present() { // else comparing is enough
				s.disarm(v)
			}
		case value.cmp(v.minus(c.Rearm)) < 0:
			s.rearm(v)
		}
	}
}

// prune keeps of an edited list what is still in it: a state is not larger than its rule has room for.
func (c *Thresholds) prune(s *State) {
	if len(s.disarmed) > 0 {
		s.disarmed = slices.DeleteFunc(slices.Clone(s.disarmed), func(n Number) bool {
			return !slices.ContainsFunc(c.Values, func(v Number) bool { return v.cmp(n) == 0 })
		})
	}
}
