package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
)

// Result is what a handler says of one record: Done, Poison or Ours.
type Result struct {
	kind   resultKind
	why    Rejection
	reason error
}

type resultKind int

const (
	resultDone resultKind = iota
	resultPoison
	resultOurs
)

// Rejection is why a record can never be processed.
type Rejection struct {
	// Code of a closed set, such as "PANIC" or "UNKNOWN_TYPE".
	Code string
	// Detail for people.
	Detail string
}

// Done means the record is worked off.
func Done() Result { return Result{} }

// Poison means the record can never be worked: it goes to the rejected topic and the position moves on.
func Poison(why Rejection) Result { return Result{kind: resultPoison, why: why} }

// Ours means something we need does not answer: the partition waits and the same record comes again.
func Ours(err error) Result { return Result{kind: resultOurs, reason: err} }

var errNoReject = errors.New("a record is poison and the group has no Reject")

// Each hands the claim's records to a handler, one by one in order, until the
// claim drains. It starts at the group's committed offset, where there is none
// at the group's Start, and commits after each batch. A panic in the handler is
// poison with code PANIC.
func (cl *Claim) Each(ctx context.Context, handle func(context.Context, Record) Result) error {
	from, err := cl.start(ctx)
	if err != nil {
		return err
	}
	r := cl.Reader(ctx, from, FetchOptions{})
	defer r.Close()
	for {
		b, err := r.Next(ctx)
		if errors.Is(err, ErrRevoked) {
			return nil
		}
		if err != nil {
			return err
		}
		at := from
		for _, rec := range b.Records {
			if !cl.one(ctx, rec, handle) {
				break
			}
			at = rec.Offset + 1
			cl.Progress()
		}
		stopped := len(b.Records) > 0 && at <= b.Records[len(b.Records)-1].Offset
		if !stopped {
			at = b.Next
		}
		if at > from {
			if err := cl.Commit(ctx, at); err != nil {
				return err
			}
		}
		if stopped {
			return nil
		}
		from = at
	}
}

// start finds where Each begins. Latest is committed at once: otherwise what
// arrives before the first commit would be passed over after a crash.
func (cl *Claim) start(ctx context.Context) (int64, error) {
	if committed := cl.Committed(); committed >= 0 {
		return committed, nil
	}
	defer cl.waiting()()
	start, end, err := cl.g.c.Offsets(ctx, cl.Topic, cl.Partition)
	if err != nil {
		return 0, err
	}
	if cl.g.cfg.Start == Earliest {
		return start, nil
	}
	return end, cl.Commit(ctx, end)
}

// one works one record until it is done or rejected; false when the claim drained before.
func (cl *Claim) one(ctx context.Context, rec Record, handle func(context.Context, Record) Result) bool {
	c := cl.g.c
	key := waitKey{"record", cl.Topic, cl.Partition}
	waiting := false
	defer func() {
		if waiting {
			c.health.done(key)
		}
	}()
	for attempt := 0; ; attempt++ {
		if cl.resumed(ctx) != nil {
			return false
		}
		res := cl.guarded(ctx, rec, handle)
		err := res.reason
		switch res.kind {
		case resultDone:
			return true
		case resultPoison:
			if err = cl.reject(ctx, rec, res.why); err == nil {
				return true
			}
			err = fmt.Errorf("reject record: %w", err)
		}
		if !waiting {
			c.log.Warn("record waits", zap.String("topic", cl.Topic), zap.Int32("partition", cl.Partition),
				zap.Int64("offset", rec.Offset), zap.Error(err))
		}
		waiting = true
		c.health.waits(key, fmt.Errorf("offset %d: %w", rec.Offset, err))
		c.metrics.retries.WithLabelValues(c.metrics.topic(cl.Topic), "record").Inc()
		cl.await(ctx, backoff(attempt))
	}
}

// linesPerSecond bounds what rejected records make us log; what is left out is counted.
const linesPerSecond = 100

func (cl *Claim) reject(ctx context.Context, rec Record, why Rejection) error {
	if cl.g.cfg.Reject == nil {
		return errNoReject
	}
	if err := cl.g.cfg.Reject(ctx, rec, why); err != nil {
		return err
	}
	c := cl.g.c
	c.metrics.rejected.WithLabelValues(c.metrics.topic(cl.Topic)).Inc()
	c.rejected.Write(zap.WarnLevel, func() []zap.Field {
		return []zap.Field{
			zap.String("topic", cl.Topic), zap.Int32("partition", cl.Partition),
			zap.Int64("offset", rec.Offset), zap.String("code", why.Code), zap.String("detail", why.Detail),
		}
	})
	return nil
}

// guarded turns a panic of the handler into poison: the same record would end
// the process again after every restart. It is reported as an incident that
// does not last, since the partition goes on.
func (cl *Claim) guarded(ctx context.Context, rec Record, handle func(context.Context, Record) Result) (res Result) {
	defer func() {
		if p := recover(); p != nil {
			cl.g.c.ReportIncident(Incident{Code: IncidentPanic, Topic: cl.Topic, Partition: cl.Partition, Offset: rec.Offset,
				Since: time.Now(), Detail: fmt.Sprintf("%v\n%s", p, debug.Stack())})
			res = Poison(Rejection{Code: IncidentPanic, Detail: fmt.Sprint(p)})
		}
	}()
	return handle(ctx, rec)
}
