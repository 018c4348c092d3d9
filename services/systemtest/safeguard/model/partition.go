package model

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Partition has every subscriber of one partition of a log.
type Partition struct {
	*shared
	now      time.Time
	classes  map[string]*configv1.ClassOfService // by tenant/class
	tenants  map[string]*configv1.Tenant
	people   map[string]*person // by tenant/number
	outcomes []Outcome
}

// shared is what the partitions of a log hand to each other, and the answers of callers.
type shared struct {
	moves map[string]*move // the last to another number, by tenant, the old and the new one
	// settled are transfers and why they were refused, by id; empty where they were not.
	settled map[string]string
	// forwards are events that must come back under another number, by tenant, source and id: once at least.
	forwards map[string]*forward
	answers  map[string][]Answer
}

// New is a partition in which nothing has happened.
func New() *Partition {
	return (&Partition{shared: &shared{
		moves: map[string]*move{}, settled: map[string]string{}, forwards: map[string]*forward{}, answers: map[string][]Answer{},
	}}).Beside()
}

// Beside is another partition of the same log, to which subscribers of this one may change.
func (w *Partition) Beside() *Partition {
	return &Partition{shared: w.shared, classes: map[string]*configv1.ClassOfService{}, tenants: map[string]*configv1.Tenant{}, people: map[string]*person{}}
}

// Waits reports that an event can't happen before another partition has come further: the subscriber that it brings has not
// left its old number yet.
func (w *Partition) Waits(e *event.Event) bool {
	switch d := e.Data.(type) {
	case *controlv1.Transfer:
		_, settled := w.settled[e.ID]
		m := w.moves[e.Tenant+"/"+d.GetMsisdn()+"/"+e.Subject]
		return !settled && (m == nil || m.transfer != "" && m.transfer != e.ID)
	case *controlv1.TransferSettled:
		_, settled := w.settled[d.GetTransfer()]
		return !settled
	}
	return false
}

// forward is whether an event has to be sent on, and whether it was.
type forward struct{ owed, came bool }

func (w *Partition) forward(e *event.Event) *forward {
	f := w.forwards[key(e)]
	if f == nil {
		f = &forward{}
		w.forwards[key(e)] = f
	}
	return f
}

// person is one number and what is known of it.
type person struct {
	tenant, number string
	// alive is false before the activation, after the termination, and once the number was left for another.
	alive     bool
	class     string
	suspended bool
	activated time.Time
	lived     time.Time // own time of the last lifecycle event
	since     time.Time // own time at which it got the number from another, unless it had it before
	options   [3]*option

	dead            bool // it had a subscriber, of which a tombstone is left
	movedTo         string
	outgoing        *move     // on its way to another number, and not there yet
	previousNumbers []string  // numbers that it had before
	forget          time.Time // when the tombstone is forgotten

	pending      []waiting
	pendingUntil time.Time

	ids      map[string]remembered
	refunds  map[string]refunded  // events of which something was given back, by source and id
	sentOn   map[string]time.Time // when events were sent on from this number last
	calls    []accepted
	sequence int64
	// unpublished is true while nothing was published under the number since the subscriber got it; previousSequence is of
	// the last outcome before.
	unpublished      bool
	previousSequence int64
}

// previous is the sequence of the last outcome under the number.
func (p *person) previous() int64 {
	if p.unpublished {
		return p.previousSequence
	}
	return p.sequence
}

// waiting is usage that waits for an activation, and when it came.
type waiting struct {
	event *event.Event
	at    time.Time
}

// remembered is an event that was counted.
type remembered struct {
	content uint64
	at      time.Time
}

func (p *person) clone() *person {
	c := *p
	for i, o := range p.options {
		if o != nil {
			c.options[i] = o.clone()
		}
	}
	c.pending, c.calls, c.refunds = slices.Clone(p.pending), slices.Clone(p.calls), maps.Clone(p.refunds)
	return &c // ids are shared: an event enters them once it has happened
}

// callsWindow is how long calls are remembered.
const callsWindow = 24 * time.Hour

// window is how long ids are remembered.
func (w *Partition) window(tenant string) time.Duration {
	if d := w.tenants[tenant].GetSubscribers().GetDedupWindow(); d != nil {
		return d.AsDuration()
	}
	return 24 * time.Hour
}

func key(e *event.Event) string {
	return e.Tenant + "\x00" + e.Source + "\x00" + e.Subject + "\x00" + e.ID
}

// Now is the log's time.
func (w *Partition) Now() time.Time { return w.now }

// Take returns the outcomes since the last call.
func (w *Partition) Take() []Outcome {
	outcomes := w.outcomes
	w.outcomes = nil
	return outcomes
}

// Configure takes a configuration that is in force from a record of the log on.
func (w *Partition) Configure(stamp time.Time, s *configv1.Snapshot) {
	w.Pass(stamp)
	clear(w.classes)
	clear(w.tenants)
	for _, c := range s.GetClassesOfService() {
		w.classes[strings.Replace(strings.TrimPrefix(c.GetName(), "tenants/"), "/classesOfService/", "/", 1)] = c
	}
	for _, t := range s.GetTenants() {
		w.tenants[strings.TrimPrefix(t.GetName(), "tenants/")] = t
	}
}

// Pass moves the time forward; whatever is due by then happens.
func (w *Partition) Pass(stamp time.Time) {
	if stamp.After(w.now) {
		w.now = stamp
	}
	for _, k := range slices.Sorted(keys(w.people)) {
		w.due(w.people[k])
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Happen takes one record of the log that is no revision: an event, a command, a tick, or what one number hands to another.
func (w *Partition) Happen(stamp time.Time, e *event.Event) {
	if stamp.After(w.now) {
		w.now = stamp
	}
	if t, ok := e.Data.(*controlv1.Tick); ok {
		w.Pass(t.GetTime().AsTime())
		return
	}
	inner, forwarded := e, ""
	if f, ok := e.Data.(*controlv1.Forward); ok {
		sent, err := event.Decode(f.GetEvent())
		if err != nil {
			panic(err)
		}
		w.forward(sent).came = true
		inner, forwarded = sent, sent.Subject // the number it was meant for, however often it was sent on
		if forwarded == e.Subject {           // it was held there
			forwarded = ""
		}
	}
	p := w.person(e.Tenant, e.Subject)
	w.due(p)
	w.attempt(p, inner, forwarded, w.now, w.now)
}

func (w *Partition) person(tenant, number string) *person {
	p := w.people[tenant+"/"+number]
	if p == nil {
		p = blank(tenant, number)
		w.people[tenant+"/"+number] = p
	}
	return p
}

func blank(tenant, number string) *person {
	return &person{tenant: tenant, number: number, ids: map[string]remembered{}, sentOn: map[string]time.Time{}, refunds: map[string]refunded{}}
}

// attempt lets an event happen as a whole, or rejects it and changes nothing.
func (w *Partition) attempt(p *person, e *event.Event, forwarded string, at, came time.Time) {
	call := event.IsCommand(e.Type)
	if seen, ok := p.ids[key(e)]; !call && ok && at.Sub(seen.at) < w.window(p.tenant) {
		if seen.content != e.Content() {
			w.reject(p, e, "ID_REUSED")
		}
		return
	}
	before, outcomes := p.clone(), len(w.outcomes)
	t := &turn{partition: w, person: p, event: e, at: at, own: e.Time, came: came, cause: e.ID, forwarded: forwarded}
	if call {
		t.reference = e.ID
	}
	if t.own.After(came) {
		t.own = came
	}
	reasons := t.happen()
	if len(reasons) > 0 {
		*p = *before
		w.outcomes = w.outcomes[:outcomes]
		w.reject(p, e, reasons...)
		return
	}
	p.rest()
	if t.counts && !call {
		p.ids[key(e)] = remembered{content: e.Content(), at: at}
	}
}

func (w *Partition) reject(p *person, e *event.Event, reasons ...string) {
	slices.Sort(reasons)
	reasons = slices.Compact(reasons)
	// Bytes are rejected as they came: what was sent on still has the number that it was sent to.
	w.outcomes = append(w.outcomes, Outcome{
		Subject: e.Subject, Kind: "rejected", Cause: e.ID, Reasons: reasons, At: w.now, Elsewhere: p.number != e.Subject,
	})
}

// due lets a subscriber's timers fire, by due time, then option.
func (w *Partition) due(p *person) {
	for {
		best, fire := time.Time{}, func() {}
		consider := func(at time.Time, f func()) {
			if !at.IsZero() && !at.After(w.now) && (best.IsZero() || at.Before(best)) {
				best, fire = at, f
			}
		}
		for i, o := range p.options {
			if !p.alive || o == nil || p.outgoing != nil {
				continue
			}
			t := &turn{partition: w, person: p, at: o.end, timer: true}
			consider(o.end, func() { t.renew(Options[i]) })
			if len(o.late) > 0 {
				t := &turn{partition: w, person: p, at: o.lateDue, timer: true}
				consider(o.lateDue, func() { t.lateTimer(o) })
			}
		}
		consider(p.pendingUntil, func() { w.endPending(p) })
		consider(p.forget, func() {
			waits := *p
			*p = *blank(p.tenant, p.number)
			p.pending, p.pendingUntil = waits.pending, waits.pendingUntil
			for _, e := range p.pending {
				p.ids[key(e.event)] = waits.ids[key(e.event)]
			}
		})
		if best.IsZero() {
			return
		}
		fire()
		p.rest()
	}
}

// rest ends a turn, and with it the timer of late amounts where none is left to be published.
func (p *person) rest() {
	for _, o := range p.options {
		if o != nil && len(o.late) == 0 {
			o.lateDue = time.Time{}
		}
	}
}

// turn applies one event, command or timer to one subscriber.
type turn struct {
	partition *Partition
	person    *person
	event     *event.Event
	// at is the log's time, or when the timer was due; own the event's own time, not after the log's.
	at, own   time.Time
	came      time.Time // when the event came into the log
	cause     string
	reference string
	// forwarded is the number that the event was sent to, where that was another.
	forwarded string
	timer     bool
	// counts is set where something changed: only then the event's id is remembered.
	counts bool
}

// rule of an option by the subscriber's class; known is false where the class is gone.
func (t *turn) rule(o eventv1.Safeguard_Option) (r *rule, known bool) {
	c := t.partition.classes[t.person.tenant+"/"+t.person.class]
	if c == nil {
		return nil, false
	}
	return ruleOf(c, o), true
}

// publish adds an outcome about an option as it now is.
func (t *turn) publish(o *option, kind, reason string, edits ...func(*Outcome)) {
	p := t.person
	s := Outcome{
		Subject: p.number, Kind: kind, Option: o.which, State: o.state, Spent: o.spent, Limit: o.limit, Limited: o.limited,
		Currency: o.currency, Blocked: o.blocked, Reasons: []string{reason}, Cause: t.cause, At: t.at, Start: o.start, End: o.end, Day: o.day,
		Reference: t.reference, Previous: p.previous(), Sequence: max(p.sequence+1, t.at.UnixMilli()),
	}
	if kind == "alert" {
		s.Forecast = o.forecast(t.at)
	}
	for _, edit := range edits {
		edit(&s)
	}
	p.sequence, p.unpublished = s.Sequence, false
	t.counts = true
	t.partition.outcomes = append(t.partition.outcomes, s)
}

// turnBit computes the bit anew. It publishes a change of the bit after the other outcomes.
func (t *turn) turnBit(o *option, reason string, publish ...func()) {
	was := o.blocked
	o.blocked = o.block()
	for _, outcome := range publish {
		outcome()
	}
	switch {
	case o.blocked && !was:
		t.publish(o, "reached", reason)
	case was && !o.blocked:
		t.publish(o, "released", reason)
	}
}
