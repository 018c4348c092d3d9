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
	topic   func(name string) string
	metrics *metrics
	book    *Book
}

// matched is what an event fires, found once.
type matched struct {
	rules []rules.Match
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

// Decode reads a subject's positions.
func (f *evaluation) Decode(b []byte) (positions, error) { return decodePositions(b) }

// Append writes them.
func (f *evaluation) Append(dst []byte, ps positions) []byte { return ps.append(dst) }

// Select matches the event. Most events fire nothing; of the rest only those need the subject's record whose deliveries
// have an order.
func (f *evaluation) Select(e *event.Event) fold.Selection {
	if f.book == nil {
		return fold.Selection{} // before the first revision there are no notifications
	}
	found, next, unevaluated := f.book.index.Match(e)
	if len(found) == 0 && unevaluated == 0 {
		return fold.Selection{}
	}
	memo := &matched{rules: found, next: next, unevaluated: unevaluated}
	for _, m := range found {
		if m.Err != nil {
			continue
		}
		for _, action := range m.Rule.Actions {
			if _, ok := f.target(action, e); ok && action.Ordered {
				return fold.Selection{Key: e.Key(), Memo: memo}
			}
		}
	}
	return fold.Selection{Memo: memo}
}

// target is that of an action, else the tenant's default, where something may be planned for it: it exists, is no draft,
// and the event is not about itself, for a failing target would fail on the event of its failing.
func (f *evaluation) target(action *rules.Plan, e *event.Event) (target, bool) {
	to, ok := f.book.targets[f.book.targetOf(action, e.Tenant)]
	if !ok || to.Draft {
		return target{}, false
	}
	if about, ok := e.Data.(interface{ GetEndpoint() string }); ok && about.GetEndpoint() == to.name {
		return target{}, false
	}
	return to, true
}

// Apply plans what the event fires: by notification, then by action, then by recipient.
func (f *evaluation) Apply(s *fold.Subject[positions], e *event.Event) {
	found, ok := s.Memo.(*matched)
	if !ok {
		return
	}
	own := s.Body
	took := false
	var out fanOut
	o := f.book.occasion(e, s.Time)
	for _, m := range found.rules {
		if m.Err != nil {
			if out.full() {
				out.leave(m.Rule, nil, 1)
				continue
			}
			out.planned++
			f.decide(s, e, m.Rule, nil, triggerv1.Decision_REASON_FILTER_ERROR, m.Err, 0)
			continue
		}
		for _, action := range m.Rule.Actions {
			if to, ok := f.target(action, e); ok {
				var taken bool
				own, taken = f.act(s, o, m, action, to, own, &out)
				took = took || taken
			}
		}
	}
	if found.unevaluated > 0 {
		out.leave(found.next, nil, found.unevaluated)
	}
	if out.left > 0 {
		f.decide(s, e, out.rule, out.action, triggerv1.Decision_REASON_FAN_OUT, out.why(), int64(out.left))
	}
	if !took {
		return
	}
	s.Save(own)
	if _, ok := s.Due(forgetTimer); !ok {
		s.Schedule(forgetTimer, own.forget())
	}
}

// act plans one action, a delivery for each recipient. It returns the positions, and whether one was taken.
func (f *evaluation) act(s *fold.Subject[positions], o *rules.Occasion, m rules.Match, action *rules.Plan, to target, own positions, out *fanOut) (positions, bool) {
	if out.full() {
		out.leave(m.Rule, action, 1)
		return own, false
	}
	e := o.Event
	took := false
	recipients := m.Rule.Recipients(action, o, to.name)
	switch {
	case recipients.Invalid > 0:
		out.planned++
		f.decide(s, e, m.Rule, action, triggerv1.Decision_REASON_INVALID_RECIPIENT, recipients.Why, int64(recipients.Invalid))
	case len(recipients.To) == 0:
		out.planned++
		f.decide(s, e, m.Rule, action, triggerv1.Decision_REASON_NO_RECIPIENT, errNoRecipient, 0)
	}
	for _, recipient := range recipients.To {
		if out.full() {
			out.leave(m.Rule, action, 1)
			continue
		}
		var at channel.Position
		if action.Ordered {
			at = own.next(recipient.OrderingKey)
		}
		out.planned++
		out.cost += action.Cost(o, to.Planning)
		id, size, err := f.plan(s, o, m, action, to, recipient, at)
		out.bytes += size
		switch {
		case errors.Is(err, channel.ErrTooLarge):
			f.decide(s, e, m.Rule, action, triggerv1.Decision_REASON_TOO_LARGE, err, 0)
		case err != nil:
			f.decide(s, e, m.Rule, action, triggerv1.Decision_REASON_RENDER_ERROR, err, 0)
		case action.Ordered:
			own = own.take(recipient.OrderingKey, id, s.Time)
			took = true
		}
	}
	return own, took
}

var errNoRecipient = errors.New("no user has the roles of the action, it names no address, and the event has no contact")

// Fire forgets the positions that are due. One timer serves them all: it is never due later than the first of them,
// and moves only here, so that a position in use costs nothing.
func (f *evaluation) Fire(s *fold.Subject[positions], name string, due time.Time) {
	if name != forgetTimer {
		return
	}
	kept := s.Body.keep(due)
	if len(kept) == 0 {
		s.Delete()
		return
	}
	s.Save(kept)
	s.Schedule(forgetTimer, kept.forget())
}

// maxRecord bounds a delivery's record: a body and its other fields, each within its bound, are below.
const maxRecord = 1 << 20

// plan renders one delivery and emits it; size is the record's.
func (f *evaluation) plan(s *fold.Subject[positions], o *rules.Occasion, m rules.Match, action *rules.Plan, to target, recipient channel.Recipient, at channel.Position) (id string, size int, err error) {
	e := o.Event
	message, err := m.Rule.Render(action, o, to.Planning, recipient, at)
	if err != nil {
		return "", 0, err
	}
	timing, err := m.Rule.Timing(action, o, recipient)
	if err != nil {
		return "", 0, fmt.Errorf("plan delivery: %w", err)
	}
	d := delivery.Delivery{
		// The event's own time, which a repeat of the producer has too; the log time differs at each repeat.
		ID:     delivery.NewID(e.Time, e.Tenant, e.Source, e.Subject, e.ID, m.Rule.Code, action.Name, m.Firing, recipient.ID),
		Tenant: e.Tenant, Notification: m.Rule.Code, NotificationVersion: m.Rule.Version, Action: action.Name, Firing: m.Firing,
		Endpoint: to.name, Recipient: recipient.Address,
		Event: delivery.EventReference{
			Source: e.Source, ID: e.ID, Type: e.Type, Subject: e.Subject, Time: e.Time,
			Topic: s.Topic, Partition: s.Partition, Offset: s.Offset,
		},
		Ordered: action.Ordered, Sequence: at.Sequence, Previous: at.Previous,
		ContentType: message.ContentType, Body: message.Body, PlannedAt: s.Time, Revision: s.Revision, Trace: e.Trace, Correlation: e.Correlation,
		NotBefore: timing.NotBefore, ExpiresAt: timing.ExpiresAt, Collapse: timing.Collapse,
	}
	for _, h := range message.Headers {
		d.Headers = append(d.Headers, delivery.Header{Name: h.Name, Value: h.Value})
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
