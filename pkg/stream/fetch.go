package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	key := waitKey{"fetch", topic, partition}
	waiting := false
	defer func() {
		if waiting {
			c.health.done(key)
		}
	}()
	for attempt := 0; ; attempt++ {
		b, err := c.fetchOnce(ctx, topic, partition, from, o)
		var gone *OutOfRangeError
		switch {
		case err == nil:
			c.metrics.fetched.WithLabelValues(c.metrics.topic(topic)).Add(float64(len(b.Records)))
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
		// kafka-go would read -1 and -2 as "the end" and "the start": a jump.
		return Batch{}, c.outOfRange(ctx, topic, partition, from)
	}
	ctx, cancel := context.WithTimeout(ctx, o.MaxWait+c.cfg.CallTimeout)
	defer cancel()
	res, err := c.kafka.Fetch(ctx, &kafka.FetchRequest{
		Topic:     topic,
		Partition: int(partition),
		Offset:    from,
		MinBytes:  1,
		MaxBytes:  int64(o.MaxBytes),
		MaxWait:   o.MaxWait,
	})
	switch {
	case err != nil:
		return Batch{}, err
	case errors.Is(res.Error, kafka.OffsetOutOfRange):
		return Batch{}, c.outOfRange(ctx, topic, partition, from)
	case res.Error != nil:
		return Batch{}, res.Error
	case res.LogStartOffset > from:
		return Batch{}, &OutOfRangeError{Topic: topic, Partition: partition, From: from, Start: res.LogStartOffset, End: res.HighWatermark}
	}
	b := Batch{Start: res.LogStartOffset, End: res.HighWatermark, Next: from}
	if err := b.read(res.Records, topic, partition); err != nil {
		return Batch{}, err
	}
	if passed := b.Next - from - int64(len(b.Records)); passed > 0 {
		c.metrics.passedOver.WithLabelValues(c.metrics.topic(topic)).Add(float64(passed))
	}
	return b, nil
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

// read takes the records at and after b.Next out of a response. Batches that
// hold no records move Next as far as they are known to reach: a control batch
// to its last marker; one emptied of records by a single offset, since its end
// is not told and a guess could pass over what follows.
func (b *Batch) read(r kafka.RecordReader, topic string, partition int32) error {
	batches := []protocol.RecordReader{r}
	if s, ok := r.(*protocol.RecordStream); ok {
		batches = s.Records
	}
	var a arena
	for i, one := range batches {
		base, control := baseOffset(one)
		if i+1 < len(batches) {
			if next, _ := baseOffset(batches[i+1]); next > b.Next {
				b.Records = slices.Grow(b.Records, int(min(next-b.Next, maxReserve)))
			}
		}
		if base > b.Next {
			b.Next = base // nothing lies between two batches of one answer
		}
		seen := false
		for {
			rec, err := one.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("read records of %s/%d: %w", topic, partition, err)
			}
			seen = true
			if rec.Offset < b.Next || control {
				release(rec)
				b.Next = max(b.Next, rec.Offset+1)
				continue
			}
			out := Record{Topic: topic, Partition: partition, Offset: rec.Offset, Time: rec.Time.UTC()}
			if out.Key, err = a.take(rec.Key); err == nil {
				out.Value, err = a.take(rec.Value)
			}
			release(rec)
			if err != nil {
				return fmt.Errorf("read record %d of %s/%d: %w", rec.Offset, topic, partition, err)
			}
			if len(rec.Headers) > 0 {
				out.Headers = make([]Header, len(rec.Headers))
				for i, h := range rec.Headers {
					out.Headers[i] = Header{Key: h.Key, Value: h.Value}
				}
			}
			if len(b.Records) == cap(b.Records) { // of the last batch only the log's end bounds the number
				b.Records = slices.Grow(b.Records, int(min(max(b.End-out.Offset, 1), int64(max(len(b.Records), 512)))))
			}
			b.Records = append(b.Records, out)
			b.Next = rec.Offset + 1
		}
		if !seen && base >= 0 && b.Next < b.End {
			b.Next++
		}
	}
	return nil
}

// maxReserve bounds what is allocated for offsets that may hold no records.
const maxReserve = 1 << 16

// baseOffset is a batch's first offset, -1 when it does not tell, and whether it is a control batch.
func baseOffset(r protocol.RecordReader) (int64, bool) {
	switch v := r.(type) {
	case *protocol.ControlBatch:
		return v.BaseOffset, true
	case *protocol.RecordBatch:
		return v.BaseOffset, false
	}
	return -1, false
}

func release(r *kafka.Record) {
	if r.Key != nil {
		_ = r.Key.Close()
	}
	if r.Value != nil {
		_ = r.Value.Close()
	}
}

// arena copies keys and values into shared chunks: one allocation for many
// records, and no record holds more than a chunk alive.
type arena struct{ free []byte }

const arenaChunk = 64 << 10

func (a *arena) take(b kafka.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	n := b.Len()
	if n == 0 {
		return []byte{}, nil
	}
	if n > len(a.free) {
		if n > arenaChunk/4 {
			out := make([]byte, n)
			_, err := io.ReadFull(b, out)
			return out, err
		}
		a.free = make([]byte, arenaChunk)
	}
	out := a.free[:n:n]
	a.free = a.free[n:]
	_, err := io.ReadFull(b, out)
	return out, err
}
