package fold

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/image"
	"github.com/tollgate/tollgate/pkg/fold/internal/limits"
	"github.com/tollgate/tollgate/pkg/state"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// recover brings an opened partition to where its log can go on: at once in the ordinary case; from below the published offset
// where the store was set back; from a snapshot or the log's beginning where it was emptied.
func (o *Owner[B, C]) recover(ctx context.Context) error {
	start, end, err := o.config.Log.Range(ctx)
	if err != nil {
		return err
	}
	published := o.w.PublishedOffset
	if o.committed != o.w.Disowned {
		published = max(published, o.committed)
	}
	switch {
	case o.w.Status == state.Blank || o.w.Status == state.Restoring:
		return o.rebuild(ctx, start, end, published)
	case o.w.Offset > end:
		return o.gap(ctx, IncidentRecreated, o.w.Offset, end)
	case o.w.Offset < start:
		return o.rebuild(ctx, start, end, published)
	}
	same, err := o.sameLog(ctx, o.w, start)
	if err != nil {
		return err
	}
	if !same {
		return o.gap(ctx, IncidentRecreated, o.w.Offset, end)
	}
	if o.w.Offset < published {
		return o.commitAs(ctx, func(w *state.Watermark) { w.Status, w.PublishedOffset = state.Rebuilding, published })
	}
	return nil
}

// sameLog compares the record before a watermark with what was applied.
func (o *Owner[B, C]) sameLog(ctx context.Context, w state.Watermark, start int64) (bool, error) {
	if w.LastHash == 0 || w.Offset <= start {
		return true, nil
	}
	r, there, err := o.config.Log.At(ctx, w.Offset-1)
	if err != nil || !there {
		return true, err
	}
	return r.Hash() == w.LastHash, nil
}

// rebuild finds the state of a partition of which the store holds nothing, or too little to go on with.
func (o *Owner[B, C]) rebuild(ctx context.Context, start, end, published int64) error {
	if published > end {
		return o.gap(ctx, IncidentRecreated, published, end)
	}
	if start > 0 || published > 0 || o.w.Status == state.Restoring { // else nothing was ever counted, and no snapshot is looked for
		found, err := o.restore(ctx, start, end, published)
		if err != nil || found {
			return err
		}
	}
	if start > 0 {
		needed := o.w.Offset
		if o.w.Status == state.Blank || o.w.Status == state.Restoring {
			needed = 0
		}
		return o.gap(ctx, IncidentGap, needed, start)
	}
	if err := o.clear(ctx); err != nil {
		return err
	}
	return o.commitAs(ctx, func(w *state.Watermark) { *w = o.beginning(0, published) })
}

// beginning is the watermark of a partition whose records begin empty.
func (o *Owner[B, C]) beginning(offset, published int64) state.Watermark {
	w := state.Watermark{Token: o.w.Token, Address: o.w.Address, Serial: o.w.Serial, Epoch: o.w.Epoch, Level: Level, Offset: offset, PublishedOffset: published, Status: state.Ready}
	w.SnapshotAt, w.SnapshotOffset = o.config.Clock().UnixMilli(), offset
	if offset < published {
		w.Status = state.Rebuilding
	}
	return w
}

// clear deletes every key of the partition but the watermark.
func (o *Owner[B, C]) clear(ctx context.Context) error {
	if o.w.Status != state.Restoring {
		if err := o.commitAs(ctx, func(w *state.Watermark) { w.Status = state.Restoring }); err != nil {
			return err
		}
	}
	for cursor := ""; ; {
		keys, next, err := o.config.Store.Walk(ctx, o.place.partition, "", cursor, image.ScanStep)
		if err != nil {
			return fmt.Errorf("find keys to clear: %w", err)
		}
		o.config.Log.Progress()
		for len(keys) > 0 {
			n := min(len(keys), state.MaxKeys-1)
			if err := o.commit(ctx, o.w, state.Commit{Deletes: keys[:n]}); err != nil {
				return err
			}
			keys = keys[n:]
		}
		if cursor = next; cursor == "" {
			return nil
		}
	}
}

// gap waits until a person accepts that a part of the log is lost, and goes on behind it: at a log's beginning with the
// records there are, or, where the log itself is another one, with the same records and a new count of offsets.
func (o *Owner[B, C]) gap(ctx context.Context, code string, needed, target int64) error {
	why := fmt.Errorf("state of domain %s needs the log from offset %d, and it can't be had there (%s): restore it, or accept the loss with `tollgate state accept-gap --domain %s --partition %d --from %d --to %d`",
		o.place.partition.Domain, needed, code, o.place.partition.Domain, o.place.partition.Number, needed, target)
	o.config.Log.Incident(code, needed, why)
	start, end, err := o.config.Log.Range(ctx)
	if err != nil {
		return err
	}
	for at := start; ; {
		b, err := o.config.Log.Fetch(ctx, at, limits.IdleCommit, nil)
		if err != nil {
			return err
		}
		for _, r := range b.Records {
			at = r.Offset + 1
			e, err := event.Decode(r.Value)
			if err != nil || e.Type != event.TypeGap {
				continue
			}
			g, ok := e.Data.(*controlv1.Gap)
			if !ok || g.GetDomain() != o.place.partition.Domain || g.GetFromOffset() != needed {
				continue
			}
			// One that was accepted for an earlier, smaller loss is not enough.
			if code == IncidentGap && g.GetToOffset() < start {
				continue
			}
			return o.accept(ctx, code, g.GetToOffset())
		}
		at = max(at, b.Next)
		if len(b.Records) == 0 {
			// The log may have been brought back, or more of it removed. A broker that was restarted can also report an end
			// that is too low at first.
			from, to, err := o.config.Log.Range(ctx)
			if err != nil {
				return err
			}
			if from != start || to < end || end < needed && needed <= to {
				return fmt.Errorf("log of domain %s changed while it was an incident: it holds %d to %d", o.place.partition.Domain, from, to)
			}
		}
	}
}

func (o *Owner[B, C]) accept(ctx context.Context, code string, to int64) error {
	start, end, err := o.config.Log.Range(ctx)
	if err != nil {
		return err
	}
	from := o.w.Offset
	w := o.w
	switch {
	case code == IncidentRecreated:
		// The offsets that records remember are of another log.
		w.Epoch++
		w.Offset, w.PublishedOffset, w.Status = min(max(to, start), end), 0, state.Ready
		w.Disowned = o.committed
	case w.Status == state.Blank || w.Status == state.Restoring:
		w = o.beginning(max(to, start), max(o.w.PublishedOffset, min(o.committed, end)))
	default:
		w.Offset = max(to, start)
		w.PublishedOffset = max(w.PublishedOffset, min(o.committed, end))
		if w.Status = state.Ready; w.Offset < w.PublishedOffset {
			w.Status = state.Rebuilding
		}
	}
	w.LastHash = 0
	if o.w.Status == state.Blank || o.w.Status == state.Restoring {
		if err := o.clear(ctx); err != nil {
			return err
		}
		w.Serial = o.w.Serial
	}
	if err := o.commit(ctx, w, state.Commit{}); err != nil {
		return err
	}
	o.config.Log.Settle(code)
	o.config.Logger.Warn("gap in the log accepted", zap.Int64("from", from), zap.Int64("to", w.Offset))
	return nil
}
