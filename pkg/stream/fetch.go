package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// FetchOptions bound one fetch.
type FetchOptions struct {
	// MaxBytes of records, compressed, that one fetch brings; a larger single batch still comes whole. Default 1 MiB.
	MaxBytes int
	// MaxWait is how long the broker holds a fetch at the log's end open for the next record.
	// Default 500 ms; at most half the client's CallTimeout.
	MaxWait time.Duration
	// PassDamaged has a reader hand on what nobody can read, as Batch.Damaged, and go on behind
	// it: for topics that strangers write. Without it the partition stands still, an incident.
	PassDamaged bool
}

func (o FetchOptions) withDefaults(cfg Config) FetchOptions {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 20
	}
	if o.MaxWait <= 0 {
		o.MaxWait = 500 * time.Millisecond
	}
	o.MaxWait = min(o.MaxWait, cfg.CallTimeout/2)
	return o
}

// Batch is what one fetch brought.
type Batch struct {
	// Records from the offset asked for on, in order; empty when nothing came in time.
	Records []Record
	// Start is the log's first offset, End the one after the last that may be read: an
	// open transaction and what stands behind it are beyond it.
	Start, End int64
	// Next is where to continue: the offset after the last record, or further where the log
	// holds no records (control batches, aborted transactions), never over a record that was
	// not returned.
	Next int64
	// Damaged stands for offsets up to Next that nobody can read. Only readers that ask for it
	// get it, in a batch without records.
	Damaged *DamagedError

	high int64 // the offset after the last acknowledged record
}

// FetchFrom reads outside any group, from one explicit offset. It does not wait
// for records: at the log's end the batch is empty. Temporary errors are retried
// until ctx ends.
func (c *Client) FetchFrom(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (Batch, error) {
	return c.fetch(ctx, topic, partition, offset, FetchOptions{MaxBytes: maxBytes, MaxWait: time.Millisecond}.withDefaults(c.cfg))
}

// fetch retries temporary errors until ctx ends. It returns a Batch, an
// *OutOfRangeError, or the end of ctx; refusals (authorisation) are ours to fix
// and waited for.
func (c *Client) fetch(ctx context.Context, topic string, partition int32, from int64, o FetchOptions) (Batch, error) {
	return c.fetchBy(ctx, topic, partition, from, c.direct(topic, partition, from, o))
}

// direct asks for a partition alone, and keeps nothing but a doubt from one try to the next.
func (c *Client) direct(topic string, partition int32, from int64, o FetchOptions) func(context.Context) (Batch, error) {
	var d doubt
	return func(ctx context.Context) (Batch, error) {
		part, err := c.fetchOnce(ctx, topic, partition, from, o)
		if err != nil {
			return Batch{}, err
		}
		u := c.unpacker(topic, partition, from, directBytes, c.unpackedDirectly)
		defer func() { u.drop(); u.release(u.finished) }()
		u.add(part)
		b, err := u.take(ctx)
		return b, d.judge(err)
	}
}

// fetchBy is fetch with somebody else's way of asking once.
func (c *Client) fetchBy(ctx context.Context, topic string, partition int32, from int64, once func(context.Context) (Batch, error)) (Batch, error) {
	key := waitKey{"fetch", topic, partition}
	waiting := false
	defer func() {
		if waiting {
			c.health.done(key)
		}
	}()
	for attempt := 0; ; attempt++ {
		b, err := once(ctx)
		var gone *OutOfRangeError
		var damaged *DamagedError
		switch {
		case err == nil:
			c.metrics.fetched.WithLabelValues(c.metrics.topic(topic)).Add(float64(len(b.Records)))
			if passed := b.Next - from - int64(len(b.Records)); passed > 0 {
				c.metrics.passedOver.WithLabelValues(c.metrics.topic(topic)).Add(float64(passed))
			}
			return b, nil
		case errors.As(err, &damaged):
			return Batch{Next: from}, err
		case errors.As(err, &gone):
			return Batch{Start: gone.Start, End: gone.End, Next: from}, err
		case errors.Is(err, errClientClosed):
			return Batch{Next: from}, fmt.Errorf("fetch %s/%d from %d: %w", topic, partition, from, err)
		case ctx.Err() != nil:
			return Batch{Next: from}, fmt.Errorf("fetch %s/%d from %d: %w", topic, partition, from, ctx.Err())
		}
		waiting = true
		c.health.waits(key, err)
		c.metrics.retries.WithLabelValues(c.metrics.topic(topic), "fetch").Inc()
		if !pause(ctx, nil, backoff(attempt)) {
			return Batch{Next: from}, fmt.Errorf("fetch %s/%d from %d: %w (%w)", topic, partition, from, ctx.Err(), err)
		}
	}
}

func (c *Client) fetchOnce(ctx context.Context, topic string, partition int32, from int64, o FetchOptions) (*fetchPart, error) {
	if from < 0 {
		return nil, c.outOfRange(ctx, topic, partition, from)
	}
	asked := []fetchPart{{topic: topic, partition: partition, from: from, maxBytes: int32(o.MaxBytes), recordSet: recordSet{alone: true}}}
	if err := c.fetchParts(ctx, -1, asked, o.MaxBytes, o.MaxWait); err != nil {
		return nil, err
	}
	if errors.Is(asked[0].err, kafka.OffsetOutOfRange) {
		return nil, c.outOfRange(ctx, topic, partition, from)
	}
	return &asked[0], asked[0].err
}

// fetchPart is one partition of a fetch request, and what came back of it.
type fetchPart struct {
	topic     string
	partition int32
	from      int64
	maxBytes  int32

	recordSet
	start, end, high int64
	err              error
}

// fetchParts asks one broker, -1 for the leader of the first, for several
// partitions at once, and waits until any has something. Each part gets its own
// result; the error is about the request.
func (c *Client) fetchParts(ctx context.Context, broker int32, parts []fetchPart, maxBytes int, maxWait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait+c.cfg.CallTimeout)
	defer cancel()
	got, err := c.exchange(ctx, &exchange{
		broker: broker, key: protocol.Fetch, version: fetchVersion, topic: parts[0].topic, partition: parts[0].partition,
		body: func(b []byte) []byte { return appendFetch(b, parts, maxBytes, maxWait) },
	})
	if err != nil {
		return err
	}
	for i := range parts {
		parts[i].err = errNotNamed
	}
	return readFetch(got, parts)
}

var errNotNamed = errors.New("answer does not name the partition")

func appendFetch(b []byte, parts []fetchPart, maxBytes int, maxWait time.Duration) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, ^uint32(0)) // no replica
	b = be.AppendUint32(b, uint32(maxWait.Milliseconds()))
	b = be.AppendUint32(b, 1) // byte is enough
	b = be.AppendUint32(b, uint32(maxBytes))
	b = append(b, 1)                   // what is committed; aborted transactions are named
	b = be.AppendUint32(b, 0)          // no session
	b = be.AppendUint32(b, ^uint32(0)) // nor one to begin
	b = byTopic(b, parts, func(p *fetchPart) string { return p.topic }, func(b []byte, p *fetchPart) []byte {
		b = be.AppendUint32(b, uint32(p.partition))
		b = be.AppendUint32(b, ^uint32(0)) // any leader's epoch
		b = be.AppendUint64(b, uint64(p.from))
		b = be.AppendUint64(b, ^uint64(0)) // no log of our own
		return be.AppendUint32(b, uint32(p.maxBytes))
	})
	b = be.AppendUint32(b, 0)  // nothing to forget
	return appendString(b, "") // no rack
}

func readFetch(body []byte, parts []fetchPart) error {
	r := wireReader{b: body}
	r.int32() // throttled
	code := r.int16()
	r.int32() // session
	next := 0 // mostly they come in the order asked for
	for range r.count() {
		topic := string(r.string())
		for range r.count() {
			partition := r.int32()
			failed := errorOf(r.int16(), nil)
			high := r.int64()
			stable := r.int64()
			start := r.int64()
			var gone []aborted
			for range r.count() {
				gone = append(gone, aborted{producer: r.int64(), first: r.int64()})
			}
			r.int32() // preferred replica
			set := r.bytes()
			i := indexOf(parts, next, topic, partition)
			if r.bad || i < 0 {
				continue
			}
			p := &parts[i]
			next = i + 1
			p.start, p.high, p.end = start, high, high
			if stable >= 0 {
				p.end = min(high, stable)
			}
			p.all, p.aborted = set, gone
			p.err = failed
			if failed == nil && start > p.from {
				p.err = &OutOfRangeError{Topic: p.topic, Partition: p.partition, From: p.from, Start: start, End: p.end}
			}
		}
	}
	if r.bad {
		return fmt.Errorf("read answer to a fetch: %w", errWire)
	}
	return errorOf(code, nil)
}

// indexOf finds a partition among those asked for, mostly at once.
func indexOf(parts []fetchPart, guess int, topic string, partition int32) int {
	is := func(p fetchPart) bool { return p.partition == partition && p.topic == topic }
	if guess < len(parts) && is(parts[guess]) {
		return guess
	}
	return slices.IndexFunc(parts, is)
}

// exchange sends a request and returns its answer's body.
func (c *Client) exchange(ctx context.Context, e *exchange) ([]byte, error) {
	e.clientID = c.cfg.ClientID
	res, err := c.gate.RoundTrip(ctx, c.kafka.Addr, e)
	if err != nil {
		return nil, err
	}
	c.metrics.exchanges.WithLabelValues(strings.ToLower(e.key.String())).Inc()
	a, ok := res.(*answer)
	if !ok {
		return nil, errWire
	}
	return a.body, nil
}

// outOfRange asks what the log does hold. When it holds the offset after all
// (it was asked during a change of leaders), the error is temporary.
func (c *Client) outOfRange(ctx context.Context, topic string, partition int32, from int64) error {
	start, end, err := c.offsetsOnce(ctx, topic, partition)
	if err != nil {
		return fmt.Errorf("ask what the log holds: %w", err)
	}
	if from >= start && from <= end {
		return fmt.Errorf("offset %d refused but between %d and %d", from, start, end)
	}
	return &OutOfRangeError{Topic: topic, Partition: partition, From: from, Start: start, End: end}
}
