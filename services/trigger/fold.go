package trigger

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/state"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// forgetTimer drops lanes that nobody has used for long.
const forgetTimer = "lanes"

// fold is what the trigger makes of one partition's log.
type fold struct {
	// deliveries and decisions are topics, with prefix.
	deliveries, decisions string
	metrics               *metrics
	book                  *Book
}

// matched is what an event fires, found once.
type matched struct{ rules []rules.Match }

// Configure takes another revision's notifications and endpoints.
func (f *fold) Configure(b *Book) error {
	f.book = b
	return nil
}

// Decode reads a subject's lanes.
func (f *fold) Decode(b []byte) (lanes, error) { return decodeLanes(b) }

// Append writes them.
func (f *fold) Append(dst []byte, ls lanes) []byte { return ls.append(dst) }

// Select judges the event. Most fire nothing; of the rest only those need the subject's record that have a place in a
// lane to take.
func (f *fold) Select(e *event.Event) (string, any) {
	if f.book == nil {
		return "", nil // before the first revision there is nobody to tell
	}
	found := f.book.index.Match(e)
	if len(found) == 0 {
		return "", nil
	}
	memo := &matched{rules: found}
	for _, m := range found {
		if m.Err != nil {
			continue
		}
		for _, action := range m.Rule.Actions {
			if _, ok := f.recipient(action, e); ok && action.Ordered {
				return e.Key(), memo
			}
		}
	}
	return "", memo
}

// recipient is the endpoint of an action, where something may be planned for it: it exists, is no draft, and the event
// is not about itself, for a failing endpoint would fail on the news of its failing.
func (f *fold) recipient(action *rules.Plan, e *event.Event) (recipient, bool) {
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
func (f *fold) Apply(s *state.Subject[lanes], e *event.Event) {
	found, ok := s.Memo.(*matched)
	if !ok {
		return
	}
	own := s.Body
	took := false
	for _, m := range found.rules {
		if m.Err != nil {
			f.decide(s, e, m.Rule, nil, triggerv1.Decision_REASON_FILTER_ERROR, m.Err)
			continue
		}
		for _, action := range m.Rule.Actions {
			to, ok := f.recipient(action, e)
			if !ok {
				continue
			}
			var at rules.Lane
			if action.Ordered {
				at = own.next(to.id)
			}
			id, err := f.plan(s, e, m, action, to, at)
			switch {
			case errors.Is(err, rules.ErrTooLarge):
				f.decide(s, e, m.Rule, action, triggerv1.Decision_REASON_TOO_LARGE, err)
			case err != nil:
				f.decide(s, e, m.Rule, action, triggerv1.Decision_REASON_RENDER_ERROR, err)
			case action.Ordered:
				own = own.take(to.id, id, s.Time)
				took = true
			}
		}
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
func (f *fold) Fire(s *state.Subject[lanes], name string, due time.Time) {
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

// plan renders one delivery and emits it.
func (f *fold) plan(s *state.Subject[lanes], e *event.Event, m rules.Match, action *rules.Plan, to recipient, at rules.Lane) (string, error) {
	body, err := m.Rule.Render(action, rules.Occasion{Event: e, Now: s.Time, TenantName: f.book.tenants[e.Tenant]}, to.form, at)
	if err != nil {
		return "", err
	}
	d := delivery.Delivery{
		// The event's own time, which the producer sends again with it; the log's would be another at each repeat.
		ID:     delivery.NewID(e.Time, e.Tenant, e.Source, e.ID, m.Rule.Code, action.Name, m.Firing, action.Endpoint),
		Tenant: e.Tenant, Notification: m.Rule.Code, NotificationVersion: m.Rule.Version, Action: action.Name, Firing: m.Firing,
		Endpoint: action.Endpoint,
		Event: delivery.EventReference{
			Source: e.Source, ID: e.ID, Type: e.Type, Subject: e.Subject, Time: e.Time,
			Topic: s.Topic, Partition: s.Partition, Offset: s.Offset,
		},
		Ordered: action.Ordered, Sequence: at.Sequence, Previous: at.Previous,
		ContentType: body.ContentType, Body: body.Bytes, PlannedAt: s.Time, Revision: s.Revision, Trace: e.Trace,
	}
	r, err := d.Record(f.deliveries)
	if err != nil {
		return "", fmt.Errorf("plan delivery: %w", err)
	}
	s.Emit(r)
	f.metrics.planned()
	return d.ID, nil
}
