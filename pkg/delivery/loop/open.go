package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

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
		o.Metrics.Gone.Add(float64(start - o.position))
		o.position, o.last = start, 0
	}
	stored, err := o.loadPages(ctx, e.Pages)
	if err != nil {
		return fmt.Errorf("load references: %w", err)
	}
	if err := o.loadRecords(ctx, e.Records); err != nil {
		return fmt.Errorf("load records of endpoints: %w", err)
	}
	o.openBehind(start)
	if err := o.readAttempts(ctx, e.Attempts, stored); err != nil {
		return fmt.Errorf("read attempts back: %w", err)
	}
	if o.seen = o.kept.take(o.part.Number, opened); o.seen == nil {
		o.condition("window", errors.New("reading back which deliveries were planned last: what is planned since waits"))
		from, to := max(start, o.mark.Offset-scan.WindowSize), min(o.mark.Offset, end)
		o.workers.Go(func() { o.fillWindow(from, to) })
	}
	if err := o.enqueue(stored); err != nil {
		return err
	}
	o.recorded, o.opened = o.now(), true
	o.condition("opening", nil)
	if o.recovering() {
		o.Metrics.Rebuilds.Inc()
		o.log.Info("position lost: rebuilding it from the attempts", zap.Bool("from_snapshot", restored), zap.Int64("from", o.position), zap.Int64("to", o.mark.PublishedOffset))
		o.condition("recovering", fmt.Errorf("reading %d deliveries again: nothing is sent yet", o.mark.PublishedOffset-o.position))
	}
	return nil
}

// firstWatermark creates the watermark of a partition that has none. Its status is Rebuilding, up to the end of what
// may have been sent before. It is committed at once, so that a second crash finds the same end.
func (o *owner) firstWatermark(ctx context.Context, start, end int64) (pages.Extra, error) {
	if o.mark.Status != state.Blank && o.mark.Status != state.Restoring {
		e, err := pages.ParseExtra(o.mark.Extra)
		if err != nil {
			return e, fmt.Errorf("read position: %w", err)
		}
		return e, nil
	}
	oldest, _, err := o.kafka.Offsets(ctx, o.Attempts, o.part.Number)
	if err != nil {
		return pages.Extra{}, fmt.Errorf("find the attempts' start: %w", err)
	}
	newest, err := o.newest(ctx, start, end)
	if err != nil {
		return pages.Extra{}, err
	}
	from, err := o.kafka.OffsetAt(ctx, o.Topic, o.part.Number, newest.Add(-o.MaxAge))
	if err != nil {
		return pages.Extra{}, fmt.Errorf("find deliveries of the last %s: %w", o.MaxAge, err)
	}
	from = max(from, start)
	end = max(end, from)
	e := pages.Extra{Attempts: oldest}
	to := o.mark
	if end > start {
		to.LogTime = newest.UnixMilli()
	}
	to.Status, to.Offset, to.LastHash, to.PublishedOffset, to.Extra = state.Rebuilding, from, 0, end, e.Encode()
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

// loadPages returns the stored references in the order of the log.
func (o *owner) loadPages(ctx context.Context, n int) ([]pages.Stored, error) {
	all := make([]pages.Stored, 0, 64*n)
	for from := 0; from < n; from += openPages {
		var values [][]byte
		err := o.within(ctx, func(ctx context.Context) (err error) {
			values, err = o.Store.Load(ctx, o.part, o.mark, pages.Keys(from, min(openPages, n-from)))
			return err
		})
		if errors.Is(err, state.ErrFenced) {
			return nil, fmt.Errorf("%w: %w", stream.ErrRejoin, err)
		}
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			if all, err = o.pages.Load(all, v); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(all, func(a, b pages.Stored) int { return cmp.Compare(a.Offset, b.Offset) })
	return all, nil
}

// readAttempts reads the attempts that were published from an offset on.
func (o *owner) readAttempts(ctx context.Context, from int64, stored []pages.Stored) error {
	start, end, err := o.kafka.Offsets(ctx, o.Attempts, o.part.Number)
	if err != nil {
		return err
	}
	if from < start {
		// These attempts are older than any delivery that may wait; at worst their deliveries are sent again.
		o.log.Warn("attempts left the log", zap.Int64("from", from), zap.Int64("start", start))
	}
	o.recovered = scan.NewRecovered()
	// A delivery below the position without a reference was settled and committed.
	waits := func(offset int64) bool {
		_, found := slices.BinarySearchFunc(stored, offset, func(s pages.Stored, offset int64) int { return cmp.Compare(s.Offset, offset) })
		return found
	}
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
		o.recall(&t, rec.Offset)
		hash := delivery.EndpointHash(t.Endpoint)
		if late := fenced(t.Owner); t.Offset < o.position && !waits(t.Offset) && !o.isBehind(hash, t.Offset) {
			return
		} else if late && t.Number == 0 && t.Settled() {
			o.Metrics.Ignored.Inc()
			o.log.Warn("settlement of a fenced owner ignored", zap.Int64("offset", t.Offset))
			return
		}
		o.recovered.Add(&t, hash)
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
	o.published.Offset = end // what was recalled is in no record yet: its attempts are read again until it is
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
	newest := o.extra().Owner
	known := map[state.Token]bool{newest: true}
	return func(owner state.Token) bool {
		if !known[owner] {
			known[owner], newest = true, owner
		}
		return owner != newest
	}
}

// fillWindow reads the deliveries before the position for the window. What waits is sent meanwhile: it is in references, so
// the window is not asked about it.
func (o *owner) fillWindow(from, end int64) {
	for o.send.Err() == nil {
		w := scan.NewWindow()
		err := o.scan(o.send, o.Topic, from, end, func(rec stream.Record) {
			if k, err := scan.ScanKey(rec.Value); err == nil {
				w.Repeat(k)
			}
		})
		if err == nil {
			o.window <- w
			return
		}
		o.log.Warn("deliveries planned last not read back", zap.Error(err))
		pause.For(o.send, readAgain)
	}
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
func (o *owner) enqueue(stored []pages.Stored) error {
	now := o.now()
	for i := range stored {
		s := &stored[i]
		was := s.Reference
		waits, err := o.reconcile(&s.Reference)
		if err != nil {
			return err
		}
		if !waits {
			o.pages.Put(s.Slot, 0)
			o.pages.Remove(s.Slot)
			continue
		}
		it := o.queue.Add(s.Reference, s.Slot, nil, o.at(s.Due), o.firstOf(&s.Reference), now)
		o.pages.Put(s.Slot, it.Number())
		if s.Reference != was {
			o.pages.Touch(s.Slot)
		}
		o.queue.Keep(it, nil)
	}
	o.pages.Loaded()
	return nil
}

// reconcile applies the attempts to a reference. Attempts of another log are an incident; where the operator accepted
// the loss, they are ignored.
func (o *owner) reconcile(ref *pages.Reference) (waits bool, err error) {
	waits, err = o.recovered.Apply(ref)
	if err == nil {
		return waits, nil
	}
	if !o.AcceptLostDeliveries {
		return false, o.raiseRecreated(o.Topic, ref.Offset, err)
	}
	o.log.Warn("attempts of another log are ignored", zap.Int64("offset", ref.Offset))
	o.recovered = scan.Recovered{}
	return true, nil
}
