package trigger

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// Timers of a rule's record.
const (
	// dueTimer is what the rule fires by.
	dueTimer = "due"
	// endTimer drops a state that is of no use any more.
	endTimer = "end"
)

// endedKept is how long a state that ended stands: while an event that it has counted is known again.
const endedKept = fold.WindowHours * time.Hour

// selected is the state of a rule that an event concerns.
type selected struct {
	rule *rules.Rule
	key  string
	role kind.Role
}

// selectStates adds the states of a match to what is selected.
func (m *matched) selectStates(to []fold.Rule, of rules.Match) []fold.Rule {
	for _, k := range of.States {
		m.states = append(m.states, selected{of.Rule, k.Key, k.Role})
		to = append(to, fold.Rule{Code: of.Rule.Code, Key: k.Key, Size: of.Rule.StateSize() + 1})
	}
	return to
}

// HasRule reports whether a notification of the subject's tenant has that code, active or not.
func (f *evaluation) HasRule(subject, code string) bool {
	tenant, _, _ := strings.Cut(subject, "/")
	return f.book != nil && f.book.known[notificationKey{tenant, code}] != nil
}

// ApplyRule folds the event into the state of one rule; Apply gets the kind.Result. A rule that is not active keeps the
// states that it has up to date, and begins none.
func (f *evaluation) ApplyRule(s *fold.Subject[body], _ *event.Event) any {
	found, _ := s.Memo.(*matched)
	e := found.event
	_, code, key := s.Rule()
	var of selected
	for _, one := range found.states {
		if one.key == key && one.rule.Code == code {
			of = one
		}
	}
	if !s.Exists && !of.rule.Active() {
		return nil
	}
	state, result := of.rule.Apply(s.Body.state, e, of.role, rules.At{Now: s.Time, Time: s.EventTime, Offset: s.Offset, Zone: f.book.zone(e.Tenant)})
	if s.Exists || !state.Empty() {
		keep(s, state, result)
	}
	return &result
}

// keep saves a state and sets its timers.
func keep(s *fold.Subject[body], state kind.State, result kind.Result) {
	s.Save(body{state: state, ofRule: true})
	if at, ok := state.Due(); ok {
		s.Schedule(dueTimer, at)
	} else if _, set := s.Due(dueTimer); set {
		s.Cancel(dueTimer)
	}
	switch _, set := s.Due(endTimer); {
	case !result.Ends.IsZero():
		at := s.Time.Add(endedKept)
		if result.Ends.After(at) {
			at = result.Ends
		}
		s.Schedule(endTimer, at)
	case set:
		s.Cancel(endTimer)
	}
}

// fireRule works a timer of a rule's record.
func (f *evaluation) fireRule(s *fold.Subject[body], name string, due time.Time) {
	subject, code, key := s.Rule()
	tenant, subject, _ := strings.Cut(subject, "/")
	rule := f.book.index.Stateful(tenant, code)
	if name != dueTimer || rule == nil { // without one the notification keeps no state any more, or can't be compiled
		s.Delete()
		return
	}
	state, result := rule.Fire(s.Body.state, due, f.book.zone(tenant))
	keep(s, state, result)
	var out fanOut
	for _, held := range result.Held {
		of, _ := f.timed(tenant, subject, key, due, held.Firing, held.Set, held.Event)
		f.held(s, of, rule, held)
	}
	for _, fires := range result.Firings {
		of, err := f.timed(tenant, subject, key, due, fires.Name, fires.Set, fires.Event)
		if err != nil { // its type is gone: nothing can be rendered
			f.decide(s, of, decision{rule: rule, reason: triggerv1.Decision_REASON_RENDER_ERROR, why: err})
			continue
		}
		f.actions(s, rule, []firing{of}, nil, &out)
		f.leftOut(s, of, &out)
	}
}

// firing is one time that a rule fires: with an event, or by a timer with the event that set it.
type firing struct {
	*rules.Occasion
	// name is unique among those of an event or a timer, key that of the state; both may be empty.
	name, key string
	// at is the event's own time, which a repeat of the producer has too, where the log time differs; or when the timer was
	// due. A delivery's id begins with it.
	at time.Time
	// offset of the event's record.
	offset int64
}

// timed is the firing of a timer. Where what it held can't be read, the event has no data, and err is why: enough to decide by.
func (f *evaluation) timed(tenant, subject, key string, due time.Time, name string, set kind.Origin, held []byte) (firing, error) {
	e, err := rules.Held(f.book.typesOf(tenant), tenant, subject, set, held)
	return firing{Occasion: f.book.occasion(e, due).Of(name), name: name, key: key, at: due, offset: set.Offset}, err
}

// resulting are the firings of one state of an event; what was held back is decided.
func (f *evaluation) resulting(s *fold.Subject[body], about func() *rules.Occasion, states []selected, i int, out *fanOut) (firings []firing) {
	if i >= len(s.Results) {
		return nil // one of those that are too many
	}
	result, ok := s.Results[i].(*kind.Result)
	if !ok || result == nil {
		return nil // it had counted the event before, or is not active
	}
	rule, key := states[i].rule, states[i].key
	for _, held := range result.Held {
		if out.full() {
			out.leave(rule, nil, 1)
			continue
		}
		out.planned++
		o := about()
		of := firing{Occasion: o, name: held.Firing, key: key, offset: s.Offset}
		if held.Reason == kind.Cancelled {
			of, _ = f.timed(o.Event.Tenant, o.Event.Subject, key, s.Time, held.Firing, held.Set, held.Event)
			held.Set.Source, held.Set.ID = o.Event.Source, o.Event.ID
		}
		f.held(s, of, rule, held)
	}
	for _, fires := range result.Firings {
		o := about().Of(fires.Name)
		of := firing{Occasion: o, name: fires.Name, key: key, at: o.Event.Time, offset: s.Offset}
		firings = append(firings, of)
	}
	return firings
}

// failed decides that a filter or a key failed.
func (f *evaluation) failed(s *fold.Subject[body], about func() *rules.Occasion, m rules.Match, out *fanOut) {
	if out.full() {
		out.leave(m.Rule, nil, 1)
		return
	}
	out.planned++
	reason := triggerv1.Decision_REASON_FILTER_ERROR
	if errors.Is(m.Err, rules.ErrKeyTooLarge) {
		reason = triggerv1.Decision_REASON_KEY_TOO_LARGE
	}
	f.decide(s, firing{Occasion: about(), offset: s.Offset}, decision{rule: m.Rule, reason: reason, why: m.Err})
}

var errStateFull = fmt.Errorf("one event changes at most %d states of notifications, 512 KiB together: those from here on, in order of codes, are as they were", fold.MaxRules)

// held decides why a firing was held back.
func (f *evaluation) held(s *fold.Subject[body], of firing, rule *rules.Rule, held kind.Held) {
	why := decision{rule: rule}
	switch held.Reason {
	case kind.Capped:
		why.reason = triggerv1.Decision_REASON_CAP
		why.why = fmt.Errorf("the cap is reached in the window from %s, its first firing, to %s", stamp(held.First), stamp(held.Until))
	case kind.Cancelled:
		why.reason = triggerv1.Decision_REASON_CANCELLED
		why.why = fmt.Errorf("event %q of %q cancelled it", held.Set.ID, held.Set.Source)
	case kind.NoWhole:
		why.reason, why.why = triggerv1.Decision_REASON_OF_ABSENT, errors.New("what thresholds are percent of is absent, 0 or less")
	case kind.OtherCurrency:
		why.reason, why.why = triggerv1.Decision_REASON_OTHER_CURRENCY, errors.New("the value is of another currency than what it is compared with")
	case kind.NoDay:
		why.reason, why.why = triggerv1.Decision_REASON_FROM_ABSENT, errors.New("the date to count from is absent")
	case kind.TooLarge:
		why.reason = triggerv1.Decision_REASON_EVENT_TOO_LARGE
		why.why = fmt.Errorf("a timer holds at most %d bytes of an event's data", kind.MaxHeld)
	case kind.Invalid:
		why.reason, why.why = triggerv1.Decision_REASON_VALUE_INVALID, errors.New("the value has too many digits, or is no number")
	}
	f.decide(s, of, why)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
