package consume

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// FetchOptions bound one fetch.
type FetchOptions struct {
	// MaxBytes of records, compressed, that one fetch brings; a larger single batch still comes whole. Default 1 MiB.
	MaxBytes int
	// MaxWait is how long the broker holds a fetch at the log's end open for the next record.
	// Default 500 ms; at most half the client's CallTimeout.
	MaxWait time.Duration
	// PassDamaged has a reader hand on what can't be read, as Batch.Damaged, and go on behind
	// it: for topics that others write. Without it the partition stops, an incident.
	PassDamaged bool
}

func (o FetchOptions) withDefaults(callTimeout time.Duration) FetchOptions {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 20
	}
	if o.MaxWait <= 0 {
		o.MaxWait = 500 * time.Millisecond
	}
	o.MaxWait = min(o.MaxWait, callTimeout/2)
	return o
}

// FetchFrom reads outside any group, from one explicit offset. It does not wait
// for records: at the log's end the batch is empty. Temporary errors are retried
// until ctx ends.
func (c *Consumer) FetchFrom(ctx context.Context, topic string, partition int32, offset int64,
	maxBytes int) (codec.Batch, error) {
	return c.fetch(ctx, topic, partition, offset, FetchOptions{MaxBytes: maxBytes,
		MaxWait: time.Millisecond}.withDefaults(c.CallTimeout))
}

// fetch retries temporary errors until ctx ends. It returns a codec.Batch, an
// *OutOfRangeError, or the end of ctx; refusals (authorisation) are ours to fix
// and waited for.
func (c *Consumer) fetch(ctx context.Context, topic string, partition int32, from int64,
	o FetchOptions) (codec.Batch, error) {
	return c.fetchBy(ctx, topic, partition, from, c.direct(topic, partition, from, o))
}

// direct asks for a partition alone, and keeps nothing but a doubt from one try to the next.
func (c *Consumer) direct(topic string, partition int32, from int64, o FetchOptions) func(context.Context) (codec.Batch,
	error) {
	var d codec.Doubt
	return func(ctx context.Context) (codec.Batch, error) {
		part, err := c.fetchOnce(ctx, topic, partition, from, o)
		if err != nil {
			return codec.Batch{}, err
		}
		u := c.unpacker(topic, partition, from, directBytes, c.unpackedDirectly)
		defer func() { u.Drop(); u.Release(u.Finished) }()
		u.Add(part.Set, part.start, part.end, part.high)
		b, err := u.Take(ctx)
		return b, d.Confirm(err)
	}
}

// fetchBy is fetch with the caller's way of asking once.
func (c *Consumer) fetchBy(ctx context.Context, topic string, partition int32, from int64,
	once func(context.Context) (codec.Batch, error)) (codec.Batch, error) {
	key := cluster.WaitKey{For: "fetch", Topic: topic, Partition: partition}
	waiting := false
	defer func() {
		if waiting {
			c.Done(key)
		}
	}()
	for attempt := 0; ; attempt++ {
		b, err := once(ctx)
		var gone *OutOfRangeError
		var damaged *codec.DamagedError
		switch {
		case err == nil:
			c.metrics.fetched.WithLabelValues(c.TopicLabel(topic)).Add(float64(len(b.Records)))
			if passed := b.Next - from - int64(len(b.Records)); passed > 0 {
				c.metrics.passedOver.WithLabelValues(c.TopicLabel(topic)).Add(float64(passed))
			}
			return b, nil
		case errors.As(err, &damaged):
			return codec.Batch{Next: from}, err
		case errors.As(err, &gone):
			return codec.Batch{Start: gone.Start, End: gone.End, Next: from}, err
		case errors.Is(err, cluster.ErrClosed):
			return codec.Batch{Next: from}, fmt.Errorf("fetch %s/%d from %d: %w", topic, partition, from, err)
		case ctx.Err() != nil:
			return codec.Batch{Next: from}, fmt.Errorf("fetch %s/%d from %d: %w", topic, partition, from, ctx.Err())
		}
		waiting = true
		c.Waits(key, err)
		c.CountRetry(topic, "fetch")
		if !pause.For(ctx, cluster.Backoff(attempt)) {
			return codec.Batch{Next: from}, fmt.Errorf("fetch %s/%d from %d: %w (%w)", topic, partition, from,
				ctx.Err(), err)
		}
	}
}

func (c *Consumer) fetchOnce(ctx context.Context, topic string, partition int32, from int64,
	o FetchOptions) (*fetchPart, error) {
	if from < 0 {
		return nil, c.outOfRange(ctx, topic, partition, from)
	}
	asked := []fetchPart{{topic: topic, partition: partition, from: from, maxBytes: int32(o.MaxBytes),
		Set: codec.Set{Alone: true}}}
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

	codec.Set
	start, end, high int64
	err              error
}

// fetchParts asks one broker, -1 for the leader of the first, for several
// partitions at once, and waits until any has something. Each part gets its own
// result; the error is about the request.
func (c *Consumer) fetchParts(ctx context.Context, broker int32, parts []fetchPart, maxBytes int,
	maxWait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait+c.CallTimeout)
	defer cancel()
	got, err := c.Request(ctx, &codec.Request{
		To: broker, Key: protocol.Fetch, Version: codec.FetchVersion, Topic: parts[0].topic,
		Partition: parts[0].partition,
		Body:      func(b []byte) []byte { return appendFetch(b, parts, maxBytes, maxWait) },
	})
	if err != nil {
		return err
	}
	for i := range parts {
		parts[i].err = codec.ErrNotNamed
	}
	return readFetch(got, parts)
}

func appendFetch(b []byte, parts []fetchPart, maxBytes int, maxWait time.Duration) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, ^uint32(0)) // no replica
	b = be.AppendUint32(b, uint32(maxWait.Milliseconds()))
	b = be.AppendUint32(b, 1) // byte is enough
	b = be.AppendUint32(b, uint32(maxBytes))
	b = append(b, 1)                   // what is committed; aborted transactions are named
	b = be.AppendUint32(b, 0)          // no session
	b = be.AppendUint32(b, ^uint32(0)) // nor one to begin
	b = codec.ByTopic(b, parts, func(p *fetchPart) string { return p.topic }, func(b []byte, p *fetchPart) []byte {
		b = be.AppendUint32(b, uint32(p.partition))
		b = be.AppendUint32(b, ^uint32(0)) // any leader's epoch
		b = be.AppendUint64(b, uint64(p.from))
		b = be.AppendUint64(b, ^uint64(0)) // no log of our own
		return be.AppendUint32(b, uint32(p.maxBytes))
	})
	b = be.AppendUint32(b, 0)        // nothing to forget
	return codec.AppendString(b, "") // no rack
}

func readFetch(body []byte, parts []fetchPart) error {
	r := codec.FieldsOf(body)
	r.Int32() // throttled
	code := r.Int16()
	r.Int32() // session
	next := 0 // mostly they come in the order asked for
	for range r.Count() {
		topic := string(r.String())
		for range r.Count() {
			partition := r.Int32()
			failed := codec.ErrorOf(r.Int16(), nil)
			high := r.Int64()
			stable := r.Int64()
			start := r.Int64()
			var gone []codec.Aborted
			for range r.Count() {
				gone = append(gone, codec.Aborted{Producer: r.Int64(), First: r.Int64()})
			}
			r.Int32() // preferred replica
			set := r.Bytes()
			i := indexOf(parts, next, topic, partition)
			if r.Bad || i < 0 {
				continue
			}
			p := &parts[i]
			next = i + 1
			p.start, p.high, p.end = start, high, high
			if stable >= 0 {
				p.end = min(high, stable)
			}
			p.All, p.Aborted = set, gone
			p.err = failed
			if failed == nil && start > p.from {
				p.err = &OutOfRangeError{Topic: p.topic, Partition: p.partition, From: p.from, Start: start, End: p.end}
			}
		}
	}
	if r.Bad {
		return fmt.Errorf("read answer to a fetch: %w", codec.ErrWire)
	}
	return codec.ErrorOf(code, nil)
}

// indexOf finds a partition among those asked for, mostly at once.
func indexOf(parts []fetchPart, guess int, topic string, partition int32) int {
	is := func(p fetchPart) bool { return p.partition == partition && p.topic == topic }
	if guess < len(parts) && is(parts[guess]) {
		return guess
	}
	return slices.IndexFunc(parts, is)
}

// outOfRange asks what the log does hold. When it holds the offset after all
// (it was asked during a change of leaders), the error is temporary.
func (c *Consumer) outOfRange(ctx context.Context, topic string, partition int32, from int64) error {
	start, end, err := c.OffsetsOnce(ctx, topic, partition)
	if err != nil {
		return fmt.Errorf("ask what the log holds: %w", err)
	}
	if from >= start && from <= end {
		return fmt.Errorf("offset %d refused but between %d and %d", from, start, end)
	}
	return &OutOfRangeError{Topic: topic, Partition: partition, From: from, Start: start, End: end}
}
