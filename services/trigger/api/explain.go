package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

const (
	// searched is the usual range of a search, and longestSearch the longest.
	searched      = time.Hour
	longestSearch = 7 * 24 * time.Hour
	// explainFor is how long the log is read behind an event, for what became of its timers; the whole may take twice that.
	explainFor = 30 * time.Second
)

// Explain implements triggerv1.RuleServiceServer.
func (s *ruleService) Explain(req *triggerv1.ExplainRequest, out grpc.ServerStreamingServer[triggerv1.ExplainResponse]) error {
	b, err := s.book()
	if err != nil {
		return err
	}
	leave, err := s.explains.enter("")
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := s.until(out.Context())
	defer cancel(nil)
	ctx, stop := readable(ctx, 2*explainFor)
	defer stop()
	x, err := s.asked(ctx, b, req)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	if err := s.explain(ctx, x, out); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

// explaining is a request that is valid.
type explaining struct {
	tenant, notification string
	position             *triggerv1.EventPosition
	log                  Log
	search               *triggerv1.EventSearch
	from, to             time.Time
}

// asked validates a request.
func (s *ruleService) asked(ctx context.Context, b Book, req *triggerv1.ExplainRequest) (*explaining, error) {
	var f fault.Violations
	tenant, ok := strings.CutPrefix(req.GetParent(), "tenants/")
	x := &explaining{tenant: tenant, notification: req.GetNotification(), position: req.GetPosition(), search: req.GetSearch()}
	switch {
	case !ok || tenant == "" || strings.Contains(tenant, "/"):
		f.Add("parent", `must be "tenants/{tenant}"`)
	case !b.Has(tenant):
		f.Add("parent", "no tenant has the id %.100q", tenant)
	case x.notification != "" && b.Notification("tenants/"+tenant+"/notifications/"+x.notification) == nil:
		return nil, fault.New(fault.NotFound, ReasonNotificationNotFound, "tenant %s has no notification %.200q", tenant, x.notification)
	}
	switch {
	case x.position != nil:
		var err error
		if x.log, err = s.at(ctx, x.position, &f); err != nil {
			return nil, err
		}
	case x.search != nil:
		if x.search.GetId() == "" {
			f.Add("search.id", "must not be empty")
		}
		if x.search.GetSubject() == "" {
			f.Add("search.subject", "must not be empty: an event of a type without an order is named by its position")
		}
		now := s.clock().UTC()
		x.to = instant(x.search.GetTo(), now, "search.to", &f)
		x.from = instant(x.search.GetFrom(), x.to.Add(-searched), "search.from", &f)
		if span := x.to.Sub(x.from); span <= 0 || span > longestSearch {
			f.Add("search.from", "must be before to, by at most %d days", longestSearch/(24*time.Hour))
		}
	default:
		f.Add("", "position or search must be set")
	}
	return x, f.Err(reason.RequestInvalid)
}

// explain finds the event, folds again, and answers.
func (s *ruleService) explain(ctx context.Context, x *explaining, out grpc.ServerStreamingServer[triggerv1.ExplainResponse]) error {
	e, err := s.find(ctx, x)
	if err != nil {
		return err
	}
	began, sent := time.Now(), time.Time{}
	var failed error
	progress := func(offset, end int64) bool {
		if time.Since(sent) >= progressEvery {
			sent = time.Now()
			failed = cmp.Or(failed, out.Send(&triggerv1.ExplainResponse{Part: &triggerv1.ExplainResponse_Progress{Progress: &triggerv1.ExplainProgress{Offset: offset, EndOffset: end}}}))
		}
		return failed == nil && time.Since(began) < explainFor
	}
	found, err := s.planner.Explain(ctx, x.log, x.position.GetPartition(), x.position.GetOffset(), e, progress)
	if err = cmp.Or(failed, err); err != nil {
		return err
	}
	s.metrics.explains.Inc()
	s.metrics.explainRead.Add(float64(max(0, found.ReadTo-x.position.GetOffset())))
	r := &triggerv1.ExplainResult{
		Event: previewed(masked(e)), Position: x.position, Revision: found.Revision, RevisionAssumed: found.Assumed, ReadToOffset: found.ReadTo,
		StateFromOffset: found.StateFrom,
	}
	named := false
	for _, j := range found.Notifications {
		_, code := channel.SplitName(j.Notification.GetName(), "notifications")
		if code != x.notification && (x.notification != "" || j.OtherType) {
			continue
		}
		named = named || code == x.notification
		r.Notifications = append(r.Notifications, explained(code, &j, e))
	}
	if x.notification != "" && !named {
		return fault.New(fault.NotFound, ReasonNotificationNotFound, "the notification %.200q did not exist when the event was worked", x.notification)
	}
	return out.Send(&triggerv1.ExplainResponse{Part: &triggerv1.ExplainResponse_Result{Result: r}})
}

// find reads the event that is asked for, and completes its position.
func (s *ruleService) find(ctx context.Context, x *explaining) (*event.Event, error) {
	if x.search == nil {
		return s.event(ctx, x.tenant, x.log, x.position)
	}
	key := x.tenant + "/" + x.search.GetSubject()
	for _, l := range s.planner.Logs() {
		if !l.ordered() {
			continue
		}
		partition := s.planner.Partition(l, key)
		e, offset, err := s.search(ctx, x, l, partition, key)
		if err != nil {
			return nil, err
		}
		if e != nil {
			x.log, x.position = l, &triggerv1.EventPosition{Topic: l.Topic, Partition: partition, Offset: offset}
			return e, nil
		}
	}
	return nil, fault.New(fault.NotFound, ReasonEventNotFound, "the subject has no event %.200q that was received from %s to %s", x.search.GetId(),
		x.from.Format(event.TimeLayout), x.to.Format(event.TimeLayout))
}

// ordered reports whether the log's events have subjects that decide their partition.
func (l *Log) ordered() bool {
	for _, t := range event.Types() {
		if l.Has(t) {
			return t.Queue == event.Ordered
		}
	}
	return false
}

// search looks for an event in its subject's partition.
func (s *ruleService) search(ctx context.Context, x *explaining, l Log, partition int32, key string) (*event.Event, int64, error) {
	start, _, err := s.records.Offsets(ctx, l.Topic, partition)
	if err != nil {
		return nil, 0, fmt.Errorf("find offsets: %w", err)
	}
	from, err := s.records.OffsetAt(ctx, l.Topic, partition, x.from)
	if err != nil {
		return nil, 0, fmt.Errorf("find offsets: %w", err)
	}
	until, err := s.records.OffsetAt(ctx, l.Topic, partition, x.to)
	if err != nil {
		return nil, 0, fmt.Errorf("find offsets: %w", err)
	}
	for from = max(from, start); from < until; {
		b, err := s.records.FetchFrom(ctx, l.Topic, partition, from, fetched)
		if err != nil {
			return nil, 0, fmt.Errorf("search event: %w", err)
		}
		for i := range b.Records {
			r := &b.Records[i]
			if string(r.Key) != key || r.Offset >= until {
				continue
			}
			e, err := event.Decode(r.Value)
			if err == nil && e.ID == x.search.GetId() && e.Tenant == x.tenant && !event.IsControl(e.Type) {
				return e, r.Offset, nil
			}
		}
		if b.Next <= from {
			break
		}
		from = b.Next
	}
	return nil, 0, nil
}

// explained is what an event was to one notification, in words.
func explained(code string, j *Considered, e *event.Event) *triggerv1.Explanation {
	x := &triggerv1.Explanation{Notification: code, Version: j.Notification.GetVersion(), Deliveries: j.Deliveries, Decisions: j.Decisions}
	for _, d := range x.GetDecisions() {
		d.Event.Subject = maskSubject(d.GetEvent().GetSubject())
	}
	if !j.Pending.IsZero() {
		x.PendingUntil = timestamppb.New(j.Pending)
	}
	var evaluated rules.Evaluated
	if j.Rule != nil && j.Rule.Triggers(e.Type) {
		evaluated = j.Rule.Evaluate(e)
		x.FilterParts = partsOf(evaluated)
	}
	x.Outcome, x.Detail = outcome(j, &evaluated, e)
	return x
}

// outcome is what came of it, and why.
func outcome(j *Considered, evaluated *rules.Evaluated, e *event.Event) (triggerv1.Explanation_Outcome, string) {
	answers := len(j.Match.States) > 0 && j.Match.States[0].Role != kind.Matches
	switch {
	case j.Rule == nil:
		return triggerv1.Explanation_OUTCOME_UNCOMPILED, "it can't be compiled: " + j.Err.Error()
	case j.OtherType:
		return triggerv1.Explanation_OUTCOME_OTHER_TYPE, fmt.Sprintf("its trigger has %s, and not %s", strings.Join(j.Rule.Types(), ", "), e.Type)
	case len(j.Deliveries) > 0:
		return triggerv1.Explanation_OUTCOME_FIRED, fmt.Sprintf("%d deliveries were planned", len(j.Deliveries))
	case !j.Rule.Active():
		return triggerv1.Explanation_OUTCOME_INACTIVE, "it was not active when the event was worked"
	case j.Match.Err != nil:
		return triggerv1.Explanation_OUTCOME_FILTER_ERROR, j.Match.Err.Error()
	case evaluated.Err != nil:
		return triggerv1.Explanation_OUTCOME_FILTER_ERROR, evaluated.Err.Error()
	case answers:
		return triggerv1.Explanation_OUTCOME_ANSWERED, "it cancels or renews what another event had set, where that was pending"
	case j.Rule.Triggers(e.Type) && !evaluated.Holds:
		return triggerv1.Explanation_OUTCOME_FILTER_FALSE, "the filter does not hold"
	case j.Repeated:
		return triggerv1.Explanation_OUTCOME_REPEATED, "an event of the same source and id was counted before"
	case len(j.Decisions) > 0 && j.Decisions[len(j.Decisions)-1].GetReason() == triggerv1.Decision_REASON_CANCELLED:
		return triggerv1.Explanation_OUTCOME_CANCELLED, j.Decisions[len(j.Decisions)-1].GetDetail()
	case len(j.Decisions) > 0:
		return triggerv1.Explanation_OUTCOME_HELD_BACK, j.Decisions[0].GetDetail()
	case !j.Pending.IsZero():
		return triggerv1.Explanation_OUTCOME_PENDING, "its timer is due at " + j.Pending.UTC().Format(event.TimeLayout)
	case j.NoTarget:
		return triggerv1.Explanation_OUTCOME_NO_TARGET, "no action has a target that exists and is no draft"
	}
	return triggerv1.Explanation_OUTCOME_NO_CHANGE, "the filter holds, and nothing fired: its value passed nothing, or another event has taken the timer over"
}
