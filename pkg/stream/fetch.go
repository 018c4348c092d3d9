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
	// Start is the log's first offset, End the one after its last acknowledged record.
	Start, End int64
	// Next is where to continue: the offset after the last record, or further where the log
	// holds no records (control batches), never over a record that was not returned.
	Next int64
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
	return c.fetchBy(ctx, topic, partition, from, func(ctx context.Context) (Batch, error) {
		return c.fetchOnce(ctx, topic, partition, from, o)
	})
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
		switch {
		case err == nil:
			c.metrics.fetched.WithLabelValues(c.metrics.topic(topic)).Add(float64(len(b.Records)))
			if passed := b.Next - from - int64(len(b.Records)); passed > 0 {
				c.metrics.passedOver.WithLabelValues(c.metrics.topic(topic)).Add(float64(passed))
			}
			return b, nil
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

func (c *Client) fetchOnce(ctx context.Context, topic string, partition int32, from int64, o FetchOptions) (Batch, error) {
	if from < 0 {
		return Batch{}, c.outOfRange(ctx, topic, partition, from)
	}
	asked := []fetchPart{{topic: topic, partition: partition, from: from, maxBytes: int32(o.MaxBytes)}}
	if err := c.fetchParts(ctx, -1, asked, o.MaxBytes, o.MaxWait); err != nil {
		return Batch{}, err
	}
	return c.fetched(ctx, &asked[0])
}

// fetchPart is one partition of a fetch request, and what came back of it.
type fetchPart struct {
	topic     string
	partition int32
	from      int64
	maxBytes  int32

	batch Batch
	bytes int // of records, as they came
	err   error
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
	b = append(b, 0)                   // uncommitted transactions are read too
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
			end := r.int64()
			r.int64() // last stable offset
			start := r.int64()
			for range r.count() { // aborted transactions
				r.take(16)
			}
			r.int32() // preferred replica
			set := r.bytes()
			i := indexOf(parts, next, topic, partition)
			if r.bad || i < 0 {
				continue
			}
			p := &parts[i]
			next = i + 1
			p.batch, p.bytes = Batch{Start: start, End: end, Next: p.from}, len(set)
			switch {
			case failed != nil:
				p.err = failed
			case start > p.from:
				p.err = &OutOfRangeError{Topic: p.topic, Partition: p.partition, From: p.from, Start: start, End: end}
			default:
				p.err = p.batch.read(set, p.topic, p.partition)
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

// fetched is a part's result.
func (c *Client) fetched(ctx context.Context, p *fetchPart) (Batch, error) {
	if errors.Is(p.err, kafka.OffsetOutOfRange) {
		return Batch{}, c.outOfRange(ctx, p.topic, p.partition, p.from)
	}
	if p.err != nil {
		return Batch{}, p.err
	}
	return p.batch, nil
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
