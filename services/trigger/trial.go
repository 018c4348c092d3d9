package trigger

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/trigger/api"
)

// trial is what an evaluation notes in place of rendering. What is noted are outcomes as deliveries are, so that a batch that
// is applied again notes nothing twice; they reach no topic.
type trial struct {
	wanted func(uint64) bool
	// noted counts firings.
	noted int
	// renders: what is planned is rendered as ever.
	renders bool
}

// Topics of marks, which no topic is called.
const (
	markFired    = "fired"
	markPlanned  = "planned"
	markNoBefore = "no before"
)

// fired notes firings.
func (t *trial) fired(s *fold.Subject[body], firings []firing) {
	if t == nil {
		return
	}
	t.noted += len(firings)
	for _, of := range firings {
		e := of.Event
		r := stream.Record{Topic: markFired, Key: []byte(e.Subject), Offset: of.offset, Headers: []stream.Header{{Key: of.name}}}
		if n := number(e, of.name); t.wanted(n) {
			r.Value, _ = e.Encode(binary.BigEndian.AppendUint64(nil, n)) // it was decoded
		}
		s.Emit(r)
	}
}

// number of a firing: by chance, and always the same.
func number(e *event.Event, firing string) uint64 {
	var h xxhash.Digest
	h.Reset()
	for _, part := range []string{e.Source, e.Subject, e.ID, firing} {
		_, _ = h.WriteString(part)
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

// planned notes a delivery; false where it is to be rendered.
func (t *trial) planned(s *fold.Subject[body], of firing, rule *rules.Rule, action *rules.Plan, id string) bool {
	if t == nil {
		return false
	}
	r := stream.Record{Topic: markPlanned, Value: []byte(id), Offset: of.offset}
	if t.renders {
		r.Headers = []stream.Header{{Key: rule.Code, Value: []byte(action.Name)}, {Key: of.name}}
	}
	s.Emit(r)
	return !t.renders
}

// trialFold is the fold of a draft. Events that fire it are remembered in the subject's record, as by the positions of
// ordered deliveries; also those of a draft that has neither positions nor a state: a producer's repeat is one delivery.
type trialFold struct {
	evaluation
	ordered bool
}

func (f *trialFold) Select(e *event.Event) fold.Selection {
	out := f.evaluation.Select(e)
	if found, ok := out.Memo.(*matched); ok && len(found.rules) > 0 {
		if m := found.rules[0]; m.Fires || m.Err != nil && len(m.States) == 0 || f.ordered && m.MayFire() {
			out.Key = e.Key()
		}
	}
	return out
}

func (f *trialFold) Apply(s *fold.Subject[body], e *event.Event) {
	before := f.trial.noted
	f.evaluation.Apply(s, e)
	for _, r := range s.Results {
		if r, ok := r.(*kind.Result); ok && r != nil && r.NoBefore {
			s.Emit(stream.Record{Topic: markNoBefore, Offset: s.Offset})
		}
	}
	if s.Key != "" && (f.trial.noted > before || len(s.Results) == 0) {
		s.Save(body{})
	}
}

// draft is a rule on trial with the tenants and targets of a book.
type draft struct {
	book   *Book
	prefix string
	rule   *rules.Rule
	// ordered is whether an action is. Those of the rule are not: positions are of no interest, and no part of an id.
	ordered bool
}

var _ api.Trial = (*draft)(nil)

// trying is a book to try notifications with.
type trying struct {
	*Book
	prefix string // of our own topics
}

var _ api.Book = trying{}

// Try implements api.Book.
func (b trying) Try(m *configv1.Notification) (api.Trial, error) {
	n := b.written(m, table.Channels)
	n.Active = true
	rule, err := rules.Compile(n)
	if err != nil {
		return nil, err
	}
	ordered := false
	for _, action := range rule.Actions {
		ordered, action.Ordered = ordered || action.Ordered, false
	}
	c := *b.Book
	c.index = rules.NewIndex([]*rules.Rule{rule})
	c.known = map[notificationKey]*configv1.Notification{{rule.Tenant, rule.Code}: m}
	return &draft{&c, b.prefix, rule, ordered}, nil
}

// evaluation plans with the draft alone.
func (d *draft) evaluation() *evaluation {
	return &evaluation{topic: func(topic string) string { return topic }, prefix: d.prefix, book: d.book}
}

// Rule is what was compiled.
func (d *draft) Rule() *rules.Rule { return d.rule }

// Fold implements api.Trial.
func (d *draft) Fold(ctx context.Context, p api.Past, wanted func(uint64) bool, visit func(api.Mark)) (pending int64, err error) {
	f := &trialFold{*d.evaluation(), d.ordered}
	f.trial = &trial{wanted: wanted}
	r, err := replay.Run(ctx, replay.Config[body, *Book]{
		Service: "trigger", Partition: state.Partition{Domain: p.Domain, Number: p.Number}, Topic: p.Topic, Rejected: stream.EventsRejected,
		Fold: f, Log: p.Log, At: func(context.Context, state.Revision) (*Book, error) { return d.book, nil },
		Clock: time.Now, Begin: &p.Begin, Until: p.Until, MaxBytes: p.MaxBytes, Ahead: p.Ahead,
		Publish: func(outcomes []stream.Record) {
			for _, o := range outcomes {
				if m, ok := markOf(o); ok {
					visit(m)
				}
			}
		},
	})
	if err != nil {
		return 0, fmt.Errorf("fold past events: %w", err)
	}
	for _, b := range r.All() {
		if _, ok := b.state.Due(); ok {
			pending++
		}
	}
	return pending, nil
}

// markOf is what an outcome stands for; none is one of a record that can't be decoded, or that made the fold panic.
func markOf(r stream.Record) (api.Mark, bool) {
	m := api.Mark{Time: r.Time, Offset: r.Offset, Subject: string(r.Key)}
	switch r.Topic {
	case markFired:
		if len(r.Value) > 8 {
			m.Number, m.Event = binary.BigEndian.Uint64(r.Value), r.Value[8:]
		}
		m.Firing = r.Headers[0].Key
	case markPlanned:
		m.Kind, m.Delivery = api.Planned, string(r.Value)
	case markNoBefore:
		m.Kind = api.NoBefore
	case stream.TriggersDecisions:
		m.Kind, m.Decision = api.Held, &triggerv1.Decision{}
		if proto.Unmarshal(r.Value, m.Decision) != nil {
			return m, false
		}
	default:
		return m, false
	}
	return m, true
}
