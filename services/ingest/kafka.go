package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
)

// kafkaSource works off events.inbound, a goroutine for each partition this replica holds.
type kafkaSource struct {
	client    *stream.Client
	publisher *publisher
	clock     func() time.Time
	log       rejections
	metrics   *transportMetrics
	rejected  string
	health    *daemon.Health
}

func (d *kafkaSource) serve(ctx context.Context) error {
	if !d.waitForTopics(ctx) {
		return nil
	}
	return d.client.Consume(ctx, stream.GroupConfig{Name: "ingest", Topics: []string{stream.EventsInbound}},
		d.partition)
}

// waitForTopics keeps ingest from being ready until every topic it needs is there; false when ctx ended before.
func (d *kafkaSource) waitForTopics(ctx context.Context) bool {
	for {
		var errs []error
		for _, name := range []string{stream.EventsInbound, stream.EventsOrdered, stream.EventsUnordered,
			stream.EventsRejected} {
			if _, err := d.client.Partitions(ctx, d.client.Topic(name)); err != nil {
				errs = append(errs, err)
			}
		}
		err := errors.Join(errs...)
		d.health.Set("topics", err)
		if err == nil {
			return true
		}
		t := time.NewTimer(time.Second)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
}

// partition works one partition for as long as it is held: read, publish, and only then commit.
func (d *kafkaSource) partition(ctx context.Context, cl *stream.Claim) error {
	return cl.Each(ctx, stream.FetchOptions{PassDamaged: true}, func(ctx context.Context, b stream.Batch) error {
		if b.Damaged != nil {
			return d.unreadable(ctx, b.Damaged)
		}
		return d.batch(ctx, b.Records)
	})
}

// batch returns once everything that follows from records is acknowledged: each event on the topic of its type, or the
// record itself on the rejected topic, with the reason. An error means that ctx ended before.
func (d *kafkaSource) batch(ctx context.Context, records []stream.Record) error {
	parsed := d.publisher.tenants.parse(ctx, inputs{len(records), func(i int, p event.Parser) (*event.Event, error) {
		return guarded(d.log, event.Parser.Kafka, p, records[i])
	}})
	now := d.publisher.now()
	entries := make([]entry, len(records))
	rejected := 0
	for i, r := range records {
		e, err := parsed[i].Event, parsed[i].Err
		if err == nil {
			stop := d.publisher.stopOf(e, d.metrics.name)
			if entries[i], err = d.publisher.stamp(e, now); err == nil {
				entries[i].stop = stop
				continue
			}
		}
		d.log.write(e, err, r)
		d.metrics.reject(err)
		rejected++
		entries[i] = d.reject(e, err, r, now)
	}
	for _, at := range d.publisher.produce(ctx, entries, patient) {
		if at.Err != nil {
			return fmt.Errorf("publish %d records of %s/%d: %w", len(records), records[0].Topic, records[0].Partition,
				at.Err)
		}
	}
	d.metrics.accepted.Add(float64(len(records) - rejected))
	d.metrics.all.age.Observe(max(0, d.clock().Sub(records[0].Time).Seconds()))
	return nil
}

// unreadable returns once a batch that can't be read is on the rejected topic. A person should know of it, since
// its producer does not: the incident is counted and logged, and does not last, since the partition goes on.
func (d *kafkaSource) unreadable(ctx context.Context, b *stream.DamagedError) error {
	now := d.publisher.now()
	for _, at := range d.publisher.produce(ctx, []entry{{record: event.RejectedBatch(d.rejected, b, now)}}, patient) {
		if at.Err != nil {
			return fmt.Errorf("reject a batch of %s/%d: %w", b.Topic, b.Partition, at.Err)
		}
	}
	d.metrics.reject(fault.New(fault.Invalid, b.Reason, "%s", b.Detail))
	d.client.ReportIncident(stream.Incident{Code: b.Reason, Topic: b.Topic, Partition: b.Partition, Offset: b.First,
		Detail: b.Error()})
	return nil
}

func (d *kafkaSource) reject(e *event.Event, err error, r stream.Record, now time.Time) entry {
	var id event.Identity
	if e != nil {
		id = e.Identity()
	}
	reason, text := fault.ReasonOf(err), fault.Detail(err)
	return entry{
		record: event.Rejected(d.rejected, r, id, reason, text, now),
		cut:    func() stream.Record { return event.RejectedCut(d.rejected, r, id, reason, text, now) },
	}
}
