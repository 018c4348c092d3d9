package produce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

type partitionKey struct {
	topic     string
	partition int32
}

// partitionQueue is the queue of one partition. At most one goroutine works it, and it
// has at most one request in flight.
type partitionQueue struct {
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
	rec   codec.Record
	call  *call
	index int
	size  int
}

// run sends what is pending until nothing is.
func (q *partitionQueue) run(ctx context.Context) {
	defer q.p.running.Done()
	for {
		q.mu.Lock()
		if len(q.pending) == 0 {
			q.busy = false
			q.mu.Unlock()
			return
		}
		taken := q.pending
		q.pending = nil
		q.mu.Unlock()

		for rest := taken; len(rest) > 0; {
			n := cut(rest, q.p.maxBatch)
			q.send(ctx, rest[:n])
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
func (q *partitionQueue) send(ctx context.Context, batch []item) {
	key := cluster.WaitKey{For: "produce", Topic: q.topic, Partition: q.partition}
	waiting := false
	defer func() {
		if waiting {
			q.p.c.Done(key)
		}
	}()
	var unknownSince time.Time
	for attempt := 0; ; attempt++ {
		if batch = wanted(batch); len(batch) == 0 {
			return
		}
		res, err := q.request(ctx, batch)
		switch {
		case err == nil:
			q.acknowledge(batch, res.base)
			return
		case !cluster.Temporary(err):
			q.settleRefused(ctx, batch, res, err)
			return
		}
		if q.missing(ctx, err) {
			if unknownSince.IsZero() {
				unknownSince = time.Now()
			}
			if time.Since(unknownSince) >= q.p.unknownAfter {
				q.refuseAll(batch, fmt.Errorf("%w: %w", cluster.ErrUnknownTopic, err))
				return
			}
		} else {
			unknownSince = time.Time{}
		}
		waiting = true
		q.p.c.Waits(key, err)
		q.p.c.CountRetry(q.topic, "produce")
		if !pause.Unless(ctx, q.p.stop, cluster.Backoff(attempt)) {
			q.refuseAll(batch, fmt.Errorf("%w: %w: %w", ErrUnknown, ErrClosed, err))
			return
		}
	}
}

// missing reports that the brokers do not know the partition. kafka-go returns the
// same of every topic while it has not reached a broker yet, so we ask again.
func (q *partitionQueue) missing(ctx context.Context, err error) bool {
	if !errors.Is(err, kafka.UnknownTopicOrPartition) && !errors.Is(err, protocol.ErrNoTopic) &&
		!errors.Is(err, protocol.ErrNoPartition) {
		return false
	}
	n, err := q.p.c.Partitions(ctx, q.topic)
	return errors.Is(err, cluster.ErrUnknownTopic) || err == nil && n <= int(q.partition)
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
func (q *partitionQueue) request(ctx context.Context, batch []item) (*partitionBatch, error) {
	buf := codec.Buffer()
	set, err := codec.AppendBatch((*buf)[:0], len(batch), func(i int) *codec.Record { return &batch[i].rec },
		q.compression(batch))
	if err != nil {
		return nil, err
	}
	x := &partitionBatch{topic: q.topic, partition: q.partition, set: set}
	err = q.appendBatch(ctx, x)
	if q.alone = err != nil; q.alone {
		q.broker = anyBroker // and the bytes may still be on their way out
		return x, err
	}
	codec.KeepBuffer(buf, set)
	return x, nil
}

func (q *partitionQueue) appendBatch(ctx context.Context, x *partitionBatch) error {
	if q.broker == anyBroker && !q.alone {
		if broker, err := q.p.c.Leader(ctx, q.topic, q.partition); err == nil {
			q.broker = broker
		}
	}
	if q.broker == anyBroker {
		if err := request(ctx, q.p.c, anyBroker, []*partitionBatch{x}); err != nil {
			return err
		}
		return x.err
	}
	x.done = make(chan struct{})
	q.p.sender(q.broker).send(ctx, x)
	return x.err
}

// compressFrom is the batch size below which compressing costs more than it saves.
const compressFrom = 4 << 10

func (q *partitionQueue) compression(batch []item) kafka.Compression {
	if q.codec == 0 {
		return 0
	}
	bytes := 0
	for i := range batch {
		if bytes += batch[i].size; bytes >= compressFrom {
			return q.codec
		}
	}
	return 0
}

func (q *partitionQueue) acknowledge(batch []item, base int64) {
	label := q.p.c.TopicLabel(q.topic)
	q.p.metrics.records.WithLabelValues(label).Add(float64(len(batch)))
	q.p.metrics.batches.WithLabelValues(label).Inc()
	for i := 0; i < len(batch); { // neighbours are mostly of one call
		c := batch[i].call
		c.mu.Lock()
		for ; i < len(batch) && batch[i].call == c; i++ {
			c.set(batch[i].index, Result{Partition: q.partition, Offset: base + int64(i)})
		}
		c.mu.Unlock()
	}
}

// settleRefused settles a batch the broker refused for good. It refuses whole
// batches, so the records it names fail and the rest go again; when it names
// none, halves go alone until the refused record is alone.
func (q *partitionQueue) settleRefused(ctx context.Context, batch []item, res *partitionBatch, err error) {
	switch {
	case errors.Is(err, kafka.InvalidTimestamp):
		err = fmt.Errorf("%w: %w", ErrTimestampAhead, err)
	case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge), errors.Is(err,
		kafka.InvalidMessageSize):
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, kafka.InvalidRecord):
	default: // about the topic or this client, not about one record
		q.refuseAll(batch, err)
		return
	}
	if len(batch) == 1 {
		q.refuseAll(batch, err)
		return
	}
	if res != nil && len(res.refused) > 0 {
		var refused, rest []item
		for i, it := range batch {
			if slices.Contains(res.refused, int32(i)) {
				refused = append(refused, it)
			} else {
				rest = append(rest, it)
			}
		}
		if len(refused) > 0 {
			q.refuseAll(refused, err)
			q.send(ctx, rest)
			return
		}
	}
	half := len(batch) / 2
	q.send(ctx, batch[:half])
	q.send(ctx, batch[half:])
}

func (q *partitionQueue) refuseAll(batch []item, err error) {
	q.p.metrics.errors.WithLabelValues(q.p.c.TopicLabel(q.topic), errorKind(err)).Add(float64(len(batch)))
	for i := range batch {
		batch[i].call.settle(batch[i].index, Result{Partition: q.partition, Err: err})
	}
}
