package bench

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// many is how many deliveries are planned between two lines of progress.
const many = 1_000_000

// Plan puts n deliveries on their topic.
func Plan(ctx context.Context, client *stream.Client, n int, next func(i int) (stream.Record, error)) error {
	producer := client.NewProducer()
	batches, produced := make(chan []stream.Record, 2), make(chan error, 1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // while one batch is produced, the next is made
		var err error
		for batch := range batches {
			if err == nil {
				if err = producer.Produce(ctx, batch...); err != nil {
					cancel(err)
				}
			}
		}
		produced <- err
	}()
	err := fill(ctx, n, next, batches)
	close(batches)
	return errors.Join(err, <-produced, producer.Close(ctx))
}

func fill(ctx context.Context, n int, next func(i int) (stream.Record, error), batches chan<- []stream.Record) error {
	batch := make([]stream.Record, 0, 5000)
	for i := range n {
		r, err := next(i)
		if err != nil {
			return err
		}
		if batch = append(batch, r); len(batch) < cap(batch) && i < n-1 {
			continue
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		batch = make([]stream.Record, 0, cap(batch))
		if (i+1)%many == 0 && i < n-1 {
			fleet.Report("%d of %d are planned", i+1, n)
		}
	}
	return nil
}

// Pace puts deliveries on their topic for a time, so many a second.
func Pace(ctx context.Context, client *stream.Client, length time.Duration, perSecond int, next func(i int) (stream.Record, error)) error {
	producer := client.NewProducer()
	began := time.Now()
	planned, step := 0, 10*time.Millisecond
	for due := time.Duration(0); due < length; due += step {
		if wait := due - time.Since(began); wait > 0 {
			if err := Pause(ctx, wait); err != nil {
				return errors.Join(err, producer.Close(ctx))
			}
		}
		var batch []stream.Record
		for ; planned < int(due.Seconds()*float64(perSecond)); planned++ {
			r, err := next(planned)
			if err != nil {
				return errors.Join(err, producer.Close(ctx))
			}
			batch = append(batch, r)
		}
		if len(batch) == 0 {
			continue
		}
		if err := producer.Produce(ctx, batch...); err != nil {
			return errors.Join(err, producer.Close(ctx))
		}
	}
	return producer.Close(ctx)
}
