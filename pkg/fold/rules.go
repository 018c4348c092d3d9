package fold

import (
	"cmp"
	"errors"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/poison"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/reason"
)

// RuleFold is a Fold that keeps records of rules: beside its own, a subject has one for each rule and key that an event
// selects. It is a record like any other, in the subject's partition, with ids and timers of its own. It follows from
// its own events alone, never from another record: so records of different moments, as a snapshot has them, fit. It has
// no sequence and no side record, does not move with its subject (Transfer), and a call selects none.
type RuleFold[B any] interface {
	// HasRule reports whether the configuration in force has a subject's rule, active or not. The record of one that it
	// lacks goes at its next timer, at most 90 days after its last use.
	HasRule(subject, code string) bool
	// ApplyRule folds an event, which has not been counted before, into the record of a rule, and returns what the
	// subject's Apply receives. It publishes, rejects and deletes nothing: a record that is no longer needed is
	// deleted by a timer, which may be due at once. A panic leaves this record alone as it is; the event is rejected as
	// PANIC, and nevertheless goes on to other rules and to its subject.
	ApplyRule(s *Subject[B], e *event.Event) any
	// Fire, of Fold, works the timers of these records too. What it publishes has no order. A rule that is not active
	// publishes nothing.
}

// Rule selects a record of a rule.
type Rule struct {
	// Code of the rule, and the key under which it keeps this record, "" where it has one a subject: at most 256 and
	// 1,024 bytes.
	Code, Key string
	// Size is the most that the body takes after an event, in bytes, whatever the event and the body before.
	Size int
}

// What the records of rules that one event changes may be and take together: they are committed in one step, with the
// subject's own.
const (
	MaxRules     = 200
	maxRuleBytes = 512 << 10
)

// unusedAfter is how long a record of a rule stands that nothing uses, where the rule is gone.
const unusedAfter = 90 * 24 * time.Hour

// selected are the records of rules that an event needs.
type selected[B any] struct {
	names []string
	sizes []int
	held  []*held[B]
	left  int // selected beyond what one event may change
	// What came of the event: what ApplyRule returned, by rule; whether one of the records had counted it before, or
	// another event under its id; what panicked; and whether a record is of a later offset: so is the subject's then.
	results              []any
	known, reused, later bool
	panicked             string
}

// selectRules takes as many rules as one event may change. How many follows from what is selected, not from what
// the records hold: a record that is applied again, after others, is left out as it was before.
func (o *Owner[B, C]) selectRules(en *entry[B], rules []Rule) error {
	if o.rules == nil {
		return errors.New("the fold keeps no records of rules")
	}
	en.rules = &selected[B]{names: make([]string, 0, min(len(rules), MaxRules)), sizes: make([]int, 0, min(len(rules), MaxRules))}
	bytes := 0
	for i, rule := range rules {
		name, err := record.RuleSubject(en.event.Key(), rule.Code, rule.Key)
		if err != nil {
			return err
		}
		// The name stands in the record's key, in a segment's and in a due list.
		if bytes += 3*len(name) + record.MaxRuleHeader + rule.Size; i == MaxRules || bytes > maxRuleBytes {
			en.rules.left = len(rules) - i
			break
		}
		en.rules.names, en.rules.sizes = append(en.rules.names, name), append(en.rules.sizes, rule.Size)
	}
	return nil
}

// Rule is what a record of a rule is kept under; code is "" for a subject's own.
func (s *Subject[B]) Rule() (subject, code, key string) { return record.SplitRule(s.Key) }

// rulesOf applies an event to the records of its rules.
func (b *batch[B]) rulesOf(en *entry[B]) error {
	of := en.rules
	of.results, of.known, of.reused, of.later, of.panicked = make([]any, len(of.held)), false, false, false, ""
	for _, h := range of.held {
		s, err := b.open(h)
		if err != nil {
			return err
		}
		if of.later = of.later || en.record.Offset <= s.header.Applied; en.record.Offset > s.header.Applied {
			if err := b.due(s, b.to.LogTime); err != nil {
				return err
			}
		}
	}
	if _, ok := b.earlier.At(poison.Place{Offset: en.record.Offset}); ok {
		return nil // it is rejected with its subject
	}
	b.counts.RulesLeft += of.left
	for i, h := range of.held {
		s := &h.subject
		if en.record.Offset <= s.header.Applied {
			continue
		}
		b.place(s, en, en.identity)
		if same, other := s.repeated(en); same || other {
			of.known, of.reused = of.known || same, of.reused || other
			continue
		}
		b.now = poison.Place{Offset: en.record.Offset, Subject: s.Key}
		if why, ok := b.earlier.At(b.now); ok {
			of.panicked = cmp.Or(of.panicked, why)
			continue
		}
		b.rule = s
		err := b.watched(s, en.event, "", func() {
			if of.results[i] = b.rules.ApplyRule(s, en.event); s.Exists {
				b.memory.scratch = b.append(b.memory.scratch[:0], s.Body)
				if n := len(b.memory.scratch); n > of.sizes[i] {
					b.misused("the record of a rule takes %d bytes, selected were %d", n, of.sizes[i])
				}
			}
		})
		if err != nil {
			return err
		}
		if s.state.effect {
			b.counted(s, en)
			if s.Exists && !s.header.Scheduled(record.UnusedTimer) {
				s.header.Schedule(record.UnusedTimer, b.to.LogTime+unusedAfter.Milliseconds())
			}
		}
		b.rule = nil
	}
	return nil
}

// results hands a subject what its rules have made of an event, and rejects that where one of them has panicked.
func (b *batch[B]) results(s *Subject[B], en *entry[B]) (rejected bool) {
	of := en.rules
	s.Results, s.RulesLeft = of.results, of.left
	if en.key == "" && of.known {
		b.counts.Duplicates++
	}
	if of.panicked != "" {
		b.reject(en.source(), en.identity, reason.Panic, of.panicked, b.logTime())
	}
	return of.panicked != ""
}

// ruleless takes the record of a rule that the configuration lacks away, when a timer of it is due.
func (b *batch[B]) ruleless(s *Subject[B]) bool {
	subject, code, _ := record.SplitRule(s.Key)
	if code == "" || b.rules == nil || b.rules.HasRule(subject, code) {
		return false
	}
	s.Exists = false
	return true
}

// notOfRule notes a misuse of a rule's record, which has none of what is named.
func (s *Subject[B]) notOfRule(what string) bool {
	of := record.IsRule(s.Key)
	if of {
		s.batch.misused("a record of a rule has no %s", what)
	}
	return of
}

// subjectKey is the key, in topics, of what concerns a record.
func subjectKey(name string) []byte {
	subject, _, _ := record.SplitRule(name)
	return []byte(subject)
}
