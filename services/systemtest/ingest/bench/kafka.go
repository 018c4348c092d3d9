package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// kafkaRate is more than ingest and the bare loop do on two cores, events a second: so many wait for each run.
const kafkaRate = 500_000

// kafka measures the Kafka source, and after each run the bare loop on the same records.
func (b *bed) kafka(ctx context.Context) error {
	rates := figure.Figure{
		Name: "ingest.kafka_events_per_second", Unit: "events/s", Goal: 400_000, Better: "higher",
		Note: fmt.Sprintf("usage in Protobuf waits on events.inbound, keyed by %d subjects; one process of ingest", b.subjects),
	}
	ratios := figure.Figure{
		Name: "ingest.floor_ratio", Unit: "ratio", Goal: 0.7, Better: "higher",
		Note: "the bare loop fetches the same records with the same client, a goroutine a partition, and publishes them again with acks=all; nothing is decoded",
	}
	var ours, beside []float64
	for i := range b.runs {
		rate, bare, total, err := b.kafkaRun(ctx, i)
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		ours, beside = append(ours, rate), append(beside, rate/bare)
		words := fmt.Sprintf("%.0f/s of %.0f/s bare", rate, bare)
		rates.Runs, ratios.Runs = append(rates.Runs, words), append(ratios.Runs, words)
		rates.Events, ratios.Events = rates.Events+total, ratios.Events+total
		fleet.Report("run %d: %s", i+1, words)
	}
	rates.Value, ratios.Value = figure.Round(figure.Median(ours)), figure.Round(figure.Median(beside))
	rates.Seconds, ratios.Seconds = float64(b.runs)*b.length.Seconds(), float64(b.runs)*b.length.Seconds()
	return errors.Join(b.Print(rates), b.Print(ratios))
}

func (b *bed) kafkaRun(ctx context.Context, run int) (ours, bare float64, total int64, err error) {
	f, err := b.Installation(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, f)) }()
	if _, err := f.Configure(ctx, tenant()); err != nil {
		return 0, 0, 0, err
	}
	total = int64(kafkaRate * (b.warmUp + b.length).Seconds())
	inbound := f.Client.Topic(stream.EventsInbound)
	if err := bench.Plan(ctx, f.Client, int(total), func(i int) (stream.Record, error) { return b.usage(i).Record(inbound) }); err != nil {
		return 0, 0, 0, err
	}
	ordered := f.Client.Topic(stream.EventsOrdered)
	count := func() (int64, error) { return end(ctx, f.Client, ordered, b.partitions) }
	m, err := f.Start(ctx, "ingest")
	if err != nil {
		return 0, 0, 0, err
	}
	profile := b.profiled(ctx, m, fmt.Sprint("kafka-", run))
	out, err := bench.Run{Count: count, WarmUp: b.warmUp, Length: b.length, Total: int(total), Processor: m.Processor}.Watch(ctx, 0)
	if err := errors.Join(err, profile()); err != nil {
		return 0, 0, 0, err
	}
	if err := until(ctx, count, total); err != nil {
		return 0, 0, 0, err
	}
	if err := m.Stop(ctx); err != nil {
		return 0, 0, 0, err
	}
	bare, err = b.bareRun(ctx, f)
	return out.PerSecond, bare, total, err
}

// until waits for everything to come, and for nothing beyond it.
func until(ctx context.Context, count func() (int64, error), total int64) error {
	for patience := time.Now().Add(2 * time.Minute); ; {
		n, err := count()
		switch {
		case err != nil:
			return err
		case n == total:
			return nil
		case n > total:
			return fmt.Errorf("%d events came of %d: some are doubled, and nothing was killed", n, total)
		case time.Now().After(patience):
			return fmt.Errorf("%d events came of %d", n, total)
		}
		if err := bench.Pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// bareRun fetches what ingest fetched and publishes it again.
func (b *bed) bareRun(ctx context.Context, f *fleet.Fleet) (perSecond float64, err error) {
	const out = "bare.events"
	if err := f.Client.CreateTopics(ctx, []stream.TopicSpec{{Name: out, Partitions: b.partitions, Replication: 1}}, true); err != nil {
		return 0, err
	}
	client, err := f.Kafka("ingest")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	producer := client.NewProducer()
	inbound, topic := client.Topic(stream.EventsInbound), client.Topic(out)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var published atomic.Int64
	var work sync.WaitGroup
	faults := make([]error, b.partitions)
	for p := range b.partitions {
		work.Go(func() { faults[p] = bareLoop(ctx, client, producer, inbound, topic, int32(p), &published) })
	}
	over := make(chan struct{})
	go func() { work.Wait(); close(over) }()
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-over:
		}
	}
	pause(b.warmUp)
	from, began := published.Load(), time.Now()
	pause(b.length)
	perSecond = float64(published.Load()-from) / time.Since(began).Seconds()
	cancel()
	<-over
	closing, end := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer end()
	_ = producer.Close(closing) // what was under way is not wanted
	return perSecond, errors.Join(faults...)
}

func bareLoop(ctx context.Context, client *stream.Client, producer *stream.Producer, from, to string, p int32, published *atomic.Int64) error {
	type batch struct {
		records []stream.Record
		err     error
	}
	ahead := make(chan batch, 1)
	go func() { // as ingest's reader: the next is fetched while one is published
		defer close(ahead)
		for next := int64(0); ctx.Err() == nil; {
			b, err := client.FetchFrom(ctx, from, p, next, 1<<20)
			if err == nil && b.Next == next {
				return
			}
			select {
			case ahead <- batch{b.Records, err}:
			case <-ctx.Done():
			}
			next = b.Next
		}
	}()
	for b := range ahead {
		if b.err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the measurement has ended
			}
			return b.err
		}
		for i := range b.records {
			r := &b.records[i]
			r.Topic, r.Partition = to, stream.AnyPartition
		}
		if err := producer.Produce(ctx, b.records...); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the measurement has ended
			}
			return err
		}
		published.Add(int64(len(b.records)))
	}
	return nil
}
