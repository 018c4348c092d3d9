package fold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold/internal/control"
	"github.com/tollgate/tollgate/pkg/fold/internal/kafkalog"
	"github.com/tollgate/tollgate/pkg/fold/internal/limits"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// NewGap is the record by which a person accepts the loss of part of a log.
func NewGap(gap *controlv1.Gap, at time.Time) *event.Event { return control.NewGap(gap, at) }

// control works a record that stands alone. Of one that changes the configuration: first what is due by its time under
// the old one, then the new.
func (o *Owner[B, C]) control(ctx context.Context, en *entry[B]) error {
	if err := o.ahead.Flush(ctx); err != nil { // the partition may stand here for long
		return err
	}
	if en.leaps {
		return o.leap(ctx, en)
	}
	at := max(o.w.LogTime, en.record.Time.UnixMilli())
	if at > o.w.LogTime {
		return o.moveLogTime(ctx, at) // so that what is due by it is worked as ever
	}
	revision, level := control.RevisionOf(en.event)
	if level > Level {
		return o.halt(ctx, en, IncidentLevel, nil, fmt.Errorf("log asks for level %d, this binary knows %d: run a newer one", level, Level))
	}
	if level < Level {
		err := levelError(fmt.Sprintf("the log from offset %d on, by its level,", en.record.Offset), level)
		o.config.Log.Incident(IncidentFormat, en.record.Offset, err)
		return err
	}
	if revision.Number <= o.w.Revision.Number {
		return o.pass(ctx, en)
	}
	changed := o.config.Revisions.Changed()
	err := o.configure(revision)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return o.halt(ctx, en, IncidentRevision, changed, fmt.Errorf("%w: neither the configuration service nor the store has it; where the configuration was set back "+
			"or begun anew, `tollgate config accept-restore` lets another one stand in for it", err))
	case errors.Is(err, state.ErrNotReady):
		// Reads go on meanwhile, by the revision in force.
		if now := o.config.Clock(); !o.halted.Waits(en.record.Offset, now) {
			o.config.Log.Incident(IncidentRevision, en.record.Offset, fmt.Errorf("the record names revision %s: %w", revision, err))
		}
		return o.stay(ctx, changed)
	case err != nil:
		return err
	}
	if err := o.pass(ctx, en, func(w *state.Watermark) { w.Revision, w.Level = revision, Level }); err != nil {
		return err
	}
	o.config.Log.Settle(IncidentRevision)
	o.config.Revisions.InForce(o.place.partition, revision)
	return nil
}

// levelError refuses what was decided at a lower level.
func levelError(what string, level uint32) error {
	return &state.FormatError{What: what, Has: byte(min(level, 255)), Knows: Level}
}

// pass goes on behind a record that stands alone.
func (o *Owner[B, C]) pass(ctx context.Context, en *entry[B], changes ...func(*state.Watermark)) error {
	err := o.commitAs(ctx, func(w *state.Watermark) {
		for _, change := range changes {
			change(w)
		}
		w.Offset = en.record.Offset + 1
		w.LastHash = en.record.Hash()
	})
	if err == nil {
		o.pending = o.pending[1:]
	}
	return err
}

// configure takes a revision that is at hand.
func (o *Owner[B, C]) configure(r state.Revision) error {
	c, err := o.config.Revisions.At(r)
	if err != nil {
		return fmt.Errorf("read revision %s: %w", r, err)
	}
	if err := o.config.Fold.Configure(c); err != nil {
		return fmt.Errorf("take revision %s: %w", r, err)
	}
	o.configuration = c
	return nil
}

// reconfigure takes the revision in force when the partition is opened, once it is at hand.
func (o *Owner[B, C]) reconfigure(ctx context.Context) error {
	if o.w.Revision.Number == 0 {
		return nil
	}
	for began := o.config.Clock(); ; {
		changed := o.config.Revisions.Changed()
		err := o.configure(o.w.Revision)
		switch {
		case err == nil:
			o.config.Log.Settle(IncidentRevision)
			o.config.Revisions.InForce(o.place.partition, o.w.Revision)
			return nil
		case fault.KindOf(err) == fault.NotFound:
			o.config.Log.Incident(IncidentRevision, o.w.Offset, fmt.Errorf("the state of domain %s is of revision %s, which neither the configuration service nor the store has: "+
				"where the configuration was set back or begun anew, `tollgate config accept-restore` lets another one stand in for it", o.place.partition.Domain, o.w.Revision))
		case !errors.Is(err, state.ErrNotReady) || o.config.Clock().Sub(began) > control.Patience:
			return err // reported by the claim while it waits to try again
		}
		if err := o.config.Log.Wait(ctx, changed); err != nil {
			return err
		}
	}
}

// leapLimit is how far one record may move log time, and clockSkew how far the stamp of one that moves it further may
// be ahead of the owner's clock.
const (
	leapLimit = 24 * time.Hour
	clockSkew = time.Minute
)

// leaps reports whether a record moves log time, which is last before it, by so much that it is looked at twice.
func (o *Owner[B, C]) leaps(r *stream.Record, last int64) bool {
	return r.Time.UnixMilli()-last > leapLimit.Milliseconds() && o.halted.Passed != r.Offset+1
}

// leap looks at a record that moves log time by more than a day. After a quiet time that is as it should be. One that
// is ahead of the owner's clock as well would renew every subscriber for years: the partition waits until a person lets
// it go on without the record, or until the clock has come there. Nothing is decided by the clock: a record that a
// person left out is left out whenever the log is read again.
func (o *Owner[B, C]) leap(ctx context.Context, en *entry[B]) error {
	r := &en.record
	if now := o.config.Clock(); r.Time.After(now.Add(clockSkew)) {
		return o.halt(ctx, en, IncidentTime, nil, fmt.Errorf("the record is stamped %s, %s after the log before it and %s ahead of this clock: "+
			"find out what wrote it; the partition goes on when the time has come", r.Time.UTC().Format(time.RFC3339),
			r.Time.Sub(time.UnixMilli(o.w.LogTime)).Round(time.Hour), r.Time.Sub(now).Round(time.Second)))
	}
	// An owner that left it out did so before its time had come.
	out, err := o.leftOut(ctx, r.Offset, func(next *stream.Record) bool { return !next.Time.Before(r.Time) })
	if err != nil {
		return err
	}
	o.config.Log.Settle(IncidentTime)
	if out {
		return o.leaveOut(ctx, en)
	}
	o.halted.Passed = r.Offset + 1
	return nil
}

// halt stands at a record that can't be worked: an incident, until a person leaves the record out or the reason is
// gone.
func (o *Owner[B, C]) halt(ctx context.Context, en *entry[B], code string, wake <-chan struct{}, why error) error {
	p, offset := o.place.partition, en.record.Offset
	o.config.Log.Incident(code, offset, fmt.Errorf("domain %s waits at offset %d of %s/%d: %w; "+
		"to go on without the record: `tollgate state accept-gap --domain %s --partition %d --from %d --to %d`",
		p.Domain, offset, o.place.topic, p.Number, why, p.Domain, p.Number, offset, offset+1))
	out, err := o.leftOut(ctx, offset, func(*stream.Record) bool { return false })
	if err != nil {
		return err
	}
	if out {
		o.config.Log.Settle(code)
		return o.leaveOut(ctx, en)
	}
	return o.stay(ctx, wake)
}

// leftOut looks for a person's word, in the log behind a record, that the record is left out: up to the log's end, or
// to where it can't be found any more.
func (o *Owner[B, C]) leftOut(ctx context.Context, offset int64, over func(next *stream.Record) bool) (bool, error) {
	o.halted.Waits(offset, o.config.Clock())
	_, end, err := o.config.Log.Range(ctx)
	if err != nil {
		return false, err
	}
	for o.halted.Read < end {
		b, err := o.config.Log.Fetch(ctx, o.halted.Read, kafkalog.WaitStep, nil)
		if err != nil {
			return false, err
		}
		for i := range b.Records {
			r := &b.Records[i]
			if e, err := event.Decode(r.Value); err == nil && o.leavesOut(e, offset) {
				return true, nil
			}
			if over(r) {
				return false, nil
			}
			o.halted.Read = r.Offset + 1
		}
		if len(b.Records) == 0 && b.Next <= o.halted.Read {
			return false, nil
		}
		o.halted.Read = max(o.halted.Read, b.Next)
	}
	return false, nil
}

func (o *Owner[B, C]) leavesOut(e *event.Event, offset int64) bool {
	g, ok := e.Data.(*controlv1.Gap)
	return ok && e.Type == event.TypeGap && g.GetDomain() == o.place.partition.Domain && g.GetFromOffset() == offset && g.GetToOffset() == offset+1
}

func (o *Owner[B, C]) leaveOut(ctx context.Context, en *entry[B]) error {
	o.config.Logger.Warn("record left out", zap.Int64("offset", en.record.Offset))
	return o.pass(ctx, en)
}

// stay keeps the partition while nothing of it can be worked.
func (o *Owner[B, C]) stay(ctx context.Context, wake <-chan struct{}) error {
	if o.config.Clock().Sub(time.UnixMilli(o.ahead.Stored.At)) >= limits.IdleCommit {
		if err := o.commitAs(ctx, func(*state.Watermark) {}); err != nil {
			return err
		}
	}
	return o.config.Log.Wait(ctx, wake)
}
