package trigger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/channel/topic"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/trigger/api"
)

// explanation is what came of one event.
type explanation struct {
	*planner
	log       api.Log
	partition int32
	offset    int64
	event     *event.Event
	progress  func(offset, end int64) bool

	book     *Book
	revision int64
	assumed  bool
	at       time.Time
	// applied: the event was not counted before; folded are the codes of rules whose states had not.
	applied bool
	folded  map[string]bool
	// Of the event, and of timers that it set, by code.
	deliveries map[string][]*triggerv1.ExplainedDelivery
	decisions  map[string][]*triggerv1.Decision
	pending    map[string]time.Time
	readTo     int64
	// from is the offset before which nothing is known of the states; 0 where all is.
	from int64
	// planned are the marks of what was planned of the event, by the id of the delivery.
	planned map[string]stream.Record
}

// observed is the fold as it plans, which shows how far the event at an offset came.
type observed struct {
	evaluation
	of *explanation
}

// Apply notes that the event was not counted before, and by which states.
func (f *observed) Apply(s *fold.Subject[body], e *event.Event) {
	if s.Offset == f.of.offset {
		f.of.applied, f.of.folded, f.of.at = true, map[string]bool{}, s.Time
		if found, ok := s.Memo.(*matched); ok {
			for i, r := range s.Results {
				if result, ok := r.(*kind.Result); ok && result != nil {
					f.of.folded[found.states[i].rule.Code] = true
				}
			}
		}
	}
	f.evaluation.Apply(s, e)
}

// Explain implements api.Planner.
func (p *planner) Explain(ctx context.Context, l api.Log, partition int32, offset int64, e *event.Event, progress func(offset, end int64) bool) (*api.Explained, error) {
	x := &explanation{planner: p, log: l, partition: partition, offset: offset, event: e, progress: progress}
	var err error
	if l.Domain == DomainUnordered {
		err = x.alone(ctx)
	} else {
		err = x.fold(ctx, offset+1)
	}
	if err != nil {
		return nil, err
	}
	considered := x.consider()
	if slices.ContainsFunc(considered, func(j api.Considered) bool { return !j.Pending.IsZero() }) {
		// What became of the timers stands behind the event.
		end, err := p.engines[l.Domain].End(ctx, partition)
		if err != nil {
			return nil, fmt.Errorf("find the log's end: %w", err)
		}
		book, revision, at := x.book, x.revision, x.at
		if err := x.fold(ctx, end); err != nil {
			return nil, err
		}
		x.book, x.revision, x.at = book, revision, at
		considered = x.consider()
	}
	return &api.Explained{Revision: x.revision, Assumed: x.assumed, Time: x.at, Notifications: considered, ReadTo: x.readTo, StateFrom: x.from}, nil
}

// fold works the log of the event's subject up to an offset, from the last snapshot before the event on, as it was planned
// from. Where there is none any more, and the log's beginning is gone, it begins with no states some way before the event.
func (x *explanation) fold(ctx context.Context, until int64) error {
	x.begin()
	f := x.observed()
	c := replay.Config[body, *Book]{
		Fold: f, Until: until, Subject: x.event.Key(), Near: true, Before: &x.offset, Publish: x.take,
		Ahead: func(offset int64) bool {
			return offset <= x.offset || x.progress(offset, until)
		},
	}
	r, err := replay.OfEngine(ctx, x.engines[x.log.Domain], x.partition, c)
	if errors.Is(err, replay.ErrNoState) {
		if c.Begin, err = x.without(ctx); err == nil {
			r, err = replay.OfEngine(ctx, x.engines[x.log.Domain], x.partition, c)
		}
	}
	if err != nil {
		return fmt.Errorf("fold the log of the event's subject: %w", err)
	}
	x.book, x.revision, x.readTo = f.book, r.Watermark.Revision.Number, r.Watermark.Offset
	for name, b := range r.All() {
		_, code, _ := replay.RuleOf(name)
		if due, ok := b.state.Due(); ok && code != "" {
			if set, _ := b.state.Pending(); set.Offset == x.offset {
				x.pending[code] = due
			}
		}
	}
	return nil
}

// without is a place before the event to begin at with no states, by the revision that the event was worked by.
func (x *explanation) without(ctx context.Context) (*replay.Begin, error) {
	start, _, err := x.client.Offsets(ctx, x.log.Topic, x.partition)
	if err != nil {
		return nil, fmt.Errorf("find the log's start: %w", err)
	}
	x.from = max(start, x.offset-lookBack)
	in, _, err := x.inForce(ctx)
	return &replay.Begin{Offset: x.from, Time: time.UnixMilli(0), Revision: in}, err
}

func (x *explanation) begin() {
	x.applied, x.folded = false, nil
	x.deliveries, x.decisions = map[string][]*triggerv1.ExplainedDelivery{}, map[string][]*triggerv1.Decision{}
	x.pending, x.planned = map[string]time.Time{}, map[string]stream.Record{}
}

func (x *explanation) observed() *observed {
	none := func(uint64) bool { return false }
	return &observed{evaluation{topic: func(topic string) string { return topic }, prefix: x.prefix, trial: &trial{wanted: none, renders: true}}, x}
}

// alone works an event of a log without records: it depends on nothing before it but the configuration.
func (x *explanation) alone(ctx context.Context) error {
	x.begin()
	in, book, err := x.inForce(ctx)
	if err != nil {
		return err
	}
	x.book, x.revision = book, in.Number
	end, err := x.engines[x.log.Domain].End(ctx, x.partition)
	if err != nil {
		return fmt.Errorf("find the log's end: %w", err)
	}
	_, err = replay.Run(ctx, replay.Config[body, *Book]{
		Service: "trigger", Partition: state.Partition{Domain: x.log.Domain, Number: x.partition}, Topic: x.log.Topic, Rejected: stream.EventsRejected,
		Fold: x.observed(), Log: replay.TopicLog(x.client, x.log.Topic, x.partition), At: func(context.Context, state.Revision) (*Book, error) { return x.book, nil },
		Clock: time.Now, Begin: &replay.Begin{Offset: x.offset, Time: x.event.ReceivedAt}, Until: min(x.offset+1, end), Publish: x.take,
	})
	if err != nil {
		return fmt.Errorf("work the event: %w", err)
	}
	x.readTo = x.offset + 1
	return nil
}

const (
	// lookBack is how many offsets before an event are searched for the record by which a revision came into force, and
	// lookStep how many at once.
	lookBack = 2_000_000
	lookStep = 20_000
)

// inForce finds the configuration that an event was worked by: that of the last record before it that names one, else the
// newest.
func (x *explanation) inForce(ctx context.Context) (in state.Revision, book *Book, err error) {
	start, _, err := x.client.Offsets(ctx, x.log.Topic, x.partition)
	if err != nil {
		return in, nil, fmt.Errorf("find the log's start: %w", err)
	}
	for to := x.offset; in.Number == 0 && to > start && to > x.offset-lookBack; to -= lookStep {
		if in, err = x.revisionIn(ctx, max(start, to-lookStep), to); err != nil {
			return in, nil, err
		}
	}
	if in.Number == 0 {
		if in = x.configuration.Newest(); in.Number == 0 {
			return in, nil, nil
		}
		x.assumed = true
	}
	book, err = state.Await(ctx, x.configuration, in)
	return in, book, err //nolint:wrapcheck // it has the revision
}

// revisionIn is the last one named in a part of the log; number 0 where there is none.
func (x *explanation) revisionIn(ctx context.Context, from, to int64) (last state.Revision, err error) {
	for from < to {
		b, err := x.client.FetchFrom(ctx, x.log.Topic, x.partition, from, 1<<20)
		if err != nil {
			return last, fmt.Errorf("find the revision in force: %w", err)
		}
		for i := range b.Records {
			if name, _ := b.Records[i].Header(event.HeaderType); string(name) != event.TypeRevision || b.Records[i].Offset >= to {
				continue
			}
			e, err := event.Decode(b.Records[i].Value)
			if err != nil {
				continue
			}
			if r, ok := e.Data.(*controlv1.Revision); ok && r.GetRevision() > last.Number {
				last = state.Revision{History: r.GetHistory(), Number: r.GetRevision()}
			}
		}
		if b.Next <= from {
			break
		}
		from = b.Next
	}
	return last, nil
}

// take keeps what is published of the event.
func (x *explanation) take(outcomes []stream.Record) {
	for _, r := range outcomes {
		if r.Topic == markPlanned && r.Offset == x.offset {
			x.planned[string(r.Value)] = r
		}
		if id, ok := r.Header(topic.HeaderID); ok { // of a topic of the tenant
			if of, ours := x.planned[string(id)]; ours {
				code := of.Headers[0].Key
				x.deliveries[code] = append(x.deliveries[code], &triggerv1.ExplainedDelivery{
					Id: string(id), Action: string(of.Headers[0].Value), Target: r.Topic, Firing: of.Headers[1].Key, PlannedAt: timestamppb.New(r.Time),
				})
			}
			continue
		}
		if r.Topic == stream.TriggersDecisions {
			d := &triggerv1.Decision{}
			if proto.Unmarshal(r.Value, d) == nil && d.GetEvent().GetOffset() == x.offset {
				x.decisions[d.GetNotification()] = append(x.decisions[d.GetNotification()], d)
			}
			continue
		}
		if d, err := delivery.Decode(r); err == nil && d.Event.Offset == x.offset {
			x.deliveries[d.Notification] = append(x.deliveries[d.Notification], &triggerv1.ExplainedDelivery{
				Id: d.ID, Action: d.Action, Target: d.Endpoint, Firing: d.Firing, PlannedAt: timestamppb.New(d.PlannedAt),
			})
		}
	}
}

// consider is what the event was to each notification of its tenant that it could concern.
func (x *explanation) consider() []api.Considered {
	if x.book == nil {
		return nil // there were no notifications yet
	}
	matches, _, _ := x.book.index.Match(x.event)
	byCode := map[string]rules.Match{}
	for _, m := range matches {
		byCode[m.Rule.Code] = m
	}
	keys := slices.DeleteFunc(slices.Collect(maps.Keys(x.book.known)), func(k notificationKey) bool { return k.tenant != x.event.Tenant })
	slices.SortFunc(keys, func(a, b notificationKey) int { return strings.Compare(a.code, b.code) })
	f := evaluation{book: x.book}
	var all []api.Considered
	for _, k := range keys {
		j := api.Considered{
			Notification: x.book.known[k], Match: byCode[k.code],
			Deliveries: x.deliveries[k.code], Decisions: x.decisions[k.code], Pending: x.pending[k.code],
		}
		if c, ok := x.book.find(j.Notification.GetName()); ok {
			j.Rule, j.Err = c.rule, c.err
		} else {
			j.Rule, j.Err = rules.Compile(x.book.written(j.Notification, table.Channels))
		}
		if j.Rule != nil {
			j.OtherType = !slices.Contains(j.Rule.Concerns(), x.event.Type)
			j.Repeated = !x.applied || len(j.Match.States) > 0 && j.Rule.Active() && !x.folded[k.code]
			j.NoTarget = !slices.ContainsFunc(j.Rule.Actions, func(action *rules.Plan) bool {
				_, ok := f.target(action, x.event)
				return ok
			})
		}
		all = append(all, j)
	}
	return all
}
