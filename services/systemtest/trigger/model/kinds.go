package model

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// apply folds an event into a state, and gives what fires.
func (m *Model) apply(r Rule, s *state, e *event.Event, to concern, decide func(reason, id, firing string)) []string {
	switch r.kind {
	case "event":
		return []string{""}
	case "crossing", "depleted", "restored", "values", "percent":
		return r.compare(s, e, decide)
	case "absence":
		at := min(e.Time.UnixMilli(), m.now)
		switch {
		case to.role == "cancels":
			*s = state{sort: s.sort, ids: s.ids, windowFrom: s.windowFrom, fired: s.fired}
		case s.last != 0 && at <= s.last:
		case tooLarge(e):
			decide("EVENT_TOO_LARGE", e.ID, "")
			if s.due != 0 {
				s.last = at
			}
		default:
			s.last, s.set, s.text = at, e.ID, textOf(e)
			if s.due == 0 {
				s.due = at + r.absence*1000
			}
		}
		return nil
	}
	role := to.role
	if role == "matches" && !r.Active {
		role = "cancels"
	}
	switch role {
	case "renews":
		if s.due != 0 && !tooLarge(e) {
			s.text = textOf(e)
		}
	case "cancels":
		if s.due != 0 {
			decide("CANCELLED", s.set, time.UnixMilli(s.due).UTC().Format("2006-01-02T15:04:05.000Z"))
		}
		s.due = 0
	default:
		wall := inBerlin(min(e.Time.UnixMilli(), m.now))
		if r.from {
			date := e.Data.(*eventv1.DocumentChanged).GetDocument().GetDueDate()
			if date == nil {
				decide("FROM_ABSENT", e.ID, "")
				return nil
			}
			wall = inBerlin(date.AsTime().UnixMilli()) / (24 * msHour) * (24 * msHour)
		}
		if s.due = 0; tooLarge(e) {
			decide("EVENT_TOO_LARGE", e.ID, "")
			return nil
		}
		s.wall, s.nth, s.left, s.set, s.text = wall, 0, r.repeatTimes, e.ID, textOf(e)
		s.due = max(r.moment(wall, 0), m.now)
	}
	return nil
}

// compare works a value.
func (r Rule) compare(s *state, e *event.Event, decide func(reason, id, firing string)) (firings []string) {
	value, before, of := r.read(e)
	if value == nil {
		return nil
	}
	if value.other(&ratio{currency: r.currency}) {
		decide("OTHER_CURRENCY", e.ID, "")
		return nil
	}
	if r.kind == "percent" {
		if of <= 0 {
			decide("OF_ABSENT", e.ID, "")
			return nil
		}
		value = &ratio{num: value.num * 100, den: of}
		if before != nil {
			before = &ratio{num: before.num * 100, den: of}
		}
	}
	if s.kept != nil {
		before = s.kept
	}
	if before != nil && before.other(value) {
		before = nil
	}
	s.kept = value
	from := func(n int64) bool { return before != nil && before.below(whole(n)) }      // it was below
	fromAbove := func(n int64) bool { return before != nil && whole(n).below(before) } // it was above
	reaches := func(n int64) bool { return !value.below(whole(n)) }                    // it is there or above
	falls := func(n int64) bool { return !whole(n).below(value) }                      // it is there or below
	switch r.kind {
	case "depleted", "restored":
		if s.phase == "" {
			start := value
			if before != nil {
				start = before
			}
			if s.phase = "depleted"; start.num > 0 {
				s.phase = "restored"
			}
		}
		turned := ""
		if s.phase == "restored" && fromAboveOf(before, value) && falls(0) {
			turned = "depleted"
		} else if s.phase == "depleted" && before != nil && before.below(value) && reaches(0) {
			turned = "restored"
		}
		if turned != "" {
			s.phase = turned
		}
		if turned == r.kind {
			firings = append(firings, turned)
		}
	case "crossing":
		if !s.up && from(r.up) && reaches(r.up) {
			firings, s.up = append(firings, fmt.Sprintf("up %d", r.up)), true
		} else if value.below(whole(r.up - r.rearm)) {
			s.up = false
		}
		if !s.down && fromAbove(r.down) && falls(r.down) {
			firings, s.down = append(firings, fmt.Sprintf("down %d", r.down)), true
		} else if whole(r.down + r.rearm).below(value) {
			s.down = false
		}
	default:
		maps.DeleteFunc(s.passed, func(n int64, _ bool) bool { return !slices.Contains(r.list, n) })
		for _, n := range r.list {
			if !s.passed[n] && from(n) && reaches(n) {
				firings = append(firings, fmt.Sprint(n))
				if s.passed == nil {
					s.passed = map[int64]bool{}
				}
				s.passed[n] = r.rearm > 0
			} else if value.below(whole(n - r.rearm)) {
				delete(s.passed, n)
			}
		}
	}
	return firings
}

func fromAboveOf(before, value *ratio) bool { return before != nil && value.below(before) }
