package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

type laneKey struct {
	topic     string
	partition int32
}

// lane is the queue of one partition. At most one goroutine works it, and it
// has at most one request in flight.
type lane struct {
	p         *Producer
	topic     string
	partition int32
	codec     kafka.Compression

	mu      sync.Mutex
	pending []item
	busy    bool

	// of the goroutine that works it
	broker int32 // that leads the partition, as of the last request
	alone  bool  // the last request failed
}

type item struct {
	rec   Record
	call  *call
	index int
	size  int
}

// run sends what is pending until nothing is.
func (l *lane) run(ctx context.Context) {
	defer l.p.running.Done()
	for {
		l.mu.Lock()
		if len(l.pending) == 0 {
			l.busy = false
			l.mu.Unlock()
			return
		}
		taken := l.pending
		l.pending = nil
		l.mu.Unlock()

		for rest := taken; len(rest) > 0; {
			n := cut(rest, l.p.maxBatch)
			l.send(ctx, rest[:n])
			rest = rest[n:]
		}
	}
}

// cut returns how many items fit one request: at least one.
func cut(items []item, maxBytes int) int {
	bytes := 0
	for i := range items {
		bytes += items[i].size
		if bytes > maxBytes && i > 0 {
			return i
		}
	}
	return len(items)
}

// send appends a batch, or parts of it, before it returns: temporary errors are
// retried here, with the same bytes, before anything later of the partition.
func (l *lane) send(ctx context.Context, batch []item) {
	key := waitKey{"produce", l.topic, l.partition}
	waiting := false
	defer func() {
		if waiting {
			l.p.c.health.done(key)
		}
	}()
	var unknownSince time.Time
	for attempt := 0; ; attempt++ {
		if batch = wanted(batch); len(batch) == 0 {
			return
		}
		res, err := l.request(ctx, batch)
		switch {
		case err == nil:
			l.acknowledge(batch, res.base)
			return
		case !temporary(err):
			l.refused(ctx, batch, res, err)
			return
		}
		if l.missing(ctx, err) {
			if unknownSince.IsZero() {
				unknownSince = time.Now()
			}
			if time.Since(unknownSince) >= l.p.unknownAfter {
				l.refuseAll(batch, fmt.Errorf("%w: %w", ErrUnknownTopic, err))
				return
			}
		} else {
			unknownSince = time.Time{}
		}
		waiting = true
		l.p.c.health.waits(key, err)
		l.p.c.metrics.retries.WithLabelValues(l.p.c.metrics.topic(l.topic), "produce").Inc()
		if !pause(ctx, l.p.stop, backoff(attempt)) {
			l.refuseAll(batch, fmt.Errorf("%w: %w: %w", ErrUnknown, ErrClosed, err))
			return
		}
	}
}

// missing reports that the brokers do not know the partition. kafka-go says the
// same of every topic while it has not reached a broker yet, so we ask again.
func (l *lane) missing(ctx context.Context, err error) bool {
	if !errors.Is(err, kafka.UnknownTopicOrPartition) && !errors.Is(err, protocol.ErrNoTopic) && !errors.Is(err, protocol.ErrNoPartition) {
		return false
	}
	n, err := l.p.c.Partitions(ctx, l.topic)
	return errors.Is(err, ErrUnknownTopic) || err == nil && n <= int(l.partition)
}

// wanted drops records whose callers have gone. It leaves the batch as it is.
func wanted(batch []item) []item {
	var last *call
	gone := false
	isGone := func(it *item) bool {
		if it.call != last {
			last, gone = it.call, it.call.isGone()
		}
		return gone
	}
	for i := range batch {
		if !isGone(&batch[i]) {
			continue
		}
		keep := slices.Clone(batch[:i])
		for j := i + 1; j < len(batch); j++ {
			if !isGone(&batch[j]) {
				keep = append(keep, batch[j])
			}
		}
		return keep
	}
	return batch
}

// request has a batch appended once. Mostly it goes with what other partitions
// of its leader have ready; after an error by itself, so that a partition whose
// replicas or leader make trouble does not hold others back again.
func (l *lane) request(ctx context.Context, batch []item) (*parcel, error) {
	buf, _ := buffers.Get().(*[]byte)
	set, err := appendBatch((*buf)[:0], batch, l.compression(batch))
	if err != nil {
		return nil, err
	}
	x := &parcel{topic: l.topic, partition: l.partition, set: set}
	err = l.carry(ctx, x)
	if l.alone = err != nil; l.alone {
		l.broker = unknownBroker // and the bytes may still be on their way out
		return x, err
	}
	if *buf = set; cap(set) <= keepBuffer {
		buffers.Put(buf)
	}
	return x, nil
}

func (l *lane) carry(ctx context.Context, x *parcel) error {
	if l.broker == unknownBroker && !l.alone {
		if broker, err := l.p.c.leader(ctx, l.topic, l.partition); err == nil {
			l.broker = broker
		}
	}
	if l.broker == unknownBroker {
		if err := l.p.c.produceParcels(ctx, unknownBroker, []*parcel{x}); err != nil {
			return err
		}
		return x.err
	}
	x.done = make(chan struct{})
	l.p.courier(l.broker).send(ctx, x)
	return x.err
}

// compressFrom is the batch size below which compressing costs more than it saves.
const compressFrom = 4 << 10

func (l *lane) compression(batch []item) kafka.Compression {
	if l.codec == 0 {
		return 0
	}
	bytes := 0
	for i := range batch {
		if bytes += batch[i].size; bytes >= compressFrom {
			return l.codec
		}
	}
	return 0
}

func (l *lane) acknowledge(batch []item, base int64) {
	m := l.p.c.metrics
	m.produced.WithLabelValues(m.topic(l.topic)).Add(float64(len(batch)))
	m.requests.WithLabelValues(m.topic(l.topic)).Inc()
	for i := 0; i < len(batch); { // neighbours are mostly of one call
		c := batch[i].call
		c.mu.Lock()
		for ; i < len(batch) && batch[i].call == c; i++ {
			c.set(batch[i].index, Placed{Partition: l.partition, Offset: base + int64(i)})
		}
		c.mu.Unlock()
	}
}

// refused settles a batch the broker refused for good. It refuses whole
// batches, so the records it names fail and the rest go again; when it names
// none, halves go alone until the guilty record stands alone.
func (l *lane) refused(ctx context.Context, batch []item, res *parcel, err error) {
	switch {
	case errors.Is(err, kafka.InvalidTimestamp):
		err = fmt.Errorf("%w: %w", ErrTimestampAhead, err)
	case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge), errors.Is(err, kafka.InvalidMessageSize):
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, kafka.InvalidRecord):
	default: // about the topic or this client, not about one record
		l.refuseAll(batch, err)
		return
	}
	if len(batch) == 1 {
		l.refuseAll(batch, err)
		return
	}
	if res != nil && len(res.guilty) > 0 {
		var guilty, rest []item
		for i, it := range batch {
			if slices.Contains(res.guilty, int32(i)) {
				guilty = append(guilty, it)
			} else {
				rest = append(rest, it)
			}
		}
		if len(guilty) > 0 {
			l.refuseAll(guilty, err)
			l.send(ctx, rest)
			return
		}
	}
	half := len(batch) / 2
	l.send(ctx, batch[:half])
	l.send(ctx, batch[half:])
}

func (l *lane) refuseAll(batch []item, err error) {
	m := l.p.c.metrics
	m.produceErrors.WithLabelValues(m.topic(l.topic), errorKind(err)).Add(float64(len(batch)))
	for i := range batch {
		batch[i].call.settle(batch[i].index, Placed{Partition: l.partition, Err: err})
	}
}
