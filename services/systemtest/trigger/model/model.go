// Package model is an independent reading of the rules that keep a state, for tests and soaks: what the events and the time of
// a log lead to. It shares no code with pkg/rules and pkg/fold.
package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
)

// Model is what rules make of a log: plain whole numbers, a map of states, and every timer fires when log time has reached it.
type Model struct {
	// Revision is the one in force.
	Revision int64
	// Lines are of what is planned and decided.
	Lines []string
	// Rules is a rule by revision and code.
	Rules func(revision int64, code string) Rule

	now      int64 // log time in ms
	states   map[stateKey]*state
	subjects map[string]*ordered
}

// New is one of an empty log.
func New(rules func(revision int64, code string) Rule) *Model {
	return &Model{Rules: rules, states: map[stateKey]*state{}, subjects: map[string]*ordered{}}
}

type stateKey struct{ subject, code, key string }

// state is what is kept of one subject, rule and key.
type state struct {
	sort string // of the rule that it is of: kind, key and field
	ids  ids

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

// ordered is the record of what has an order.
type ordered struct {
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

// ids are the events that a state has counted. Each 32 of them are put away, and forgotten by a timer: a state whose rule
// is gone goes with that.
type ids struct {
	seen   map[string]bool
	groups [][]int64 // hours of the events; the last is being filled
	expiry int64
}

const msHour = 3_600_000

func (ids *ids) add(id string, now int64) {
	if ids.seen == nil {
		ids.seen = map[string]bool{}
	}
	ids.seen[id] = true
	hour := now / msHour
	ids.forget(hour-24, 2)
	n := len(ids.groups) - 1
	if n < 0 || len(ids.groups[n]) == 32 {
		if n >= 0 {
			ids.expiry = (hour + 25) * msHour
		}
		ids.groups = append(ids.groups, nil)
		n++
	}
	ids.groups[n] = append(ids.groups[n], hour)
}

func (ids *ids) forget(from int64, most int) {
	if n := len(ids.groups) - 1; n >= 0 {
		ids.groups[n] = slices.DeleteFunc(ids.groups[n], func(hour int64) bool { return hour < from })
	}
	for ; most > 0 && len(ids.groups) > 1 && ids.groups[0][31] < from; most-- {
		ids.groups = ids.groups[1:]
	}
}

func (m *Model) state(at stateKey, sort string) *state {
	s := m.states[at]
	if s == nil {
		return &state{sort: sort}
	}
	if s.sort != sort {
		*s = state{sort: sort, ids: s.ids}
	}
	return s
}

// Pass moves log time, and fires what is due.
func (m *Model) Pass(to int64) {
	m.now = max(m.now, to)
	var due []stateKey
	for at, s := range m.states {
		if s.next() <= m.now {
			due = append(due, at)
		}
	}
	slices.SortFunc(due, func(a, b stateKey) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, at := range due {
		for m.fire(at) {
		}
	}
}

// next is when the first timer of a state is due.
func (s *state) next() int64 {
	next := int64(math.MaxInt64)
	for _, at := range []int64{s.due, s.ended, s.ids.expiry} {
		if at != 0 {
			next = min(next, at)
		}
	}
	return next
}

// fire works the next timer of a state that is due.
func (m *Model) fire(at stateKey) bool {
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
	r := m.Rules(m.Revision, at.code)
	if !r.Exists || what == "end" {
		delete(m.states, at)
		return true
	}
	if what == "ids" {
		s.ids.forget(next/msHour-24, 1<<20)
		if s.ids.expiry = 0; len(s.ids.groups) > 1 {
			s.ids.expiry = (s.ids.groups[len(s.ids.groups)-2][31] + 25) * msHour
		}
		return true
	}
	due := s.due
	if s.sort != r.sort() {
		*s = state{sort: r.sort(), ids: s.ids}
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
func (s *state) idle() bool {
	return s.kept == nil && s.phase == "" && !s.up && !s.down && len(s.passed) == 0 && s.due == 0 && s.last == 0
}

// fires plans what a timer fires.
func (m *Model) fires(at stateKey, r Rule, s *state, due int64) {
	firing := time.UnixMilli(due).UTC().Format("2006-01-02T15:04:05.000Z")
	if !r.Active {
		return
	}
	if r.capped(s, due) {
		m.Lines = append(m.Lines, fmt.Sprintf("%d CAP %s %s %s %q by %s at %d", m.Revision, at.subject, r.code, s.set, at.key, firing, due))
		return
	}
	m.Lines = append(m.Lines, fmt.Sprintf("%d plan %s %s %s by %s at %d: %s, 0", m.Revision, at.subject, r.code, s.set, firing, due, s.text))
}

// capped counts a firing.
func (r Rule) capped(s *state, at int64) bool {
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
func (s *state) end(r Rule, now int64) {
	if s.ended = 0; !s.idle() {
		return
	}
	s.ended = now + 24*msHour
	if r.capN > 0 && s.fired > 0 {
		s.ended = max(s.ended, s.windowFrom+r.capWindow*1000)
	}
}

// moment is when the n-th time of a delay is, of days in Berlin.
func (r Rule) moment(wall, n int64) int64 {
	const day = 24 * msHour
	midnight := wall / day * day
	shown := wall
	if r.at >= 0 {
		shown = midnight + r.at*1000
	}
	shown += (r.days + n*r.repeatDays) * day
	if at := shown - 2*msHour; summer(at) {
		return at
	}
	return shown - msHour
}

// summer reports whether clocks in Berlin are two hours ahead of UTC, not one: from 1:00 of the last Sunday in March to that in
// October.
func summer(at int64) bool {
	year := time.UnixMilli(at).UTC().Year()
	last := func(month time.Month) int64 {
		end := time.Date(year, month, 31, 1, 0, 0, 0, time.UTC)
		return end.AddDate(0, 0, -int(end.Weekday())).UnixMilli()
	}
	return at >= last(time.March) && at < last(time.October)
}

// inBerlin is what clocks in Berlin show.
func inBerlin(at int64) int64 {
	if summer(at) {
		return at + 2*msHour
	}
	return at + msHour
}

// Event applies one, as of its place in the log.
func (m *Model) Event(e *event.Event) {
	type planned struct {
		rule   Rule
		key    string
		firing string
	}
	var plans []planned
	var held []string
	decide := func(r Rule, reason, id, key, firing string) {
		if r.Active {
			held = append(held, fmt.Sprintf("%d %s %s %s %s %q by %s at %d", m.Revision, reason, e.Subject, r.code, id, key, firing, m.now))
		}
	}
	for _, code := range Codes {
		r := m.Rules(m.Revision, code)
		if !r.Exists {
			continue
		}
		for _, to := range r.concerns(e) {
			if len(to.key) > 1024 {
				decide(r, "KEY_TOO_LARGE", e.ID, "", "")
				continue
			}
			at := stateKey{e.Subject, code, to.key}
			known := m.states[at] != nil
			if !known && !r.Active || known && m.states[at].ids.seen[e.ID] {
				continue
			}
			s := m.state(at, r.sort())
			firings := m.apply(r, s, e, to, func(reason, id, firing string) { decide(r, reason, id, to.key, firing) })
			if !r.Active {
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
		subject = &ordered{map[string]int64{}, map[string]bool{}}
		m.subjects[e.Subject] = subject
	}
	// Whether the subject's record is asked for is known before what fires.
	asked := false
	for _, code := range Codes {
		r := m.Rules(m.Revision, code)
		asked = asked || r.Exists && r.Active && r.ordered && !r.timed() && slices.ContainsFunc(r.concerns(e), func(c concern) bool { return c.role == "matches" && len(c.key) <= 1024 })
	}
	if asked && subject.seen[e.ID] {
		return
	}
	m.Lines = append(m.Lines, held...)
	for _, p := range plans {
		sequence := int64(0)
		if p.rule.ordered {
			subject.sequence[p.rule.endpoint()]++
			sequence = subject.sequence[p.rule.endpoint()]
			subject.seen[e.ID] = true
		}
		m.Lines = append(m.Lines, fmt.Sprintf("%d plan %s %s %s by %s at %d: %s, %d", m.Revision, e.Subject, p.rule.code, e.ID, p.firing, m.now, textOf(e), sequence))
	}
}
