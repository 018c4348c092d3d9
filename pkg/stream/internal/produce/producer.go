package produce

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// Option changes a Producer from its defaults.
type Option func(*Producer)

// MaxBatch is documented in package stream.
func MaxBatch(bytes int) Option { return func(p *Producer) { p.maxBatch = bytes } }

// MaxRecord is documented in package stream.
func MaxRecord(bytes int) Option { return func(p *Producer) { p.maxRecord = bytes } }

// UnknownTopicAfter is documented in package stream.
func UnknownTopicAfter(d time.Duration) Option {
	return func(p *Producer) { p.unknownAfter = d }
}

// Producer appends records with acks=all and no linger: what is handed in while
// a request for a partition is in flight goes together in the next. Each
// partition has at most one request in flight, so its order is the order of
// hand-in; what several partitions of one broker have ready shares a request. It is safe for use by many goroutines.
type Producer struct {
	c            *cluster.Cluster
	metrics      *Metrics
	compression  func(topic string) kafka.Compression
	maxBatch     int
	maxRecord    int
	unknownAfter time.Duration

	spread atomic.Uint32 // round robin of records without a key

	mu      sync.RWMutex
	queues  map[partitionKey]*partitionQueue
	senders map[int32]*sender // by broker
	closed  bool

	running sync.WaitGroup // queues at work
	stop    chan struct{}  // ends retries when Close runs out of time
	stopped sync.Once
}

// New makes a Producer. compression is what batches of a topic (full name) are compressed by from 4 KiB on.
func New(c *cluster.Cluster, m *Metrics, compression func(topic string) kafka.Compression, opts ...Option) *Producer {
	p := &Producer{
		c:            c,
		metrics:      m,
		compression:  compression,
		maxBatch:     900 << 10,
		maxRecord:    8 << 20,
		unknownAfter: 10 * time.Second,
		queues:       map[partitionKey]*partitionQueue{},
		senders:      map[int32]*sender{},
		stop:         make(chan struct{}),
	}
	for _, o := range opts {
		o(p)
	}
	return p
}

// Result is where a record was appended, or why not.
type Result struct {
	Partition int32
	// Offset is meaningful when Err is nil. After a lost answer the record may be at an earlier one too.
	Offset int64
	Err    error
}

// Produce appends records and blocks until every one is acknowledged or
// refused. Its error joins a *Error for each that was not; nil means all
// were. Temporary errors are retried until ctx ends; then what is left is
// ErrUnknown. A refused record does not hold others back.
func (p *Producer) Produce(ctx context.Context, recs ...codec.Record) error {
	_, err := p.ProduceResults(ctx, recs...)
	return err
}

// ProduceResults is Produce for callers that need the partition and offset of each record.
func (p *Producer) ProduceResults(ctx context.Context, recs ...codec.Record) ([]Result, error) {
	if len(recs) == 0 {
		return nil, nil
	}
	defer cluster.MarkWaiting(ctx)()
	c := &call{results: make([]Result, len(recs)), left: len(recs), done: make(chan struct{})}
	p.handIn(ctx, c, recs)
	select {
	case <-c.done:
	case <-ctx.Done():
		c.abandon(ctx.Err())
	}
	var errs []error
	for i := range c.results {
		if err := c.results[i].Err; err != nil {
			errs = append(errs, &Error{Index: i, Err: err})
		}
	}
	if errs == nil {
		return c.results, nil
	}
	return c.results, errors.Join(errs...)
}

// handIn queues the records on their partitions, in order.
func (p *Producer) handIn(ctx context.Context, c *call, recs []codec.Record) {
	p.mu.RLock()
	closed := p.closed
	p.mu.RUnlock()
	if closed {
		for i := range recs {
			c.settle(i, Result{Partition: recs[i].Partition, Err: ErrClosed})
		}
		return
	}
	now := time.Now().Truncate(time.Millisecond)
	queue := make([]item, 0, len(recs)) // of the partition queue `last`, not handed over yet
	var (
		last  *partitionQueue
		topic string // whose partition count is known
		count int
	)
	flush := func() {
		if len(queue) > 0 && !p.enqueue(ctx, last, queue) {
			for _, it := range queue {
				c.settle(it.index, Result{Partition: last.partition, Err: ErrClosed})
			}
		}
		queue = queue[:0]
	}
	for i := range recs {
		r := recs[i]
		if r.Time.IsZero() {
			r.Time = now
		}
		size := r.Size()
		if size > p.maxRecord {
			p.refuse(c, i, r, fmt.Errorf("%d bytes: %w", size, ErrTooLarge))
			continue
		}
		partition := r.Partition
		if partition < 0 {
			if r.Topic != topic || count == 0 {
				topic, count = r.Topic, p.c.KnownPartitions(r.Topic)
			}
			if count == 0 {
				flush() // asking may take long, and does not hold others back
				var err error
				if count, err = p.partitions(ctx, r.Topic); err != nil {
					p.refuse(c, i, r, err)
					continue
				}
			}
			partition = p.choose(r.Key, count)
		}
		if last == nil || last.topic != r.Topic || last.partition != partition {
			flush()
			last = p.queue(partitionKey{r.Topic, partition})
		}
		queue = append(queue, item{rec: r, call: c, index: i, size: size})
	}
	flush()
}

func (p *Producer) refuse(c *call, i int, r codec.Record, err error) {
	p.metrics.errors.WithLabelValues(p.c.TopicLabel(r.Topic), errorKind(err)).Inc()
	c.settle(i, Result{Partition: r.Partition, Err: err})
}

// partitions asks how many partitions a topic has. An unknown one may have been
// created this moment: it is asked for again until unknownAfter has passed.
func (p *Producer) partitions(ctx context.Context, topic string) (int, error) {
	var n int
	started := time.Now()
	err := p.c.Retry(ctx, cluster.WaitKey{For: "produce", Topic: topic, Partition: codec.AnyPartition},
		func(ctx context.Context) error {
			var err error
			n, err = p.c.CountPartitions(ctx, topic)
			if errors.Is(err, cluster.ErrUnknownTopic) && time.Since(started) < p.unknownAfter {
				return cluster.ErrTopicNotYet
			}
			return err
		})
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	case err != nil:
		return 0, err
	case n == 0:
		return 0, cluster.ErrUnknownTopic
	}
	return n, nil
}

// choose is the partition of a record that names none.
func (p *Producer) choose(key []byte, partitions int) int32 {
	if key == nil {
		return int32(p.spread.Add(1) % uint32(partitions))
	}
	return PartitionOf(key, partitions)
}

func (p *Producer) queue(key partitionKey) *partitionQueue {
	return existingOrNew(p, p.queues, key, func() *partitionQueue {
		return &partitionQueue{p: p, topic: key.topic, partition: key.partition, codec: p.compression(key.topic),
			broker: anyBroker}
	})
}

func (p *Producer) sender(broker int32) *sender {
	return existingOrNew(p, p.senders, broker, func() *sender { return &sender{p: p, broker: broker} })
}

// existingOrNew is an entry of one of the producer's maps, which are read much more than written.
func existingOrNew[K comparable, V any](p *Producer, all map[K]*V, key K, create func() *V) *V {
	p.mu.RLock()
	v := all[key]
	p.mu.RUnlock()
	if v != nil {
		return v
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if v = all[key]; v == nil {
		v = create()
		all[key] = v
	}
	return v
}

// enqueue hands items to a partition queue and wakes it when it is idle; false
// when the producer is closed.
func (p *Producer) enqueue(ctx context.Context, q *partitionQueue, items []item) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return false
	}
	q.mu.Lock()
	q.pending = append(q.pending, items...)
	wake := !q.busy
	q.busy = true
	q.mu.Unlock()
	if wake {
		p.running.Add(1)
		go q.run(context.WithoutCancel(ctx))
	}
	return true
}

// Close refuses new records and waits until those handed in are acknowledged or
// refused. When ctx ends first, what is left fails with ErrUnknown or ErrClosed.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		p.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	p.stopped.Do(func() { close(p.stop) })
	select {
	case <-idle:
		return nil
	case <-time.After(p.c.CallTimeout):
		return fmt.Errorf("close producer: %w", ctx.Err())
	}
}

// call is one Produce call; its results are written by the queues.
type call struct {
	mu      sync.Mutex
	results []Result
	left    int
	gone    bool // the caller waits no more: what was not sent need not be
	done    chan struct{}
}

func (c *call) settle(index int, r Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(index, r)
}

// set is settle with the call locked.
func (c *call) set(index int, r Result) {
	if c.gone {
		return
	}
	c.results[index] = r
	if c.left--; c.left == 0 {
		close(c.done)
		c.gone = true
	}
}

// abandon marks every record without a result as unknown. Results that come
// later are dropped.
func (c *call) abandon(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	c.gone = true
	for i := range c.results {
		if c.results[i] == (Result{}) {
			c.results[i] = Result{Partition: codec.AnyPartition, Err: fmt.Errorf("%w: %w", ErrUnknown, cause)}
		}
	}
}

func (c *call) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}
