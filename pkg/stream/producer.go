package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ProducerOption changes a Producer from its defaults.
type ProducerOption func(*Producer)

// MaxBatch bounds what goes into one request, before compression. Topics of
// Tollgate take 2 MiB a batch; default 900 KiB, which any topic takes.
func MaxBatch(bytes int) ProducerOption { return func(p *Producer) { p.maxBatch = bytes } }

// MaxRecord refuses larger records before they are sent: a broker answers a
// request beyond its own bound by closing the connection, which looks temporary.
// Default 8 MiB.
func MaxRecord(bytes int) ProducerOption { return func(p *Producer) { p.maxRecord = bytes } }

// UnknownTopicAfter is how long a topic or partition may be unknown to the
// broker before its records fail with ErrUnknownTopic. Default 10 s.
func UnknownTopicAfter(d time.Duration) ProducerOption {
	return func(p *Producer) { p.unknownAfter = d }
}

// Uncompressed sends batches as they are; otherwise Config.Compression says how they are compressed from 4 KiB on.
func Uncompressed() ProducerOption { return func(p *Producer) { p.uncompressed = true } }

// Producer appends records with acks=all and no linger: what is handed in while
// a request for a partition is in flight goes together in the next. Each
// partition has at most one request in flight, so its order is the order of
// hand-in; what several partitions of one broker have ready shares a request. It is safe for use by many goroutines.
type Producer struct {
	c            *Client
	maxBatch     int
	maxRecord    int
	unknownAfter time.Duration
	uncompressed bool

	spread atomic.Uint32 // round robin of records without a key

	mu       sync.RWMutex
	lanes    map[laneKey]*lane
	couriers map[int32]*courier // by broker
	closed   bool

	running sync.WaitGroup // lanes at work
	stop    chan struct{}  // ends retries when Close runs out of time
	stopped sync.Once
}

// NewProducer makes a Producer on the client's connections.
func (c *Client) NewProducer(opts ...ProducerOption) *Producer {
	p := &Producer{
		c:            c,
		maxBatch:     900 << 10,
		maxRecord:    8 << 20,
		unknownAfter: 10 * time.Second,
		lanes:        map[laneKey]*lane{},
		couriers:     map[int32]*courier{},
		stop:         make(chan struct{}),
	}
	for _, o := range opts {
		o(p)
	}
	return p
}

// Placed is where a record was appended, or why not.
type Placed struct {
	Partition int32
	// Offset is meaningful when Err is nil. After a lost answer the record may stand at an earlier one too.
	Offset int64
	Err    error
}

// Produce appends records and blocks until every one is acknowledged or
// refused. Its error joins a *ProduceError for each that was not; nil means all
// were. Temporary errors are retried until ctx ends; then what is left is
// ErrUnknown. A refused record does not hold others back.
func (p *Producer) Produce(ctx context.Context, recs ...Record) error {
	_, err := p.Append(ctx, recs...)
	return err
}

// Append is Produce for callers that want to know where each record stands.
func (p *Producer) Append(ctx context.Context, recs ...Record) ([]Placed, error) {
	if len(recs) == 0 {
		return nil, nil
	}
	defer claimIn(ctx).waiting()()
	c := &call{placed: make([]Placed, len(recs)), left: len(recs), done: make(chan struct{})}
	p.handIn(ctx, c, recs)
	select {
	case <-c.done:
	case <-ctx.Done():
		c.giveUp(ctx.Err())
	}
	var faults []error
	for i := range c.placed {
		if err := c.placed[i].Err; err != nil {
			faults = append(faults, &ProduceError{Index: i, Err: err})
		}
	}
	if faults == nil {
		return c.placed, nil
	}
	return c.placed, errors.Join(faults...)
}

// handIn queues the records on their partitions, in order.
func (p *Producer) handIn(ctx context.Context, c *call, recs []Record) {
	p.mu.RLock()
	closed := p.closed
	p.mu.RUnlock()
	if closed {
		for i := range recs {
			c.settle(i, Placed{Partition: recs[i].Partition, Err: ErrClosed})
		}
		return
	}
	now := time.Now().Truncate(time.Millisecond)
	queue := make([]item, 0, len(recs)) // of the lane `last`, not handed over yet
	var (
		last  *lane
		topic string // whose partition count is known
		count int
	)
	flush := func() {
		if len(queue) > 0 && !p.enqueue(ctx, last, queue) {
			for _, it := range queue {
				c.settle(it.index, Placed{Partition: last.partition, Err: ErrClosed})
			}
		}
		queue = queue[:0]
	}
	for i := range recs {
		r := recs[i]
		if r.Time.IsZero() {
			r.Time = now
		}
		size := r.size()
		if size > p.maxRecord {
			p.refuse(c, i, r, fmt.Errorf("%d bytes: %w", size, ErrTooLarge))
			continue
		}
		partition := r.Partition
		if partition < 0 {
			if r.Topic != topic || count == 0 {
				topic, count = r.Topic, p.c.counts.known(r.Topic)
			}
			if count == 0 {
				flush() // asking may take long, and holds nobody back
				var err error
				if count, err = p.partitions(ctx, r.Topic); err != nil {
					p.refuse(c, i, r, err)
					continue
				}
			}
			partition = p.place(r.Key, count)
		}
		if last == nil || last.topic != r.Topic || last.partition != partition {
			flush()
			last = p.lane(laneKey{r.Topic, partition})
		}
		queue = append(queue, item{rec: r, call: c, index: i, size: size})
	}
	flush()
}

func (p *Producer) refuse(c *call, i int, r Record, err error) {
	p.c.metrics.produceErrors.WithLabelValues(p.c.metrics.topic(r.Topic), errorKind(err)).Inc()
	c.settle(i, Placed{Partition: r.Partition, Err: err})
}

// partitions asks how many partitions a topic has. An unknown one may have been
// created this moment: it is asked for again until unknownAfter has passed.
func (p *Producer) partitions(ctx context.Context, topic string) (int, error) {
	var n int
	started := time.Now()
	err := p.c.retry(ctx, waitKey{"produce", topic, AnyPartition}, func(ctx context.Context) error {
		var err error
		n, err = p.c.partitionCount(ctx, topic)
		if errors.Is(err, ErrUnknownTopic) && time.Since(started) < p.unknownAfter {
			return errTopicNotYet
		}
		return err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	case err != nil:
		return 0, err
	case n == 0:
		return 0, ErrUnknownTopic
	}
	return n, nil
}

// place decides where a record goes that names no partition.
func (p *Producer) place(key []byte, partitions int) int32 {
	if key == nil {
		return int32(p.spread.Add(1) % uint32(partitions))
	}
	return PartitionOf(key, partitions)
}

var errTopicNotYet = errors.New("topic not seen yet")

func (p *Producer) lane(key laneKey) *lane {
	p.mu.RLock()
	l := p.lanes[key]
	p.mu.RUnlock()
	if l != nil {
		return l
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l = p.lanes[key]; l == nil {
		l = &lane{p: p, topic: key.topic, partition: key.partition, codec: p.c.cfg.codecOf(key.topic), broker: unknownBroker}
		if p.uncompressed {
			l.codec = 0
		}
		p.lanes[key] = l
	}
	return l
}

// enqueue hands items to a lane and wakes it when it is idle; false when the
// producer is closed.
func (p *Producer) enqueue(ctx context.Context, l *lane, items []item) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return false
	}
	l.mu.Lock()
	l.pending = append(l.pending, items...)
	wake := !l.busy
	l.busy = true
	l.mu.Unlock()
	if wake {
		p.running.Add(1)
		go l.run(context.WithoutCancel(ctx))
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
	case <-time.After(p.c.cfg.CallTimeout):
		return fmt.Errorf("close producer: %w", ctx.Err())
	}
}

// call is one Produce call; its results are written by the lanes.
type call struct {
	mu     sync.Mutex
	placed []Placed
	left   int
	gone   bool // nobody waits any more: what was not sent need not be
	done   chan struct{}
}

func (c *call) settle(index int, at Placed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(index, at)
}

// set is settle with the call locked.
func (c *call) set(index int, at Placed) {
	if c.gone {
		return
	}
	c.placed[index] = at
	if c.left--; c.left == 0 {
		close(c.done)
		c.gone = true
	}
}

// giveUp marks every record without a result as unknown. Results that come
// later are dropped.
func (c *call) giveUp(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	c.gone = true
	for i := range c.placed {
		if c.placed[i] == (Placed{}) {
			c.placed[i] = Placed{Partition: AnyPartition, Err: fmt.Errorf("%w: %w", ErrUnknown, cause)}
		}
	}
}

func (c *call) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}
