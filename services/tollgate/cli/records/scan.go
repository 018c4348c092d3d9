package records

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// scan hands on what a topic has from a time on until its end of now, partition by partition, in order; zero: from its
// beginning.
func scan(ctx context.Context, client *stream.Client, streams command.Streams, kafka command.Kafka, topic string, from time.Time, handle func(stream.Record) error) error {
	return scanShown(ctx, client, streams, kafka, topic, from, func(_, _ int64) {}, handle)
}

// scanShown also calls show with how many records are read, of all that are.
func scanShown(ctx context.Context, client *stream.Client, streams command.Streams, kafka command.Kafka, topic string, from time.Time, show func(done, total int64), handle func(stream.Record) error) error {
	all, err := begin(ctx, client, []string{topic}, from, true)
	if err != nil {
		return command.Unreachable(err, "Kafka at "+fmt.Sprint(kafka.Brokers))
	}
	var done, total int64
	for _, f := range all {
		total += f.end - f.next
	}
	for _, f := range all {
		for f.next < f.end {
			began := f.next
			batch, err := f.fetch(ctx, client, streams)
			if err != nil {
				return err
			}
			for _, r := range batch {
				if r.Offset >= f.end {
					break
				}
				if err := handle(r); err != nil {
					return err
				}
			}
			done += min(f.next, f.end) - began
			show(done, total)
		}
	}
	return nil
}

// Volume is how much was written to a topic within a time.
type Volume struct {
	Records int64
	// Size is the mean of a record in bytes before compression, from one fetch.
	Size float64
	Over time.Duration
}

// Bytes is what so long a time takes at this rate, in one replica before compression.
func (v Volume) Bytes(kept time.Duration) float64 {
	if v.Over <= 0 {
		return 0
	}
	return float64(v.Records) * v.Size * (float64(kept) / float64(v.Over))
}

// Written measures what was written to a topic over the time that ends now.
func Written(ctx context.Context, client *stream.Client, streams command.Streams, topic string, over time.Duration) (Volume, error) {
	out := Volume{Over: over}
	all, err := begin(ctx, client, []string{topic}, ago(over), true)
	if err != nil {
		return out, err
	}
	var most *followed
	for _, f := range all {
		out.Records += f.end - f.next
		if most == nil || f.end-f.next > most.end-most.next {
			most = f
		}
	}
	if most == nil || most.next == most.end {
		return out, nil
	}
	sample, err := most.fetch(ctx, client, streams)
	if err != nil || len(sample) == 0 {
		return out, err
	}
	bytes := 0
	for _, r := range sample {
		bytes += len(r.Key) + len(r.Value)
		for _, h := range r.Headers {
			bytes += len(h.Key) + len(h.Value)
		}
	}
	out.Size = float64(bytes) / float64(len(sample))
	return out, nil
}
