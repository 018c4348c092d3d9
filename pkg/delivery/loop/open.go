package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// recovered is what the attempts hold about deliveries: results that were published and not committed, or all results
// where the store was lost.
type recovered struct {
	settled pages.Offsets
	retries map[int64]scan.AttemptSummary
	// until is the offset from which on nothing is known, endpoints the same for each endpoint; the offset of attempts
	// stays until the readers passed it.
	until     int64
	endpoints map[uint64]int64
}

// apply changes a reference to what the attempts show; false where they show it settled. An error means that the
// attempts are of another log, whose offsets would settle deliveries that no receiver has.
func (r *recovered) apply(ref *pages.Reference) (waits bool, err error) {
	if ref.Offset >= r.until {
		return true, nil
	}
	if id, known := r.settled.First(ref.Offset); known && id != ref.ID {
		return true, errOtherLog
	}
	if r.settled.Has(ref.Offset) {
		return false, nil
	}
	if t, ok := r.retries[ref.Offset]; ok {
		if t.ID != 0 && t.ID != ref.ID {
			return true, errOtherLog
		}
		if pages.Counted(t.Number) >= ref.Attempts {
			ref.Attempts, ref.Due = pages.Counted(t.Number), t.Next
		}
	}
	return true, nil
}

var errOtherLog = errors.New("its attempts are of other deliveries")

// openPages is how many pages one call loads.
const openPages = 256

// open finds the position of the partition: from the store, and results published since its last commit from the
// attempts; or, where the store is empty, everything from the attempts. Nothing is sent before.
func (o *owner) open(ctx context.Context) error {
	o.condition("opening", errors.New("reading the stored position: nothing is sent yet"))
	err := o.within(ctx, func(ctx context.Context) (err error) {
		o.mark, err = o.Store.Open(ctx, o.part, o.Address)
		return err
	})
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	opened := o.mark
	start, end, err := o.kafka.Offsets(ctx, o.Topic, o.part.Number)
	if err != nil {
		return fmt.Errorf("find the log's ends: %w", err)
	}
	o.token = slices.Clone(o.mark.Token[:])
	restored, err := o.restoreLost(ctx, start, end)
	if err != nil {
		return fmt.Errorf("restore a snapshot: %w", err)
	}
	e, err := o.firstWatermark(ctx, start, end)
	if err != nil {
		return err
	}
	if e, err = o.checkLogs(ctx, e, start, end); err != nil {
		return err
	}
	o.position, o.last = o.mark.Offset, o.mark.LastHash
	now := o.now()
	o.logTime, o.logTimeAt = o.mark.LogTime, now
	o.drift, o.queue.Drift = o.wall()-now, o.aged(now)-now
	if o.AcceptLostDeliveries && o.position < start {
		o.log.Warn("deliveries that left the log unread are skipped", zap.Int64("from", o.position), zap.Int64("to", start))
		o.Metrics.gone.Add(float64(start - o.position))
		o.position, o.last = start, 0
	}
	if err := o.loadPages(ctx, e.pages); err != nil {
		return fmt.Errorf("load references: %w", err)
	}
	if err := o.loadRecords(ctx, e.records); err != nil {
		return fmt.Errorf("load records of endpoints: %w", err)
	}
	o.openBehind(start)
	if err := o.readAttempts(ctx, e.attempts); err != nil {
		return fmt.Errorf("read attempts back: %w", err)
	}
	if seen := o.kept.take(o.part.Number, opened); seen != nil {
		o.seen = seen
	} else if err := o.fillWindow(ctx, start, end); err != nil {
		return fmt.Errorf("fill the window of repeats: %w", err)
	}
	if err := o.enqueue(); err != nil {
		return err
	}
	o.recorded, o.opened = o.now(), true
	o.condition("opening", nil)
	if o.recovering() {
		o.Metrics.rebuilds.Inc()
		o.log.Info("position lost: rebuilding it from the attempts", zap.Bool("from_snapshot", restored), zap.Int64("from", o.position), zap.Int64("to", o.mark.PublishedOffset))
		o.condition("recovering", fmt.Errorf("reading %d deliveries again: nothing is sent yet", o.mark.PublishedOffset-o.position))
	}
	return nil
}

// firstWatermark creates the watermark of a partition that has none. Its status is Rebuilding, up to the end of what
// may have been sent before. It is committed at once, so that a second crash finds the same end.
func (o *owner) firstWatermark(ctx context.Context, start, end int64) (extra, error) {
	if o.mark.Status != state.Blank && o.mark.Status != state.Restoring {
		e, err := parseExtra(o.mark.Extra)
		if err != nil {
			return e, fmt.Errorf("read position: %w", err)
		}
		return e, nil
	}
	oldest, _, err := o.kafka.Offsets(ctx, o.Attempts, o.part.Number)
	if err != nil {
		return extra{}, fmt.Errorf("find the attempts' start: %w", err)
	}
	newest, err := o.newest(ctx, start, end)
	if err != nil {
		return extra{}, err
	}
	from, err := o.kafka.OffsetAt(ctx, o.Topic, o.part.Number, newest.Add(-o.MaxAge))
	if err != nil {
		return extra{}, fmt.Errorf("find deliveries of the last %s: %w", o.MaxAge, err)
	}
	from = max(from, start)
	end = max(end, from)
	e := extra{attempts: oldest}
	to := o.mark
	if end > start {
		to.LogTime = newest.UnixMilli()
	}
	to.Status, to.Offset, to.LastHash, to.PublishedOffset, to.Extra = state.Rebuilding, from, 0, end, e.encode()
	return e, o.writeWatermark(ctx, to, state.Commit{})
}

// Newest is the time of planning of the newest delivery in the log, and now at the latest: a clock that is ahead must
// not make all deliveries too old.
func (o *owner) newest(ctx context.Context, start, end int64) (time.Time, error) {
	now := o.Clock()
	if end <= start {
		return now, nil
	}
	b, err := o.kafka.FetchFrom(ctx, o.Topic, o.part.Number, end-1, 1)
	if err != nil {
		return now, fmt.Errorf("read the newest delivery: %w", err)
	}
	if len(b.Records) > 0 && b.Records[0].Time.Before(now) {
		now = b.Records[0].Time
	}
	return now, nil
}

// writeWatermark commits a watermark while the partition is opened.
func (o *owner) writeWatermark(ctx context.Context, to state.Watermark, changes state.Commit) error {
	c := commit{from: o.mark, to: to, changes: changes}
	c.to.At = o.wall()
	c.to.Serial++
	err := o.commit(ctx, &c)
	if errors.Is(err, state.ErrFenced) {
		err = fmt.Errorf("%w: %w", stream.ErrRejoin, err)
	}
	if err != nil {
		return fmt.Errorf("write watermark: %w", err)
	}
	o.mark = c.to
	return nil
}

func (o *owner) loadPages(ctx context.Context, n int) error {
	for from := 0; from < n; from += openPages {
		var values [][]byte
		err := o.within(ctx, func(ctx context.Context) (err error) {
			values, err = o.Store.Load(ctx, o.part, o.mark, pages.Keys(from, min(openPages, n-from)))
			return err
		})
		if errors.Is(err, state.ErrFenced) {
			return fmt.Errorf("%w: %w", stream.ErrRejoin, err)
		}
		if err != nil {
			return err
		}
		for _, v := range values {
			if err := o.pages.Load(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// readAttempts reads the attempts that were published from an offset on.
func (o *owner) readAttempts(ctx context.Context, from int64) error {
	start, end, err := o.kafka.Offsets(ctx, o.Attempts, o.part.Number)
	if err != nil {
		return err
	}
	if from < start {
		// These attempts are older than any delivery that may wait; at worst their deliveries are sent again.
		o.log.Warn("attempts left the log", zap.Int64("from", from), zap.Int64("start", start))
	}
	o.recovered = recovered{retries: map[int64]scan.AttemptSummary{}, endpoints: map[uint64]int64{}}
	// A delivery below the position without a reference was settled and committed.
	waits := make(map[int64]bool, o.pages.Count)
	for _, r := range o.pages.Refs {
		if r.Offset >= 0 {
			waits[r.Offset] = true
		}
	}
	r := &o.recovered
	fenced := o.fencedOwners()
	err = o.scan(ctx, o.Attempts, max(from, start), end, func(rec stream.Record) {
		t, err := scan.ScanAttempt(rec.Value, o.Topic)
		if err != nil {
			o.log.Warn("attempt not readable", zap.Int64("offset", rec.Offset), zap.Error(err))
			return
		}
		if !t.OfTopic {
			return
		}
		o.recall(&t)
		hash := queue.EndpointHash(t.Endpoint)
		if late := fenced(t.Owner); t.Offset < o.position && !waits[t.Offset] && !o.isBehind(hash, t.Offset) {
			return
		} else if late && t.Number == 0 && t.Settled() {
			o.Metrics.ignored.Inc()
			o.log.Warn("settlement of a fenced owner ignored", zap.Int64("offset", t.Offset))
			return
		}
		r.until, r.endpoints[hash] = max(r.until, t.Offset+1), max(r.endpoints[hash], t.Offset+1)
		switch {
		case t.Settled():
			r.settled.Add(t.Offset, t.ID)
			delete(r.retries, t.Offset)
		case t.Number >= r.retries[t.Offset].Number: // numbers beyond 255 repeat
			r.retries[t.Offset] = t
		}
	})
	if err != nil {
		return err
	}
	if o.mark.Status != state.Ready {
		now := o.now()
		for _, e := range o.queue.Endpoints {
			e.Health.Rebuilt(now)
			o.touch(e, true)
		}
	}
	return nil
}

// fencedOwners returns a function that reports whether an owner was fenced. An attempt happened, whoever made it; a
// settlement without a request is a decision, which an owner may not make after another one opened the partition. Only
// the previous owner is known to have had the partition until now. During a rebuild the attempts of all owners are
// read: each owner is fenced by the first attempt of the next.
func (o *owner) fencedOwners() func(state.Token) bool {
	if o.mark.Status == state.Ready {
		before := o.mark.Before
		return func(owner state.Token) bool { return owner != before }
	}
	newest := o.extra().owner
	known := map[state.Token]bool{newest: true}
	return func(owner state.Token) bool {
		if !known[owner] {
			known[owner], newest = true, owner
		}
		return owner != newest
	}
}

// fillWindow adds the deliveries before the position to the window.
func (o *owner) fillWindow(ctx context.Context, start, end int64) error {
	return o.scan(ctx, o.Topic, max(start, o.position-scan.WindowSize), min(o.position, end), func(rec stream.Record) {
		if k, err := scan.ScanKey(rec.Value); err == nil {
			o.seen.Repeat(k)
		}
	})
}

// scan reads a part of a partition.
func (o *owner) scan(ctx context.Context, topic string, from, end int64, each func(stream.Record)) error {
	for from < end {
		b, err := o.kafka.FetchFrom(ctx, topic, o.part.Number, from, 4<<20)
		if err != nil {
			return err
		}
		for _, rec := range b.Records {
			if rec.Offset < end {
				each(rec)
			}
		}
		if b.Next == from {
			return fmt.Errorf("%s/%d yields nothing at %d, below %d", topic, o.part.Number, from, end)
		}
		from = b.Next
		o.kafka.Alive()
	}
	return nil
}

// enqueue takes the references in, in the order of the log.
func (o *owner) enqueue() error {
	type stored struct {
		ref  pages.Reference
		slot int32
	}
	var all []stored
	for slot, r := range o.pages.Refs {
		if r.Offset >= 0 {
			all = append(all, stored{r, int32(slot)})
		}
	}
	slices.SortFunc(all, func(a, b stored) int { return cmp.Compare(a.ref.Offset, b.ref.Offset) })
	now := o.now()
	for _, s := range all {
		was := s.ref
		waits, err := o.reconcile(&s.ref)
		if err != nil {
			return err
		}
		if !waits {
			o.pages.Remove(s.slot)
			continue
		}
		if s.ref != was {
			o.pages.Set(s.slot, s.ref)
		}
		o.keepBody(o.queue.Add(s.ref, s.slot, nil, o.at(s.ref.Due), now))
	}
	return nil
}

// reconcile applies the attempts to a reference. Attempts of another log are an incident; where the operator accepted
// the loss, they are ignored.
func (o *owner) reconcile(ref *pages.Reference) (waits bool, err error) {
	waits, err = o.recovered.apply(ref)
	if err == nil {
		return waits, nil
	}
	if !o.AcceptLostDeliveries {
		return false, o.raiseRecreated(o.Topic, ref.Offset, err)
	}
	o.log.Warn("attempts of another log are ignored", zap.Int64("offset", ref.Offset))
	o.recovered = recovered{}
	return true, nil
}
