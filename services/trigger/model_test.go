package trigger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
)

// model is what the rules of a simulation make of a log, without the engine and without pkg/rules: plain whole numbers, a map
// of states, and every timer fires when log time has reached it.
type model struct {
	revision int64
	now      int64 // log time in ms
	states   map[stateKey]*modelState
	subjects map[string]*modelSubject
	lines    []string // of what is planned and decided
}

type stateKey struct{ subject, code, key string }

// modelState is what is kept of one subject, rule and key.
type modelState struct {
	sort string // of the rule that it is of: kind, key and field
	ids  modelIDs

	kept     *ratio
	up, down bool // not armed
	passed   map[int64]bool
	phase    string

	windowFrom, fired int64

	due, last int64
	wall      int64 // of the day that a delay counts from, as if its clocks were UTC's, in ms
	nth, left int64
	set, text string // the event, and what its text is
	ended     int64  // when the state goes
}

// modelSubject is the record of what has an order.
type modelSubject struct {
	sequence map[string]int64 // by endpoint
	seen     map[string]bool
}

// ratio is a value that is compared, of a currency or of none.
type ratio struct {
	num, den int64
	currency string
}

func whole(n int64) *ratio { return &ratio{num: n, den: 1} }

func (a *ratio) below(b *ratio) bool { return a.num*b.den < b.num*a.den }

func (a *ratio) other(b *ratio) bool {
	return a.currency != "" && b.currency != "" && a.currency != b.currency
}

// modelIDs are the events that a state has counted. Each 32 of them are put away, and forgotten by a timer: a state whose rule
// is gone goes with that.
type modelIDs struct {
	seen   map[string]bool
	groups [][]int64 // hours of the events; the last is being filled
	expiry int64
}

const modelHour = 3_600_000

func (ids *modelIDs) add(id string, now int64) {
	if ids.seen == nil {
		ids.seen = map[string]bool{}
	}
	ids.seen[id] = true
	hour := now / modelHour
	ids.forget(hour-24, 2)
	n := len(ids.groups) - 1
	if n < 0 || len(ids.groups[n]) == 32 {
		if n >= 0 {
			ids.expiry = (hour + 25) * modelHour
		}
		ids.groups = append(ids.groups, nil)
		n++
	}
	ids.groups[n] = append(ids.groups[n], hour)
}

func (ids *modelIDs) forget(from int64, most int) {
	if n := len(ids.groups) - 1; n >= 0 {
		ids.groups[n] = slices.DeleteFunc(ids.groups[n], func(hour int64) bool { return hour < from })
	}
	for ; most > 0 && len(ids.groups) > 1 && ids.groups[0][31] < from; most-- {
		ids.groups = ids.groups[1:]
	}
}

func (m *model) state(at stateKey, sort string) *modelState {
	s := m.states[at]
	if s == nil {
		return &modelState{sort: sort}
	}
	if s.sort != sort {
		*s = modelState{sort: sort, ids: s.ids}
	}
	return s
}

// pass moves log time, and fires what is due.
func (m *model) pass(to int64) {
	m.now = max(m.now, to)
	for _, at := range slices.SortedFunc(maps.Keys(m.states), func(a, b stateKey) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) {
		for m.fire(at) {
		}
	}
}

// fire works the next timer of a state that is due.
func (m *model) fire(at stateKey) bool {
	s := m.states[at]
	if s == nil {
		return false
	}
	next, what := int64(0), ""
	for _, timer := range []struct {
		due  int64
		what string
	}{{s.due, "due"}, {s.ended, "end"}, {s.ids.expiry, "ids"}} {
		if timer.due != 0 && timer.due <= m.now && (next == 0 || timer.due < next) {
			next, what = timer.due, timer.what
		}
	}
	if what == "" {
		return false
	}
	r := ruleAt(m.revision, at.code)
	if !r.exists || what == "end" {
		delete(m.states, at)
		return true
	}
	if what == "ids" {
		s.ids.forget(next/modelHour-24, 1<<20)
		if s.ids.expiry = 0; len(s.ids.groups) > 1 {
			s.ids.expiry = (s.ids.groups[len(s.ids.groups)-2][31] + 25) * modelHour
		}
		return true
	}
	due := s.due
	if s.sort != r.sort() {
		*s = modelState{sort: r.sort(), ids: s.ids}
		s.end(r, due)
		return true
	}
	s.due = 0
	if r.kind == "absence" {
		if later := s.last + r.absence*1000; later > due {
			s.due = later
			return true
		}
		m.fires(at, r, s, due)
		return true
	}
	m.fires(at, r, s, due)
	for s.left > 0 && r.repeatDays > 0 {
		s.left--
		s.nth++
		if later := r.moment(s.wall, s.nth); later > due {
			s.due = later
			return true
		}
	}
	s.end(r, due)
	return true
}

// idle reports that only the cap keeps something.
func (s *modelState) idle() bool {
	return s.kept == nil && s.phase == "" && !s.up && !s.down && len(s.passed) == 0 && s.due == 0 && s.last == 0
}

// fires plans what a timer fires.
func (m *model) fires(at stateKey, r simRule, s *modelState, due int64) {
	firing := time.UnixMilli(due).UTC().Format("2006-01-02T15:04:05.000Z")
	if !r.active {
		return
	}
	if r.capped(s, due) {
		m.lines = append(m.lines, fmt.Sprintf("%d CAP %s %s %s %q by %s at %d", m.revision, at.subject, r.code, s.set, at.key, firing, due))
		return
	}
	m.lines = append(m.lines, fmt.Sprintf("%d plan %s %s %s by %s at %d: %s, 0", m.revision, at.subject, r.code, s.set, firing, due, s.text))
}

// capped counts a firing.
func (r simRule) capped(s *modelState, at int64) bool {
	if r.capN == 0 {
		return false
	}
	if s.fired == 0 || at >= s.windowFrom+r.capWindow*1000 {
		s.windowFrom, s.fired = at, 0
	}
	if s.fired == r.capN {
		return true
	}
	s.fired++
	return false
}

// end lets the state go, a day later or when its cap is over.
func (s *modelState) end(r simRule, now int64) {
	if s.ended = 0; !s.idle() {
		return
	}
	s.ended = now + 24*modelHour
	if r.capN > 0 && s.fired > 0 {
		s.ended = max(s.ended, s.windowFrom+r.capWindow*1000)
	}
}

// moment is when the n-th time of a delay is, of days in Berlin: it is an hour ahead of UTC, from 1:00 of 30 March 2025 on two.
func (r simRule) moment(wall, n int64) int64 {
	const day = 24 * modelHour
	midnight := wall / day * day
	shown := wall
	if r.at >= 0 {
		shown = midnight + r.at*1000
	}
	shown += (r.days + n*r.repeatDays) * day
	clocks := time.Date(2025, 3, 30, 1, 0, 0, 0, time.UTC).UnixMilli()
	if summer := shown - 2*modelHour; summer >= clocks {
		return summer
	}
	return shown - modelHour
}

// inBerlin is what clocks in Berlin show.
func inBerlin(at int64) int64 {
	if at >= time.Date(2025, 3, 30, 1, 0, 0, 0, time.UTC).UnixMilli() {
		return at + 2*modelHour
	}
	return at + modelHour
}

// event applies one, as of its place in the log.
func (m *model) event(e *event.Event) {
	type planned struct {
		rule   simRule
		key    string
		firing string
	}
	var plans []planned
	var held []string
	decide := func(r simRule, reason, id, key, firing string) {
		if r.active {
			held = append(held, fmt.Sprintf("%d %s %s %s %s %q by %s at %d", m.revision, reason, e.Subject, r.code, id, key, firing, m.now))
		}
	}
	for _, code := range simCodes {
		r := ruleAt(m.revision, code)
		if !r.exists {
			continue
		}
		for _, to := range r.concerns(e) {
			if len(to.key) > 1024 {
				decide(r, "KEY_TOO_LARGE", e.ID, "", "")
				continue
			}
			at := stateKey{e.Subject, code, to.key}
			known := m.states[at] != nil
			if !known && !r.active || known && m.states[at].ids.seen[e.ID] {
				continue
			}
			s := m.state(at, r.sort())
			firings := m.apply(r, s, e, to, func(reason, id, firing string) { decide(r, reason, id, to.key, firing) })
			if !r.active {
				firings = nil
			}
			for _, f := range firings {
				if r.capped(s, m.now) {
					decide(r, "CAP", e.ID, to.key, f)
					continue
				}
				plans = append(plans, planned{r, to.key, f})
			}
			s.end(r, m.now)
			if known || !s.idle() || s.fired > 0 {
				m.states[at] = s
				s.ids.add(e.ID, m.now)
			}
		}
	}
	subject := m.subjects[e.Subject]
	if subject == nil {
		subject = &modelSubject{map[string]int64{}, map[string]bool{}}
		m.subjects[e.Subject] = subject
	}
	// Whether the subject's record is asked for is known before what fires.
	asked := false
	for _, code := range simCodes {
		r := ruleAt(m.revision, code)
		asked = asked || r.exists && r.active && r.ordered && !r.timed() && slices.ContainsFunc(r.concerns(e), func(c concern) bool { return c.role == "matches" && len(c.key) <= 1024 })
	}
	if asked && subject.seen[e.ID] {
		return
	}
	m.lines = append(m.lines, held...)
	for _, p := range plans {
		sequence := int64(0)
		if p.rule.ordered {
			subject.sequence[p.rule.endpoint()]++
			sequence = subject.sequence[p.rule.endpoint()]
			subject.seen[e.ID] = true
		}
		m.lines = append(m.lines, fmt.Sprintf("%d plan %s %s %s by %s at %d: %s, %d", m.revision, e.Subject, p.rule.code, e.ID, p.firing, m.now, textOf(e), sequence))
	}
}
