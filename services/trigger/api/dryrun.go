package api

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

const (
	// usualRange and longestRange are the ranges of a dry run.
	usualRange   = 7 * 24 * time.Hour
	longestRange = 92 * 24 * time.Hour
	// progressEvery is how often a caller hears how far a dry run has come.
	progressEvery = 500 * time.Millisecond
	// patience is how long Kafka may take beside the time of a dry run.
	patience = 30 * time.Second
)

// DryRun implements triggerv1.RuleServiceServer.
func (s *ruleService) DryRun(req *triggerv1.DryRunRequest, out grpc.ServerStreamingServer[triggerv1.DryRunResponse]) error {
	b, err := s.book()
	if err != nil {
		return err
	}
	var f fault.Violations
	from, to := s.rangeOf(req, &f)
	t, err := trial(b, req, &f)
	if err != nil {
		return err
	}
	if err := f.Err(reason.RequestInvalid); err != nil {
		return err
	}
	leave, err := s.dryRuns.enter(t.Rule().Tenant)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := s.until(out.Context())
	defer cancel(nil)
	v := &survey{
		trial: t, logs: s.planner.Logs(), records: s.records, from: from, to: to, zone: b.Zone(t.Rule().Tenant), bounds: s.bounds, started: time.Now(),
	}
	done := make(chan error, 1)
	go func() { done <- v.all(ctx) }()
	end := func(err error) error {
		s.metrics.ended(v, err)
		return err
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	var failed error
	for {
		select {
		case err := <-done:
			if err = cmp.Or(failed, err); err != nil {
				return end(errors.Join(context.Cause(ctx), err))
			}
			return end(out.Send(&triggerv1.DryRunResponse{Part: &triggerv1.DryRunResponse_Result{Result: v.result()}}))
		case <-tick.C:
			if failed != nil {
				continue // the work ends soon
			}
			p := &triggerv1.DryRunProgress{EventsRead: v.read.Load(), EventsPlanned: v.planned.Load(), Firings: v.firings.Load()}
			if failed = out.Send(&triggerv1.DryRunResponse{Part: &triggerv1.DryRunResponse_Progress{Progress: p}}); failed != nil {
				cancel(failed)
			}
		}
	}
}

// rangeOf reads the range of a request.
func (s *ruleService) rangeOf(req *triggerv1.DryRunRequest, f *fault.Violations) (from, to time.Time) {
	now := s.clock().UTC().Truncate(time.Millisecond)
	to = instant(req.GetTo(), now, "to", f)
	from = instant(req.GetFrom(), to.Add(-usualRange), "from", f)
	switch span := to.Sub(from); {
	case to.After(now):
		f.Add("to", "must not be in the future")
	case span <= 0:
		f.Add("from", "must be before to")
	case span > longestRange:
		f.Add("from", "must be at most %d days before to", longestRange/(24*time.Hour))
	}
	return from, to
}

// instant is a time of a request, or another where it has none.
func instant(t *timestamppb.Timestamp, otherwise time.Time, field string, f *fault.Violations) time.Time {
	if t == nil {
		return otherwise
	}
	if err := t.CheckValid(); err != nil {
		f.Add(field, "must be a time between the years 1 and 9999")
		return otherwise
	}
	return t.AsTime().Truncate(time.Millisecond)
}

// all prepares and runs.
func (s *survey) all(ctx context.Context) error {
	ctx, cancel := readable(ctx, s.bounds.time+patience)
	defer cancel()
	err := s.prepare(ctx)
	if err == nil {
		err = s.run(ctx)
	}
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

// result is what the caller gets.
func (s *survey) result() *triggerv1.DryRunResult {
	t := s.sum
	r := &triggerv1.DryRunResult{
		Firings: t.firings, Subjects: int64(len(t.subjects)), MoreSubjects: t.more, Deliveries: t.deliveries,
		ValuesWithoutBefore: t.noBefore, TimersPending: t.pending, Problems: s.trial.Problems(),
		Read: &triggerv1.DryRunRead{
			From: timestamppb.New(s.from), To: timestamppb.New(s.to), LeadIn: durationpb.New(s.lead), Partitions: int32(len(s.parts)),
			EndedBy: triggerv1.DryRunRead_Bound(s.ended.Load()), Elapsed: durationpb.New(s.elapsed()),
		},
	}
	for _, h := range t.held {
		r.Held = append(r.Held, h)
	}
	slices.SortFunc(r.Held, func(a, b *triggerv1.DryRunHeld) int { return cmp.Compare(a.GetReason(), b.GetReason()) })
	for i, n := range t.days {
		r.Days = append(r.Days, &triggerv1.DryRunDay{Date: s.days[i].In(s.zone).Format(time.DateOnly), Firings: n})
	}
	for _, p := range s.parts {
		if p.whole {
			r.Read.PartitionsRead++
		}
		if p.whole || p.next > p.begin {
			r.Read.PartitionsBegun++
		}
		r.Read.LeadInRecords += min(p.next, p.from()) - p.begin
		r.Read.Records += p.records()
		for i := range r.GetDays() {
			first, last := p.days[i], p.days[i+1]
			read := max(0, min(p.next, last)-first)
			r.Days[i].Records += last - first
			r.Days[i].RecordsRead += read
			r.Read.RecordsRead += read
		}
	}
	for _, one := range t.samples.drawn {
		e, err := event.Decode(one.event)
		if err != nil {
			continue // it was encoded here
		}
		shown := masked(e)
		r.Samples = append(r.Samples, &triggerv1.DryRunSample{
			Event: previewed(shown), Time: timestamppb.New(one.time), Firing: one.firing, Messages: maskedMessages(s.trial.Messages(e, shown, one.time, one.firing)),
		})
	}
	return r
}
