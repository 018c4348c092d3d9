package foldtest_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// ruledModel is what ruled makes of a log, without the engine: every timer fires when log time has reached it, each
// record remembers the events that changed it.
type ruledModel struct {
	revision int64
	time     int64 // log time in ms
	records  map[string]*modelRecord
	lines    map[string][]string // of what is published, by topic and subject
}

type modelRecord struct {
	spent, events int64
	last          int64 // sequence
	timers        map[string]int64
	creator       event.Identity
	seen          []modelIDs // oldest first; the last is being filled
	expiry        int64      // when those filled are forgotten, at the latest
}

// modelIDs are up to 32 ids that a record remembers: full, they are forgotten together.
type modelIDs struct {
	ids    []modelID
	newest int64
}

type modelID struct {
	identity event.Identity
	content  uint64
	hour     int64
}

// counted reports whether an event changed the record before, or another under its id.
func (r *modelRecord) counted(identity event.Identity, content uint64) (same, other bool) {
	for _, group := range r.seen {
		for _, id := range group.ids {
			if id.identity == identity {
				return id.content == content, id.content != content
			}
		}
	}
	return identity == r.creator, false
}

const modelHour = 3_600_000

// remember enters an event that changed the record; most is how many groups are forgotten at once.
func (r *modelRecord) remember(identity event.Identity, content uint64, at int64, most int) {
	if r.creator == (event.Identity{}) {
		r.creator = identity
	}
	hour := at / modelHour
	r.forget(hour-24, most)
	n := len(r.seen) - 1
	if n < 0 || len(r.seen[n].ids) == 32 {
		if n >= 0 {
			r.expiry = (hour + 25) * modelHour
			r.seen[n].newest = r.seen[n].ids[31].hour
		}
		r.seen = append(r.seen, modelIDs{})
		n++
	}
	r.seen[n].ids = append(r.seen[n].ids, modelID{identity, content, hour})
}

func (r *modelRecord) forget(from int64, most int) {
	if n := len(r.seen) - 1; n >= 0 {
		r.seen[n].ids = slices.DeleteFunc(r.seen[n].ids, func(id modelID) bool { return id.hour < from })
	}
	for ; most > 0 && len(r.seen) > 1 && r.seen[0].newest < from; most-- {
		r.seen = r.seen[1:]
	}
}

func (m *ruledModel) due(key string) {
	for {
		r := m.records[key]
		if r == nil {
			return
		}
		if r.expiry > 0 && r.expiry <= m.time {
			if parts := strings.SplitN(key, "\x00", 3); len(parts) > 1 && !hasRule(m.revision, parts[1]) {
				delete(m.records, key)
				return
			}
			r.forget(r.expiry/modelHour-24, 1<<20)
			if r.expiry = 0; len(r.seen) > 1 {
				r.expiry = (r.seen[len(r.seen)-2].newest + 25) * modelHour
			}
			continue
		}
		name, due := "", int64(0)
		for _, n := range []string{"renew", "remind", "end"} { // of one time, in this order
			if at, ok := r.timers[n]; ok && at <= m.time && (name == "" || at < due) {
				name, due = n, at
			}
		}
		if name == "" {
			return
		}
		delete(r.timers, name)
		m.fire(key, r, name, due)
	}
}

func (m *ruledModel) fire(key string, r *modelRecord, name string, due int64) {
	parts := strings.SplitN(key, "\x00", 3)
	id := event.TimerIdentity("", key, name, time.UnixMilli(due))
	o := outcome{identity: id, subject: strings.TrimPrefix(parts[0], "acme/"), at: time.UnixMilli(due).UTC(), revision: m.revision}
	if len(parts) == 1 {
		o.topic, o.kind, o.spent = topicOrdered, name, r.spent
		o.sequence, o.previous = r.next(due)
		r.spent = 0
		r.timers[name] = due + period.Milliseconds()
		m.publish(o)
		return
	}
	if !hasRule(m.revision, parts[1]) || name == "end" {
		delete(m.records, key)
		return
	}
	r.events++
	if r.events%3 == 0 {
		r.timers[name] = due + 20_000
	}
	if activeRule(m.revision, parts[1]) {
		o.topic, o.kind, o.spent = topicTimers, "remind "+parts[1]+"/"+parts[2], r.spent
		m.publish(o)
	}
}

func (r *modelRecord) next(at int64) (sequence, previous int64) {
	previous = r.last
	r.last = max(r.last+1, at)
	return r.last, previous
}

func (m *ruledModel) publish(o outcome) { m.note(o.topic, o.record()) }

func (m *ruledModel) note(topic string, r stream.Record) {
	at := topic + " " + string(r.Key)
	m.lines[at] = append(m.lines[at], lineOf(r))
}

// lineOf is what of a record is compared.
func lineOf(r stream.Record) string {
	if reason, ok := r.Header(event.HeaderReason); ok {
		id, _ := r.Header(event.HeaderRejectedID)
		return fmt.Sprintf("%s %s", reason, id)
	}
	e, err := event.Decode(r.Value)
	must(err)
	d := e.Data.(*eventv1.Safeguard)
	return fmt.Sprintf("%s %s %s %s: %d of revision %d, %d after %d", e.Time.Format(time.RFC3339Nano), e.ID, e.Subject, d.GetLanguage(),
		d.GetSpent().GetUnits(), d.GetLimit().GetUnits(), d.GetSequence(), d.GetPreviousSequence())
}

// event counts one, as of its place in the log.
func (m *ruledModel) event(e *event.Event, offset int64) {
	amount, identity, rules := amountOf(e), e.Identity(), named(m.revision, e)
	record := func(key string) *modelRecord {
		if r := m.records[key]; r != nil {
			return r
		}
		return &modelRecord{timers: map[string]int64{}}
	}
	rejected := false
	reject := func(reason string) { // once
		if rejected {
			return
		}
		rejected = true
		at := "rejected " + e.Key()
		m.lines[at] = append(m.lines[at], reason)
	}
	reused := false
	results := make([]int64, len(rules))
	for i, rule := range rules {
		key := e.Key() + "\x00" + rule.Code + "\x00" + rule.Key
		r := record(key)
		if same, other := r.counted(identity, e.Content()); same || other {
			reused = reused || other
			continue
		}
		if amount == rulesPanics && i == len(rules)-1 { // it alone stays as it is
			reject("PANIC")
			continue
		}
		if amount == rulesSkips && r.events%2 == 1 {
			continue
		}
		before := r.spent
		r.spent += amount
		r.events++
		r.remember(identity, e.Content(), m.time, 2)
		m.records[key] = r
		switch amount {
		case rulesForgets:
			delete(r.timers, "remind")
		case rulesEnds:
			r.timers["end"] = m.time
		}
		if before/rulesLimit != r.spent/rulesLimit {
			r.timers["remind"] = m.time + 95_000
			results[i] = r.spent
		}
	}
	ordered := amount%rulesUnordered != 0
	s := record(e.Key())
	if ordered {
		if same, other := s.counted(identity, e.Content()); same || other {
			if other {
				reject("ID_REUSED")
			}
			return
		}
	}
	if reused {
		reject("ID_REUSED")
		return
	}
	now := time.UnixMilli(m.time).UTC()
	if m.records[e.Key()] == nil {
		s.timers["renew"] = now.Truncate(period).Add(period).UnixMilli()
	}
	for i, spent := range results {
		if spent == 0 {
			continue
		}
		o := outcome{identity: at(identity, offset), kind: rules[i].Code + "/" + rules[i].Key, subject: e.Subject, spent: spent, at: now, revision: m.revision, topic: topicUnordered}
		if ordered {
			o.topic = topicOrdered
			o.sequence, o.previous = s.next(m.time)
			s.events++
		}
		m.publish(o)
	}
	switch {
	case !ordered:
	case amount == rulesDeletes:
		delete(m.records, e.Key())
	default:
		s.spent += amount
		s.remember(identity, e.Content(), m.time, 1<<20)
		m.records[e.Key()] = s
	}
}

// compareRuled checks a history against the model: what was published, in its order where it has one, and the records.
func compareRuled(t testing.TB, seed uint64, log, published []stream.Record, bodies map[string][]byte) {
	t.Helper()
	m := &ruledModel{records: map[string]*modelRecord{}, lines: map[string][]string{}}
	for _, r := range log {
		e, err := event.Decode(r.Value)
		must(err)
		m.time = max(m.time, r.Time.UnixMilli())
		for key := range m.records {
			m.due(key)
		}
		switch data := e.Data.(type) {
		case *controlv1.Revision:
			m.revision = max(m.revision, data.GetRevision())
		case *eventv1.UsageCharged:
			m.event(e, r.Offset)
		}
	}
	for key := range m.records {
		m.due(key)
	}
	got := map[string][]string{}
	for _, r := range published {
		topic, _ := r.Header("simulation-topic")
		at, line := string(topic)+" "+string(r.Key), lineOf(r)
		if string(topic) == "rejected" {
			line, _, _ = strings.Cut(line, " ")
		}
		got[at] = append(got[at], line)
	}
	for at := range got {
		if strings.HasPrefix(at, topicTimers) {
			slices.Sort(got[at])
			slices.Sort(m.lines[at])
		}
	}
	for at := range m.lines {
		got[at] = append([]string(nil), got[at]...)
	}
	for at, lines := range got {
		if want := m.lines[at]; !slices.Equal(want, lines) {
			for i := range max(len(want), len(lines)) {
				if i >= len(want) || i >= len(lines) || want[i] != lines[i] {
					t.Errorf("seed %d: %s: the model differs from the %dth on:\nwant %q\ngot  %q", seed, at, i, want[min(i, len(want)):], lines[min(i, len(lines)):])
					break
				}
			}
		}
	}
	for key, r := range m.records {
		body := bodies["r:"+key]
		if len(body) != ruledSize || int64(binary.BigEndian.Uint64(body)) != r.spent || int64(binary.BigEndian.Uint64(body[8:])) != r.events {
			t.Errorf("seed %d: record %q is %x; the model has %d of %d events", seed, key, body, r.spent, r.events)
		}
		delete(bodies, "r:"+key)
	}
	for key, body := range bodies {
		t.Errorf("seed %d: record %q is %x; the model has none", seed, key, body)
	}
}
