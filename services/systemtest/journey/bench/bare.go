package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/pkg/stream"
)

// The bare loop of a journey: a record is written, read and written again, through as many topics as an event of the journey goes
// through, by clients of their own as those of services are, and nothing else is done with it: no state, no rules, no receiver.
// What it takes no journey can go below.

// hops is how often a record is read and written again: by safeguard, trigger and webhook.
const hops = 3

// bareBytes is the size of a record.
const bareBytes = 400

// bareTopic is where records of a run wait for a hop.
func bareTopic(run, hop int) string { return fmt.Sprintf("bare.%d.%d", run, hop) }

// bare runs one, at the rate of the journey, and returns what it took.
func (j *journey) bare(ctx context.Context, number int, l load) (r *result, err error) {
	n, first := l.rate*int((l.warmUp+l.length)/time.Second), l.rate*int(l.warmUp/time.Second)
	var topics []stream.TopicSpec
	for hop := range hops + 1 {
		topics = append(topics, stream.TopicSpec{Name: bareTopic(number, hop), Partitions: j.o.partitions, Replication: 1})
	}
	if err := j.fleet.Client.CreateTopics(ctx, topics, true); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &arrivals{run: number, base: time.Now(), at: make([]atomic.Int64, n), done: make(chan struct{})}
	a.left.Store(int64(n))
	var hopping errgroup.Group
	for hop := range hops + 1 {
		hopping.Go(func() error { return j.hop(ctx, hop, a) })
	}
	before, err := j.sendBare(ctx, a, l, n, first)
	if err == nil {
		select {
		case <-a.done:
		case <-time.After(time.Minute):
			err = fmt.Errorf("%d of %d records did not come", a.left.Load(), n)
		}
	}
	after, fault := j.used(ctx)
	cancel()
	if err := errors.Join(err, fault, hopping.Wait()); err != nil {
		return nil, fmt.Errorf("bare loop: %w", err)
	}
	var since []time.Duration
	for i := first; i < n; i++ {
		since = append(since, time.Duration(a.at[i].Load())-time.Duration(i)*time.Second/time.Duration(l.rate))
	}
	took := after.since(before)
	return &result{latenciesOf(since), latencies{}, len(since), took, took.perEvent(j.measured, len(since))}, nil
}

// sendBare writes the records at their times, and returns what was used before the measured part.
func (j *journey) sendBare(ctx context.Context, a *arrivals, l load, n, first int) (before used, err error) {
	producer := j.fleet.Client.NewProducer()
	topic := j.fleet.Client.Topic(bareTopic(a.run, 0))
	var writing errgroup.Group
	for i := range n {
		if i == first {
			if before, err = j.used(ctx); err != nil {
				return before, err
			}
		}
		if wait := time.Duration(i)*time.Second/time.Duration(l.rate) - time.Since(a.base); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return before, ctx.Err()
			}
		}
		value := make([]byte, bareBytes)
		binary.BigEndian.PutUint64(value, uint64(i))
		record := stream.Record{Topic: topic, Partition: int32(i % j.o.partitions), Value: value}
		writing.Go(func() error { return producer.Produce(ctx, record) })
	}
	return before, errors.Join(writing.Wait(), producer.Close(ctx))
}

// hop reads one topic and writes the next; the last one notes arrivals.
func (j *journey) hop(ctx context.Context, hop int, a *arrivals) error {
	client, err := stream.Open(stream.Config{Brokers: j.fleet.Brokers(), Prefix: j.fleet.Prefix}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // nothing is lost with it
	producer := client.NewProducer()
	next := j.fleet.Client.Topic(bareTopic(a.run, hop+1))
	return client.Consume(ctx, stream.GroupConfig{Name: fmt.Sprintf("bare-%d-%d", a.run, hop), Topics: []string{j.fleet.Client.Topic(bareTopic(a.run, hop))}},
		func(ctx context.Context, cl *stream.Claim) error {
			reader := cl.Reader(ctx, max(0, cl.Committed()), stream.FetchOptions{})
			defer reader.Close()
			for {
				b, err := reader.Next(ctx)
				if errors.Is(err, stream.ErrRevoked) {
					return nil
				}
				if err != nil {
					return err
				}
				for i := range b.Records {
					if r := &b.Records[i]; hop < hops {
						*r = stream.Record{Topic: next, Partition: cl.Partition, Value: r.Value}
					} else {
						a.note(int(binary.BigEndian.Uint64(r.Value)))
					}
				}
				if hop < hops {
					if err := producer.Produce(ctx, b.Records...); err != nil {
						return err
					}
				}
				cl.CommitSoon(b.Next)
			}
		})
}

// note is the arrival of a record that is written once: one that a lost answer has doubled counts once.
func (a *arrivals) note(i int) {
	if i >= len(a.at) || !a.at[i].CompareAndSwap(0, int64(time.Since(a.base))) {
		return
	}
	if a.left.Add(-1) == 0 {
		close(a.done)
	}
}
