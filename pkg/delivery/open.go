package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// recovered is what the attempts told of deliveries: of results that were
// published and not committed, or of all when the store was lost.
type recovered struct {
	settled offsets
	retries map[int64]trace
	// until is the offset from which on nothing is known; attempts are held
	// until the position has passed it.
	until int64
}

// apply changes a reference to what the attempts say; false where they say it
// is settled. An error says that they are of another log: offsets alone would
// settle deliveries that nobody has received.
func (r *recovered) apply(ref *reference) (waits bool, err error) {
	if ref.offset >= r.until {
		return true, nil
	}
	if id, known := r.settled.first(ref.offset); known && id != ref.id {
		return true, errOtherLog
	}
	if r.settled.has(ref.offset) {
		return false, nil
	}
	if t, ok := r.retries[ref.offset]; ok {
		if t.id != 0 && t.id != ref.id {
			return true, errOtherLog
		}
		if counted(t.number) >= ref.attempts {
			ref.attempts, ref.due = counted(t.number), t.next
		}
	}
	return true, nil
}

var errOtherLog = errors.New("its attempts are of other deliveries")

// openPages is how many pages one call loads.
const openPages = 256

// open finds out where the partition stands: from the store, and what was
// published since its last commit from the attempts; or, where the store knows
// nothing, all of it from the attempts. Nothing is sent before.
func (o *owner) open(ctx context.Context) error {
	o.condition("opening", errors.New("reads back what waits: nothing is sent yet"))
	err := o.within(ctx, func(ctx context.Context) (err error) {
		o.mark, err = o.Store.Open(ctx, o.part, o.Address)
		return err
	})
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	start, end, err := o.kafka.Offsets(ctx, o.Topic, o.part.Number)
	if err != nil {
		return fmt.Errorf("find the log's ends: %w", err)
	}
	o.token = slices.Clone(o.mark.Token[:])
	e, err := o.begun(ctx, start, end)
	if err != nil {
		return err
	}
	if e, err = o.sameLogs(ctx, e, start, end); err != nil {
		return err
	}
	o.position, o.last = o.mark.Offset, o.mark.LastHash
	if o.AcceptLostDeliveries && o.position < start {
		o.log.Warn("deliveries that left the log unread are given up", zap.Int64("from", o.position), zap.Int64("to", start))
		o.Metrics.gone.Add(float64(start - o.position))
		o.position, o.last = start, 0
	}
	if err := o.loadPages(ctx, e.pages); err != nil {
		return fmt.Errorf("load references: %w", err)
	}
	if err := o.readAttempts(ctx, e.attempts); err != nil {
		return fmt.Errorf("read attempts back: %w", err)
	}
	if err := o.fillWindow(ctx, start, end); err != nil {
		return fmt.Errorf("fill the window of repeats: %w", err)
	}
	if err := o.enqueue(); err != nil {
		return err
	}
	o.recorded = o.now()
	o.condition("opening", nil)
	if o.recovering() {
		o.Metrics.rebuilds.Inc()
		o.log.Info("position lost: finding it again from the attempts", zap.Int64("from", o.position), zap.Int64("to", o.mark.Floor))
		o.condition("recovering", fmt.Errorf("reads %d deliveries again: nothing is sent yet", o.mark.Floor-o.position))
	}
	return nil
}

// begun makes the first watermark of a partition that has none: a rebuilding
// one, whose floor is the end of what may have been sent before. It is committed
// at once, so that a second crash finds the same floor.
func (o *owner) begun(ctx context.Context, start, end int64) (extra, error) {
	if o.mark.Status != state.Blank {
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
	to.Status, to.Offset, to.LastHash, to.Floor, to.Extra = state.Rebuilding, from, 0, end, e.encode()
	return e, o.become(ctx, to, state.Commit{})
}

// newest is when the log's newest delivery was planned, and now at the latest: a
// clock that is ahead must not make all of them too old.
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

// become makes a watermark the partition's, at opening.
func (o *owner) become(ctx context.Context, to state.Watermark, changes state.Commit) error {
	c := commit{from: o.mark, to: to, changes: changes}
	c.to.At = o.wall()
	c.to.Serial++
	err := o.commit(ctx, &c)
	if errors.Is(err, state.ErrFenced) {
		err = fmt.Errorf("%w: %w", stream.ErrRejoin, err)
	}
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	o.mark = c.to
	return nil
}

func (o *owner) loadPages(ctx context.Context, n int) error {
	for from := 0; from < n; from += openPages {
		var values [][]byte
		err := o.within(ctx, func(ctx context.Context) (err error) {
			values, err = o.Store.Load(ctx, o.part, o.mark, pageKeys(from, min(openPages, n-from)))
			return err
		})
		if errors.Is(err, state.ErrFenced) {
			return fmt.Errorf("%w: %w", stream.ErrRejoin, err)
		}
		if err != nil {
			return err
		}
		for _, v := range values {
			if err := o.pages.load(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// readAttempts takes in what was published from an offset on.
func (o *owner) readAttempts(ctx context.Context, from int64) error {
	start, end, err := o.kafka.Offsets(ctx, o.Attempts, o.part.Number)
	if err != nil {
		return err
	}
	if from < start {
		// Only attempts older than any delivery that may wait; what they tell is repeated at worst.
		o.log.Warn("attempts have left the log", zap.Int64("from", from), zap.Int64("start", start))
	}
	o.recovered = recovered{retries: map[int64]trace{}}
	// What stands below the position and in no reference was settled and committed.
	waits := make(map[int64]bool, o.pages.count)
	for _, r := range o.pages.refs {
		if r.offset >= 0 {
			waits[r.offset] = true
		}
	}
	r := &o.recovered
	fenced := o.fenced()
	return o.scan(ctx, o.Attempts, max(from, start), end, func(rec stream.Record) {
		t, err := scanAttempt(rec.Value, o.Topic)
		if err != nil {
			o.log.Warn("attempt not readable", zap.Int64("offset", rec.Offset), zap.Error(err))
			return
		}
		if !t.ours {
			return
		}
		if late := fenced(t.owner); t.offset < o.position && !waits[t.offset] {
			return
		} else if late && t.number == 0 && t.settled {
			o.Metrics.ignored.Inc()
			o.log.Warn("settlement of a fenced owner ignored", zap.Int64("offset", t.offset))
			return
		}
		r.until = max(r.until, t.offset+1)
		switch {
		case t.settled:
			r.settled.add(t.offset, t.id)
			delete(r.retries, t.offset)
		case t.number >= r.retries[t.offset].number: // numbers beyond the last that is counted repeat
			r.retries[t.offset] = t
		}
	})
}

// fenced tells which owner's word does not count. An attempt is what happened,
// whoever made it; a settlement without one is a decision, and whoever decided
// after somebody else had opened the partition was wrong to. Only the last owner
// before this one is known to have had it until now. While the position is found
// again all owners' attempts are read: each is fenced by the first word of the
// next.
func (o *owner) fenced() func(state.Token) bool {
	if o.mark.Status == state.Ready {
		before := o.mark.Before
		return func(owner state.Token) bool { return owner != before }
	}
	var newest state.Token
	heard := map[state.Token]bool{}
	return func(owner state.Token) bool {
		if !heard[owner] {
			heard[owner], newest = true, owner
		}
		return owner != newest
	}
}

// fillWindow remembers the deliveries before the position.
func (o *owner) fillWindow(ctx context.Context, start, end int64) error {
	return o.scan(ctx, o.Topic, max(start, o.position-windowSize), min(o.position, end), func(rec stream.Record) {
		if k, err := scanKey(rec.Value); err == nil {
			o.seen.repeat(k)
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
		ref  reference
		slot int32
	}
	var all []stored
	for slot, r := range o.pages.refs {
		if r.offset >= 0 {
			all = append(all, stored{r, int32(slot)})
		}
	}
	slices.SortFunc(all, func(a, b stored) int { return cmp.Compare(a.ref.offset, b.ref.offset) })
	now := o.now()
	for _, s := range all {
		was := s.ref
		waits, err := o.reconcile(&s.ref)
		if err != nil {
			return err
		}
		if !waits {
			o.pages.remove(s.slot)
			continue
		}
		if s.ref != was {
			o.pages.set(s.slot, s.ref)
		}
		o.keepBody(o.queue.add(s.ref, s.slot, nil, o.at(s.ref.due), now))
	}
	return nil
}

// reconcile is what the attempts say of a reference. Those of another log are an
// incident, or, where a person has said so, say nothing.
func (o *owner) reconcile(ref *reference) (waits bool, err error) {
	waits, err = o.recovered.apply(ref)
	if err == nil {
		return waits, nil
	}
	if !o.AcceptLostDeliveries {
		return false, o.recreated(o.Topic, ref.offset, err)
	}
	o.log.Warn("attempts of another log are passed over", zap.Int64("offset", ref.offset))
	o.recovered = recovered{}
	return true, nil
}
