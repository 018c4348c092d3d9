package api

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/reason"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// Reasons of requests that wait for an event.
const (
	ReasonPosition   = "POSITION_INVALID"
	ReasonNotReached = reason.PositionNotReached
)

// positionPause is how often a partition is looked at that has to come further: its owner commits within 100 ms of what it
// has worked.
const positionPause = 10 * time.Millisecond

// positionIn validates the position of an event.
func positionIn(f *fault.Violations, p *optionsv1.Position) {
	if p.GetPartition() < 0 {
		f.AddAs(ReasonPosition, "min_position.partition", "must not be negative, is %d", p.GetPartition())
	}
	if p.GetOffset() < 0 {
		f.AddAs(ReasonPosition, "min_position.offset", "must not be negative, is %d", p.GetOffset())
	}
}

// reachBehind is reach, from a state in which the event at a position was worked, where there is one. Another replica that
// owns the partition waits itself.
func (s *subscribers) reachBehind(ctx context.Context, at subject, after *optionsv1.Position) (r fold.Reading[account.Subscriber], err error) {
	if after == nil {
		return s.reach(ctx, at, hop)
	}
	if p := s.records.Partition(at.key()); p != after.GetPartition() {
		return r, fault.NewInvalid(ReasonPosition, fault.Violation{Field: "min_position.partition", Reason: ReasonPosition,
			Description: "is that of another number's event, or of another topic: give partition and offset of the receipt for an event of this subscriber"})
	}
	ctx, cancel := s.untilLate(ctx)
	defer cancel()
	asked := false
	for {
		deadline, _ := ctx.Deadline()
		r, err = s.reach(ctx, at, min(s.timeout, time.Until(deadline)))
		if _, away := errors.AsType[*elsewhere](err); away || err == nil && r.Offset > after.GetOffset() {
			return r, err
		}
		if err != nil && ctx.Err() == nil {
			return r, err
		}
		if !asked { // no event stands where the log has not come to yet
			end, err := s.records.End(ctx, after.GetPartition())
			if err == nil && after.GetOffset() >= end {
				return r, fault.NewInvalid(ReasonPosition, fault.Violation{Field: "min_position.offset", Reason: ReasonPosition,
					Description: "lies behind the end of the log: no event stands there; give the offset of the receipt"})
			}
			asked = err == nil
		}
		select {
		case <-time.After(positionPause):
		case <-s.stopping:
			return r, notReached(after, r.Offset)
		case <-ctx.Done():
			return r, notReached(after, r.Offset)
		}
	}
}

// answerMargin is what is left of a caller's deadline to answer that an event was not worked by then.
const answerMargin = 20 * time.Millisecond

// untilLate ends a little before the caller stops listening, or after the timeout of a request.
func (s *subscribers) untilLate(ctx context.Context) (context.Context, context.CancelFunc) {
	until := time.Now().Add(s.timeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	return context.WithDeadline(ctx, until.Add(-answerMargin))
}

// notReached is the answer where the event was not worked in time.
func notReached(after *optionsv1.Position, at int64) error {
	return fault.New(fault.Unavailable, ReasonNotReached, "partition %d is worked up to offset %d, and the request waits for %d: ask again",
		after.GetPartition(), at, after.GetOffset()).After(retryAfter)
}
