package trigger

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rules"

	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// forgetTimer drops lanes that nobody has used for long.
const forgetTimer = "lanes"

// fold is what the trigger makes of one partition's log.
type evaluation struct {
	// deliveries and decisions are topics, with prefix.
	deliveries, decisions string
	metrics               *metrics
	book                  *Book
}

// matched is what an event fires, found once.
type matched struct {
	rules []rules.Match
	// unjudged are rules whose filters were not evaluated, the first of which is next: the event costs too much.
	next     *rules.Rule
	unjudged int
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

// full says whether anything is left out from here on.
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

// Configure takes another revision's notifications and endpoints.
func (f *evaluation) Configure(b *Book) error {
	f.book = b
	return nil
}

// Decode reads a subject's lanes.
func (f *evaluation) Decode(b []byte) (lanes, error) { return decodeLanes(b) }

// Append writes them.
func (f *evaluation) Append(dst []byte, ls lanes) []byte { return ls.append(dst) }

// Select judges the event. Most fire nothing; of the rest only those need the subject's record that have a place in a
// lane to take.
func (f *evaluation) Select(e *event.Event) fold.Selection {
	if f.book == nil {
		return fold.Selection{} // before the first revision there is nobody to tell
	}
	found, next, unjudged := f.book.index.Match(e)
	if len(found) == 0 && unjudged == 0 {
		return fold.Selection{}
	}
	memo := &matched{rules: found, next: next, unjudged: unjudged}
	for _, m := range found {
		if m.Err != nil {
			continue
		}
		for _, action := range m.Rule.Actions {
			if _, ok := f.recipient(action, e); ok && action.Ordered {
				return fold.Selection{Key: e.Key(), Memo: memo}
			}
		}
	}
	return fold.Selection{Memo: memo}
}

// recipient is the endpoint of an action, where something may be planned for it: it exists, is no draft, and the event
// is not about itself, for a failing endpoint would fail on the news of its failing.
func (f *evaluation) recipient(action *rules.Plan, e *event.Event) (recipient, bool) {
	to, ok := f.book.endpoints[action.Endpoint]
	if !ok || to.draft {
		return recipient{}, false
	}
	if about, ok := strings.CutPrefix(e.Subject, "endpoint/"); ok && about == to.id && aboutEndpoints(e.Type) {
		return recipient{}, false
	}
	return to, true
}

// aboutEndpoints says that a type's events tell how an endpoint of ours fares.
func aboutEndpoints(eventType string) bool {
	return strings.HasPrefix(eventType, "endpoint.") || strings.HasPrefix(eventType, "delivery.")
}

// Apply plans what the event fires: by notification, then by action.
func (f *evaluation) Apply(s *fold.Subject[lanes], e *event.Event) {
	found, ok := s.Memo.(*matched)
	if !ok {
		return
	}
	own := s.Body
	took := false
	var out fanOut
	o := &rules.Occasion{Event: e, Now: s.Time, TenantName: f.book.tenants[e.Tenant]}
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
			to, ok := f.recipient(action, e)
			if !ok {
				continue
			}
			if out.full() {
				out.leave(m.Rule, action, 1)
				continue
			}
			var at rules.Lane
			if action.Ordered {
				at = own.next(to.id)
			}
			out.planned++
			out.cost += action.Cost(o, to.form)
			id, size, err := f.plan(s, o, m, action, to, at)
			out.bytes += size
			switch {
			case errors.Is(err, rules.ErrTooLarge):
				f.decide(s, e, m.Rule, action, triggerv1.Decision_REASON_TOO_LARGE, err, 0)
			case err != nil:
				f.decide(s, e, m.Rule, action, triggerv1.Decision_REASON_RENDER_ERROR, err, 0)
			case action.Ordered:
				own = own.take(to.id, id, s.Time)
				took = true
			}
		}
	}
	if found.unjudged > 0 {
		out.leave(found.next, nil, found.unjudged)
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

// Fire forgets the lanes whose time has come. One timer serves them all: it is never due later than the first of them,
// and moves only here, so that a lane that is in use costs nothing.
func (f *evaluation) Fire(s *fold.Subject[lanes], name string, due time.Time) {
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

// maxRecord bounds a delivery's record: a body and what stands beside it, each within its bound, are below.
const maxRecord = 1 << 20

// plan renders one delivery and emits it; size is the record's.
func (f *evaluation) plan(s *fold.Subject[lanes], o *rules.Occasion, m rules.Match, action *rules.Plan, to recipient, at rules.Lane) (id string, size int, err error) {
	e := o.Event
	body, err := m.Rule.Render(action, o, to.form, at)
	if err != nil {
		return "", 0, err
	}
	d := delivery.Delivery{
		// The event's own time, which the producer sends again with it; the log's would be another at each repeat.
		ID:     delivery.NewID(e.Time, e.Tenant, e.Source, e.Subject, e.ID, m.Rule.Code, action.Name, m.Firing, action.Endpoint),
		Tenant: e.Tenant, Notification: m.Rule.Code, NotificationVersion: m.Rule.Version, Action: action.Name, Firing: m.Firing,
		Endpoint: action.Endpoint,
		Event: delivery.EventReference{
			Source: e.Source, ID: e.ID, Type: e.Type, Subject: e.Subject, Time: e.Time,
			Topic: s.Topic, Partition: s.Partition, Offset: s.Offset,
		},
		Ordered: action.Ordered, Sequence: at.Sequence, Previous: at.Previous,
		ContentType: body.ContentType, Body: body.Bytes, PlannedAt: s.Time, Revision: s.Revision, Trace: e.Trace, Correlation: e.Correlation,
	}
	r, err := d.Record(f.deliveries)
	if err != nil {
		return "", 0, fmt.Errorf("plan delivery: %w", err)
	}
	if size = len(r.Value); size > maxRecord {
		return "", 0, fmt.Errorf("plan delivery: %w: the record takes %d bytes", rules.ErrTooLarge, size)
	}
	s.Emit(r)
	f.metrics.planned()
	return d.ID, size, nil
}
