package foldtest_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// ruled is a small trigger: an event names rules, each counts under a key, fires when its limit is passed, reminds of it by
// a timer, and ends by another. What fires with the event is numbered in the subject's record.
type ruled struct {
	revision int64
	// applied, where set, is called for each event that reaches the record of a rule.
	applied func(s *fold.Subject[account], e *event.Event)
}

// account is a subject's record or a rule's; a subject's spends nothing.
type account struct{ spent, events int64 }

const (
	rulesPanics  = 666 // in the last rule
	rulesSkips   = 6   // does nothing to a record of an odd number of events
	rulesForgets = 7   // cancels the reminder
	rulesEnds    = 8   // the record of the rule ends by a timer that is due at once
	rulesDeletes = 777 // the subject's record
	rulesLimit   = 20
	// Events of multiples of it have no order: the subject's record is not selected.
	rulesUnordered = 5

	topicOrdered   = "ordered"
	topicUnordered = "unordered"
	topicTimers    = "timers" // of what timers of rules publish
)

// ruledSize is that of a account.
const ruledSize = 16

// Rules come and go with the revisions.
func hasRule(revision int64, code string) bool    { return (revision+int64(code[0]))%7 != 0 }
func activeRule(revision int64, code string) bool { return (revision+int64(code[0]))%4 != 0 }

// named are the rules that an event names and that are active.
func named(revision int64, e *event.Event) (rules []fold.Rule) {
	for _, name := range strings.Fields(e.Data.(*eventv1.UsageCharged).GetService()) {
		code, key, _ := strings.Cut(name, "/")
		if hasRule(revision, code) && activeRule(revision, code) {
			rules = append(rules, fold.Rule{Code: code, Key: key, Size: ruledSize})
		}
	}
	return rules
}

func lastOf(rules []fold.Rule) fold.Rule { return rules[len(rules)-1] }

func (f *ruled) Configure(revision int64) error {
	f.revision = revision
	return nil
}

func (f *ruled) Decode(b []byte) (account, error) {
	if len(b) != ruledSize {
		return account{}, errors.New("record is not 16 bytes")
	}
	return account{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

func (f *ruled) Append(dst []byte, n account) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, uint64(n.spent)), uint64(n.events))
}

func amountOf(e *event.Event) int64 { return e.Data.(*eventv1.UsageCharged).GetNet().GetUnits() }

func (f *ruled) Select(e *event.Event) fold.Selection {
	s := fold.Selection{Key: e.Key(), Rules: named(f.revision, e)}
	if amountOf(e)%rulesUnordered == 0 {
		s.Key = ""
	}
	return s
}

func (f *ruled) HasRule(_, code string) bool { return hasRule(f.revision, code) }

func (f *ruled) ApplyRule(s *fold.Subject[account], e *event.Event) any {
	if f.applied != nil {
		f.applied(s, e)
	}
	n, amount := s.Body, amountOf(e)
	if amount == rulesSkips && n.events%2 == 1 {
		return nil
	}
	before := n.spent
	n.spent += amount
	n.events++
	s.Save(n)
	switch amount {
	case rulesPanics:
		if _, code, _ := s.Rule(); code == lastOf(named(f.revision, e)).Code {
			panic("unlucky rule")
		}
	case rulesForgets:
		s.Cancel("remind")
	case rulesEnds:
		s.Schedule("end", s.Time)
	}
	if before/rulesLimit == n.spent/rulesLimit {
		return nil
	}
	s.Schedule("remind", s.Time.Add(95*time.Second))
	return n.spent
}

func (f *ruled) Apply(s *fold.Subject[account], e *event.Event) {
	n, amount := s.Body, amountOf(e)
	if s.Key != "" && !s.Exists && amount != rulesDeletes {
		s.Schedule("renew", s.Time.Truncate(period).Add(period))
	}
	for i, result := range s.Results {
		spent, ok := result.(int64)
		if !ok {
			continue
		}
		rule := named(f.revision, e)[i]
		what := outcome{identity: at(s.Identity, s.Offset), kind: rule.Code + "/" + rule.Key, subject: e.Subject, spent: spent, at: s.Time, revision: s.Revision, topic: topicUnordered}
		if s.Key != "" {
			what.topic = topicOrdered
			what.sequence, what.previous = s.NextSequence()
			n.events++
		}
		s.Emit(what.record())
	}
	switch {
	case s.Key == "":
	case amount == rulesDeletes:
		s.Delete()
	default:
		n.spent += amount
		s.Save(n)
	}
}

func (f *ruled) Fire(s *fold.Subject[account], name string, due time.Time) {
	subject, code, key := s.Rule()
	what := outcome{identity: s.Identity, kind: name, subject: strings.TrimPrefix(subject, "acme/"), at: s.Time, revision: s.Revision, topic: topicTimers}
	n := s.Body
	switch name {
	case "renew":
		what.topic, what.spent = topicOrdered, n.spent
		what.sequence, what.previous = s.NextSequence()
		n.spent = 0
		s.Save(n)
		s.Emit(what.record())
		s.Schedule("renew", due.Add(period))
	case "remind":
		n.events++
		s.Save(n)
		if n.events%3 == 0 {
			s.Schedule("remind", due.Add(20*time.Second))
		}
		if activeRule(f.revision, code) {
			what.kind, what.spent = "remind "+code+"/"+key, n.spent
			s.Emit(what.record())
		}
	case "end":
		s.Delete()
	}
}

// at is the identity of an event at its place: where a record was deleted since, a repeat counts again.
func at(id event.Identity, offset int64) event.Identity {
	return event.Derive(id, strconv.FormatInt(offset, 10))
}

// outcome is what the fold publishes, and its model expects.
type outcome struct {
	topic, kind, subject      string
	identity                  event.Identity
	spent, sequence, previous int64
	at                        time.Time
	revision                  int64
}

func (o outcome) record() stream.Record {
	e := &event.Event{
		ID: event.Derive(o.identity, o.kind).String(), Source: "tollgate/simulation", Type: "safeguard.alert", Tenant: "acme", Subject: o.subject,
		Time: o.at, ReceivedAt: o.at,
		Data: &eventv1.Safeguard{
			Sequence: o.sequence, PreviousSequence: o.previous, Spent: &money.Money{Units: o.spent}, Limit: &money.Money{Units: o.revision}, Language: o.kind,
		},
	}
	r, err := e.Record(o.topic)
	must(err)
	return r
}

func ruling(steps int) foldtest.Simulation[account, int64] {
	return foldtest.Simulation[account, int64]{
		Steps:         steps,
		NewFold:       func() fold.Fold[account, int64] { return &ruled{} },
		Options:       fold.Options[int64]{Timers: []string{"renew", "remind", "end"}},
		Configuration: func(revision int64) int64 { return revision },
		Draw:          drawRuled,
		Unordered:     map[string]bool{topicTimers: true},
		Model:         compareRuled,
		Sequence: func(r stream.Record) (string, int64, bool) {
			e, err := event.Decode(r.Value)
			if err != nil {
				return "", 0, false
			}
			d, ok := e.Data.(*eventv1.Safeguard)
			return e.Subject, d.GetSequence(), ok && d.GetSequence() > 0
		},
	}
}

func drawRuled(r *rand.Rand, recent []*event.Event, now time.Time) *event.Event {
	amount := int64(1 + r.IntN(12))
	switch r.IntN(40) {
	case 0:
		amount = rulesPanics
	case 1, 2:
		amount = rulesDeletes
	}
	id, subject := "", fmt.Sprintf("4477%02d", r.IntN(1+r.IntN(4)))
	if len(recent) > 0 && r.IntN(25) == 0 { // an id used again for something else
		other := recent[r.IntN(len(recent))]
		id, subject = other.ID, other.Subject
	}
	var rules []string
	for _, code := range []string{"a", "b", "c", "d"} {
		if r.IntN(2) == 0 {
			rules = append(rules, code+"/"+[]string{"", "", "x", "y\x00z"}[r.IntN(4)])
		}
	}
	return &event.Event{
		ID: id, Source: "simulation", Type: "usage.charged", Tenant: "acme", Subject: subject, Time: now,
		Data: &eventv1.UsageCharged{Net: &money.Money{CurrencyCode: "EUR", Units: amount}, Service: strings.Join(rules, " ")},
	}
}
