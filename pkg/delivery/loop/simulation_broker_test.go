package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// broker keeps logs.
type broker struct {
	mu   sync.Mutex
	logs map[string]*brokerLog
	grew chan struct{} // closed when a log grows, or the broker comes back
	down bool
	full bool          // accepts no records
	slow time.Duration // duration of each fetch by Read
	// batch is the size of a fetch by Read, fetchMax the most of any fetch; 0 is as asked for.
	batch, fetchMax int
	// slowAgain is the duration of each fetch by the second reader.
	slowAgain time.Duration
	// refuses are topics whose records are refused at once, with the error.
	refuses map[string]error
}

type brokerLog struct {
	start   int64
	records []stream.Record // of all offsets, including those below start
}

func (b *broker) log(topic string) *brokerLog {
	l, ok := b.logs[topic]
	if !ok {
		l = &brokerLog{}
		b.logs[topic] = l
	}
	return l
}

func (b *broker) add(recs ...stream.Record) []stream.ProduceResult {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.append(recs)
}

func (b *broker) append(recs []stream.Record) []stream.ProduceResult {
	produced := make([]stream.ProduceResult, 0, len(recs))
	for _, r := range recs {
		l := b.log(r.Topic)
		r.Offset, r.Partition = int64(len(l.records)), 0
		l.records = append(l.records, r)
		produced = append(produced, stream.ProduceResult{Offset: r.Offset})
	}
	b.wake()
	return produced
}

// accept adds records that are not refused, as a producer does.
func (b *broker) accept(recs []stream.Record) ([]stream.ProduceResult, error) {
	b.mu.Lock()
	refuses := maps.Clone(b.refuses)
	b.mu.Unlock()
	var errs []error
	produced := make([]stream.ProduceResult, len(recs))
	for i, r := range recs {
		err := refuses[r.Topic]
		if errors.Is(err, stream.ErrTimestampAhead) && time.Since(r.Time) > 0 {
			err = nil
		}
		if err != nil {
			produced[i].Err = err
			errs = append(errs, &stream.ProduceError{Index: i, Err: err})
			continue
		}
		produced[i] = b.add(r)[0]
	}
	return produced, errors.Join(errs...)
}

// refuse makes the broker refuse records of a topic from now on; nil ends it.
func (b *broker) refuse(topic string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuses = map[string]error{topic: err}
}

func (b *broker) wake() {
	close(b.grew)
	b.grew = make(chan struct{})
}

func (b *broker) setDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
	b.wake()
}

// trim removes records below an offset, as retention does.
func (b *broker) trim(topic string, start int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log(topic).start = start
}

func (b *broker) all(topic string) []stream.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.log(topic).records)
}

// replace creates a topic again with some records.
func (b *broker) replace(topic string, recs ...stream.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs[topic] = &brokerLog{}
	b.append(recs)
}

// ready waits until the broker is up.
func (b *broker) ready(ctx context.Context) error {
	return b.wait(ctx, func() bool { return !b.down })
}

// takes waits until the broker accepts records.
func (b *broker) takes(ctx context.Context) error {
	return b.wait(ctx, func() bool { return !b.down && !b.full })
}

func (b *broker) setFull(full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = full
	b.wake()
}

func (b *broker) wait(ctx context.Context, is func() bool) error {
	for {
		b.mu.Lock()
		there, grew := is(), b.grew
		b.mu.Unlock()
		if there {
			return ctx.Err()
		}
		select {
		case <-grew:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *replica) Produce(ctx context.Context, recs ...stream.Record) ([]stream.ProduceResult, error) {
	for range recs { // a killed process may have produced a part
		if err := r.sim.broker.takes(ctx); err != nil {
			return nil, err
		}
		if r.dead() {
			return nil, errKilled
		}
	}
	if len(recs) == 0 {
		return nil, nil
	}
	pause.For(ctx, time.Millisecond)
	if r.dead() {
		r.mu.Lock()
		n := r.rand.IntN(len(recs) + 1)
		r.mu.Unlock()
		r.sim.broker.add(recs[:n]...)
		return nil, errKilled
	}
	return r.sim.broker.accept(recs)
}

func (r *replica) Offsets(ctx context.Context, topic string, _ int32) (int64, int64, error) {
	if err := r.sim.broker.ready(ctx); err != nil {
		return 0, 0, err
	}
	b := r.sim.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.log(topic)
	return l.start, int64(len(l.records)), nil
}

func (r *replica) OffsetAt(ctx context.Context, topic string, _ int32, at time.Time) (int64, error) {
	if err := r.sim.broker.ready(ctx); err != nil {
		return 0, err
	}
	all := r.sim.broker.all(topic)
	if i := slices.IndexFunc(all, func(rec stream.Record) bool { return !rec.Time.Before(at) }); i >= 0 {
		return int64(i), nil
	}
	return int64(len(all)), nil
}

func (r *replica) FetchFrom(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (stream.Batch, error) {
	if err := r.sim.broker.ready(ctx); err != nil {
		return stream.Batch{}, err
	}
	b := r.sim.broker
	if topic == topicDeliveries {
		r.reads.Add(1)
	}
	if maxBytes == behindBytes {
		r.again.Add(1)
		b.mu.Lock()
		slow := b.slowAgain
		b.mu.Unlock()
		pause.For(ctx, slow)
	}
	if maxBytes == bodyBytes && topic == topicDeliveries {
		r.sim.mu.Lock()
		fetching := r.sim.fetching
		r.sim.mu.Unlock()
		if fetching != nil && fetching(offset) {
			return stream.Batch{Next: offset}, nil
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.log(topic)
	if end := int64(len(l.records)); offset < l.start || offset > end {
		return stream.Batch{}, &stream.OutOfRangeError{Topic: topic, Partition: partition, From: offset, Start: l.start, End: end}
	}
	out := stream.Batch{Start: l.start, End: int64(len(l.records)), Next: offset}
	if b.fetchMax > 0 {
		maxBytes = min(maxBytes, b.fetchMax)
	}
	for _, rec := range l.records[offset:] {
		out.Records = append(out.Records, rec)
		out.Next++
		if maxBytes -= len(rec.Value); maxBytes <= 0 {
			break
		}
	}
	return out, nil
}

func (r *replica) Read(ctx context.Context, from int64) (<-chan stream.Fetched, func()) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan stream.Fetched)
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			r.sim.broker.mu.Lock()
			grew := r.sim.broker.grew
			r.sim.broker.mu.Unlock()
			r.sim.broker.mu.Lock()
			slow, size := r.sim.broker.slow, cmp.Or(r.sim.broker.batch, 4096)
			r.sim.broker.mu.Unlock()
			pause.For(ctx, slow)
			batch, err := r.FetchFrom(ctx, topicDeliveries, 0, from, size)
			if ctx.Err() != nil {
				return
			}
			if err == nil && len(batch.Records) == 0 {
				select {
				case <-grew:
					continue
				case <-ctx.Done():
					return
				}
			}
			select {
			case out <- stream.Fetched{Batch: batch, Err: err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			from = batch.Next
		}
	})
	return out, func() { cancel(); reader.Wait() }
}

func (r *replica) Position(offset int64) {
	if r.dead() {
		return
	}
	if offset > r.sim.group.Load() {
		r.sim.group.Store(offset)
	}
}

func (r *replica) Committed() int64 { return r.sim.group.Load() }

func (r *replica) WriteSnapshot(ctx context.Context, records ...*statev1.SnapshotRecord) error {
	if err := r.sim.broker.takes(ctx); err != nil {
		return err
	}
	pause.For(ctx, time.Millisecond)
	if r.dead() { // a part may have been written
		r.mu.Lock()
		records = records[:r.rand.IntN(len(records)+1)]
		r.mu.Unlock()
		_ = r.sim.snapshots.Write(ctx, records...)
		return errKilled
	}
	return r.sim.snapshots.Write(ctx, records...)
}

func (r *replica) Newest(ctx context.Context, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error), each func(*statev1.SnapshotRecord) error) (bool, error) {
	if err := r.sim.broker.ready(ctx); err != nil {
		return false, err
	}
	return r.sim.snapshots.Newest(ctx, p, accept, each)
}

func (r *replica) Alive()              {}
func (r *replica) Worked(offset int64) { r.worked.Store(offset) }
func (r *replica) Report(code string, offset int64, err error) {
	r.sim.Set("reported", fmt.Errorf("%s at %d: %sim", code, offset, err))
}
func (r *replica) Incident(code string, offset int64, err error) {
	r.sim.Set("incident", fmt.Errorf("%s at %d: %sim", code, offset, err))
}
