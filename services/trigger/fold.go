package trigger

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rules"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// forgetTimer drops positions that were not used for long.
const forgetTimer = "positions"

// evaluation is the fold of one partition's log.
type evaluation struct {
	// topic is the full name of a topic.
	topic func(name string) string
	// prefix of our own topics.
	prefix  string
	metrics *metrics
	book    *Book
	// trial is set where past events are folded only to find out what comes of them.
	trial *trial
}

// matched is what an event concerns, found once.
type matched struct {
	// event is as rules see it: of a type that its tenant declares, with the fields of the declaration in force.
	event *event.Event
	rules []rules.Match
	// states are those of the rules, in their order, as they are selected.
	states []selected
	// unevaluated is the number of rules whose filters were not evaluated, the first of which is next: the event costs
	// too much.
	next        *rules.Rule
	unevaluated int
}

// What one event may lead to. It can't be cut into batches.
const (
	maxPlanned   = 2000
	maxBytes     = 8 << 20
	maxRendering = 2_000_000 // units of pkg/expr: a fifth of a second
)

// fanOut is what an event has led to, and what is left out.
type fanOut struct {
	planned, bytes int
	cost           uint64
	rule           *rules.Rule // the first that is left out, and its action
	action         *rules.Plan
	left           int
}

// full reports whether anything is left out from here on.
func (f *fanOut) full() bool {
	return f.left > 0 || f.planned >= maxPlanned || f.bytes >= maxBytes || f.cost >= maxRendering
}

// leave counts n more that are left out.
func (f *fanOut) leave(r *rules.Rule, action *rules.Plan, n int) {
	if f.left == 0 {
		f.rule, f.action = r, action
	}
	f.left += n
}

func (f *fanOut) why() error {
	return fmt.Errorf("one event leads to at most %d deliveries, %d MiB of them and a fifth of a second of filters and texts: "+
		"%d deliveries and notifications from here on, in order of codes, are left out", maxPlanned, maxBytes>>20, f.left)
}

// Configure takes another revision's notifications and targets.
func (f *evaluation) Configure(b *Book) error {
	f.book = b
	return nil
}

// Decode reads a subject's positions, or a rule's state.
func (f *evaluation) Decode(b []byte) (body, error) { return decodeBody(b) }

// Append writes them.
func (f *evaluation) Append(dst []byte, b body) []byte { return b.append(dst) }

// Select matches the event. Most events concern no rule; of the rest only those need the subject's record that may lead to
// deliveries with an order, and those of rules that keep a state.
func (f *evaluation) Select(e *event.Event) fold.Selection {
	if f.book == nil {
		return fold.Selection{} // before the first revision there are no notifications
	}
	e = f.book.index.View(e)
	found, next, unevaluated := f.book.index.Match(e)
	if len(found) == 0 && unevaluated == 0 {
		return fold.Selection{}
	}
	memo := &matched{event: e, rules: found, next: next, unevaluated: unevaluated}
	out := fold.Selection{Memo: memo}
	for _, m := range found {
		out.Rules = memo.selectStates(out.Rules, m)
		if out.Key == "" && f.ordered(m, e) {
			out.Key = e.Key()
		}
	}
	return out
}

// ordered reports whether a match may lead to a delivery that has an order.
func (f *evaluation) ordered(m rules.Match, e *event.Event) bool {
	if !m.Fires && !m.MayFire() {
		return false
	}
	for _, action := range m.Rule.Actions {
		if _, ok := f.target(action, e); ok && action.Ordered {
			return true
		}
	}
	return false
}

// target is that of an action, else the tenant's default, where something may be planned for it: it exists, is no draft,
// and the event is not about itself, for a failing target would fail on the event of its failing.
func (f *evaluation) target(action *rules.Plan, e *event.Event) (target, bool) {
	if own, ok := action.Published(); ok {
		return target{Planning: own.Planning(), name: own.Target()}, true
	}
	to, ok := f.book.target(f.book.targetOf(action, e.Tenant))
	if !ok || to.Draft {
		return target{}, false
	}
	if about, ok := e.Data.(interface{ GetEndpoint() string }); ok && about.GetEndpoint() == to.name {
		return target{}, false
	}
	return to, true
}

// Apply plans what the event fires: by notification, then by action, by firing and by recipient.
func (f *evaluation) Apply(s *fold.Subject[body], e *event.Event) {
	found, ok := s.Memo.(*matched)
	if !ok {
		return
	}
	e = found.event
	own, took := s.Body.positions, false
	var out fanOut
	var made *rules.Occasion
	o := func() *rules.Occasion { // most events that change a state fire nothing, and need none
		if made == nil {
			made = f.book.occasion(e, s.Time)
		}
		return made
	}
	next := 0 // of the states
	for _, m := range found.rules {
		if m.Err != nil {
			f.failed(s, o, m, &out)
		}
		var firings []firing
		if m.Fires {
			firings = []firing{{Occasion: o(), at: e.Time, offset: s.Offset}}
		}
		for range m.States {
			firings = append(firings, f.resulting(s, o, found.states, next, &out)...)
			next++
		}
		var taken bool
		own, taken = f.actions(s, m.Rule, firings, own, &out)
		took = took || taken
	}
	if s.RulesLeft > 0 {
		of := found.states[len(found.states)-s.RulesLeft]
		f.decide(s, firing{Occasion: o(), offset: s.Offset, key: of.key}, decision{
			rule: of.rule, reason: triggerv1.Decision_REASON_STATE_FULL, why: errStateFull, count: int64(s.RulesLeft),
		})
	}
	if found.unevaluated > 0 {
		out.leave(found.next, nil, found.unevaluated)
	}
	if out.left > 0 {
		f.leftOut(s, firing{Occasion: o(), offset: s.Offset}, &out)
	}
	if !took {
		return
	}
	s.Save(body{positions: own})
	if _, ok := s.Due(forgetTimer); !ok {
		s.Schedule(forgetTimer, own.forget())
	}
}

// leftOut decides what a bound has left out.
func (f *evaluation) leftOut(s *fold.Subject[body], of firing, out *fanOut) {
	if out.left > 0 {
		f.decide(s, of, decision{
			rule: out.rule, action: out.action, reason: triggerv1.Decision_REASON_FAN_OUT, why: out.why(), count: int64(out.left),
		})
	}
}

// actions plans the actions of a rule, each for all firings.
func (f *evaluation) actions(s *fold.Subject[body], rule *rules.Rule, firings []firing, own positions, out *fanOut) (_ positions, took bool) {
	if len(firings) == 0 {
		return own, false
	}
	f.trial.fired(s, firings)
	for _, action := range rule.Actions {
		to, ok := f.target(action, firings[0].Event)
		if !ok {
			continue
		}
		for _, of := range firings {
			var taken bool
			own, taken = f.act(s, of, rule, action, to, own, out)
			took = took || taken
		}
	}
	return own, took
}

// act plans one action, a delivery for each recipient. It returns the positions, and whether one was taken.
func (f *evaluation) act(s *fold.Subject[body], of firing, rule *rules.Rule, action *rules.Plan, to target, own positions, out *fanOut) (positions, bool) {
	if out.full() {
		out.leave(rule, action, 1)
		return own, false
	}
	took := false
	decide := func(reason triggerv1.Decision_Reason, why error, count int) {
		f.decide(s, of, decision{rule, action, reason, why, int64(count)})
	}
	recipients := rule.Recipients(action, of.Occasion, to.name)
	switch {
	case recipients.Invalid > 0:
		out.planned++
		decide(triggerv1.Decision_REASON_INVALID_RECIPIENT, recipients.Why, recipients.Invalid)
	case len(recipients.To) == 0:
		out.planned++
		decide(triggerv1.Decision_REASON_NO_RECIPIENT, errNoRecipient, 0)
	}
	for _, recipient := range recipients.To {
		if out.full() {
			out.leave(rule, action, 1)
			continue
		}
		var at channel.Position
		if action.Ordered {
			at = own.next(recipient.OrderingKey)
		}
		out.planned++
		out.cost += action.Cost(of.Occasion, to.Planning)
		id, size, err := f.plan(s, of, rule, action, to, recipient, at)
		out.bytes += size
		switch {
		case errors.Is(err, channel.ErrTooLarge):
			decide(triggerv1.Decision_REASON_TOO_LARGE, err, 0)
		case err != nil:
			decide(triggerv1.Decision_REASON_RENDER_ERROR, err, 0)
		case action.Ordered:
			own = own.take(recipient.OrderingKey, id, s.Time)
			took = true
		}
	}
	return own, took
}

var errNoRecipient = errors.New("no user has the roles of the action, it names no address, and the event has no contact")

// Fire works a rule's timer, or forgets the positions that are due. One timer serves them all: it is never due later than
// the first of them, and moves only here, so that a position in use costs nothing.
func (f *evaluation) Fire(s *fold.Subject[body], name string, due time.Time) {
	if name != forgetTimer {
		f.fireRule(s, name, due)
		return
	}
	kept := s.Body.positions.keep(due)
	if len(kept) == 0 {
		s.Delete()
		return
	}
	s.Save(body{positions: kept})
	s.Schedule(forgetTimer, kept.forget())
}

// maxRecord bounds a delivery's record: a body and its other fields, each within its bound, are below.
const maxRecord = 1 << 20

// plan renders one delivery and emits it; size is the record's.
func (f *evaluation) plan(s *fold.Subject[body], of firing, rule *rules.Rule, action *rules.Plan, to target, recipient channel.Recipient, at channel.Position) (id string, size int, err error) {
	e := of.Event
	id = delivery.NewID(of.at, e.Tenant, e.Source, e.Subject, e.ID, rule.Code, action.Name, of.name, recipient.ID)
	if f.trial.planned(s, of, rule, action, id) {
		return id, 0, nil
	}
	message, err := rule.Render(action, of.Occasion, to.Planning, recipient, at)
	if err != nil {
		return "", 0, err
	}
	timing, err := rule.Timing(action, of.Occasion, recipient)
	if err != nil {
		return "", 0, fmt.Errorf("plan delivery: %w", err)
	}
	d := delivery.Delivery{
		ID: id, Tenant: e.Tenant, Notification: rule.Code, NotificationVersion: rule.Version, Action: action.Name, Firing: of.name,
		Endpoint: to.name, Recipient: recipient.Address,
		Event: delivery.EventReference{
			Source: e.Source, ID: e.ID, Type: e.Type, Subject: e.Subject, Time: e.Time,
			Topic: s.Topic, Partition: s.Partition, Offset: of.offset,
		},
		Ordered: action.Ordered, Sequence: at.Sequence, Previous: at.Previous,
		ContentType: message.ContentType, Body: message.Body, PlannedAt: s.Time, Revision: s.Revision, Trace: e.Trace, Correlation: e.Correlation,
		NotBefore: timing.NotBefore, ExpiresAt: timing.ExpiresAt, Collapse: timing.Collapse,
	}
	for _, h := range message.Headers {
		d.Headers = append(d.Headers, delivery.Header{Name: h.Name, Value: h.Value})
	}
	if own, ok := action.Published(); ok {
		d.Key = message.Key
		f.publish(s, of, &d, own, decision{rule: rule, action: action})
		return d.ID, len(d.Body), nil
	}
	r, err := d.Record(f.topic(action.Channel.Topic))
	if err != nil {
		return "", 0, fmt.Errorf("plan delivery: %w", err)
	}
	if size = len(r.Value); size > maxRecord {
		return "", 0, fmt.Errorf("plan delivery: %w: the record takes %d bytes", channel.ErrTooLarge, size)
	}
	s.Emit(r)
	f.metrics.planned()
	return d.ID, size, nil
}
