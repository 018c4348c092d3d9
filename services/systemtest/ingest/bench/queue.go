package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tollgate/tollgate/pkg/stream"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// queueRate is more than a stream gets on two cores, events a second: so many wait for each run.
const queueRate = 250_000

// queue measures one stream that reads what waits in the log.
func (b *bed) queue(ctx context.Context) (err error) {
	p, err := b.prepare(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, p.Fleet)) }()
	total := int(queueRate * (b.warmUp + b.length).Seconds())
	ordered := p.Client.Topic(stream.EventsOrdered)
	if err := bench.Plan(ctx, p.Client, total, func(i int) (stream.Record, error) { return b.usage(i).Record(ordered) }); err != nil {
		return err
	}
	f := figure.Figure{
		Name: "queue.events_per_second", Unit: "events/s", Goal: 100_000, Better: "higher",
		Note: fmt.Sprintf("one named stream, ordered by %d subjects, an ack for each response; its consumer in a process of its own decodes every event", b.subjects),
	}
	var rates []float64
	for i := range b.runs {
		c := &consumer{want: subscription(fmt.Sprint("run-", i))}
		c.want.Ordered = true
		rate, err := b.consume(ctx, p, c, fmt.Sprint("queue-", i), int64(total))
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		rates = append(rates, rate)
		f.Events += c.received.Load()
		f.Runs = append(f.Runs, fmt.Sprintf("%.0f/s", rate))
		fleet.Report("run %d: %s", i+1, f.Runs[i])
	}
	f.Value, f.Seconds = figure.Round(figure.Median(rates)), float64(b.runs)*b.length.Seconds()
	return b.Print(f)
}

func subscription(name string) *ingestv1.Subscription {
	return &ingestv1.Subscription{
		Tenant: tenantID, Name: name, Types: []string{"usage.*"},
		Start: &ingestv1.Start{At: &ingestv1.Start_Earliest{Earliest: &emptypb.Empty{}}},
	}
}

// consume measures one consumer until the length is over, or nearly all came.
func (b *bed) consume(ctx context.Context, p *prepared, c *consumer, name string, total int64) (perSecond float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	opened := make(chan struct{})
	go func() { ended <- c.run(ctx, p, func() { close(opened) }) }()
	select {
	case <-opened:
	case err := <-ended:
		return 0, err
	}
	if err := bench.Pause(ctx, b.warmUp); err != nil {
		return 0, err
	}
	profile := b.profiled(ctx, p.ingest, name)
	from, began := c.received.Load(), time.Now()
	for time.Since(began) < b.length && c.received.Load() < total*98/100 {
		if err := bench.Pause(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
	perSecond = float64(c.received.Load()-from) / time.Since(began).Seconds()
	err = profile()
	cancel()
	return perSecond, errors.Join(err, <-ended)
}

// consumer is one that acknowledges every response, and checks that nothing comes twice.
type consumer struct {
	want     *ingestv1.Subscription
	received atomic.Int64
	// ages, where not nil, collects how old events are when they come.
	ages *ages
}

type ages struct {
	mu  sync.Mutex
	all []time.Duration
}

func (c *consumer) run(ctx context.Context, p *prepared, opened func()) error {
	conn, err := p.Dial(p.ingest.Address("grpc"))
	if err != nil {
		return err
	}
	s, err := ingestv1.NewEventQueueServiceClient(conn).Subscribe(ctx)
	if err != nil {
		return err
	}
	if err := s.Send(&ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Subscription{Subscription: c.want}}); err != nil {
		return err
	}
	for first := true; ; first = false {
		res, err := s.Recv()
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the measurement has ended
			}
			return err
		}
		if first {
			opened()
			continue
		}
		events := res.GetEvents()
		for _, e := range events {
			if e.GetSending() != 1 || e.GetMayHaveBeenSeen() {
				return fmt.Errorf("%s came again: sending %d", e.GetEvent().GetId(), e.GetSending())
			}
		}
		c.received.Add(int64(len(events)))
		if c.ages != nil && len(events) > 0 {
			age := time.Since(events[0].GetEvent().GetReceivedAt().AsTime())
			c.ages.mu.Lock()
			c.ages.all = append(c.ages.all, age)
			c.ages.mu.Unlock()
		}
		ack := &ingestv1.Ack{Cursor: events[len(events)-1].GetCursor()}
		if err := s.Send(&ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Ack{Ack: ack}}); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// perStream is what each of many streams gets, events a second.
const perStream = 500

// many measures whether a hundred streams get 500 events a second each, of one log in which these are.
func (b *bed) many(ctx context.Context) (err error) {
	p, err := b.prepare(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, p.Fleet)) }()
	old := &ages{}
	consumers := make([]*consumer, b.streams)
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, b.streams)
	var opened sync.WaitGroup
	for i := range consumers {
		c := &consumer{want: subscription(fmt.Sprint("many-", i)), ages: old}
		consumers[i] = c
		opened.Add(1)
		go func() {
			var once sync.Once
			err := c.run(work, p, func() { once.Do(opened.Done) })
			once.Do(opened.Done)
			ended <- err
		}()
	}
	opened.Wait()
	ordered := p.Client.Topic(stream.EventsOrdered)
	length := b.warmUp + b.length
	began := time.Now()
	before, err := p.ingest.Processor()
	if err != nil {
		return err
	}
	profile := b.profiled(ctx, p.ingest, "streams")
	if err := bench.Pace(ctx, p.Client, length, perStream, func(i int) (stream.Record, error) { return b.usage(i).Record(ordered) }); err != nil {
		return err
	}
	produced, err := end(ctx, p.Client, ordered, b.partitions)
	if err != nil {
		return err
	}
	for patience := time.Now().Add(time.Minute); slices.ContainsFunc(consumers, func(c *consumer) bool { return c.received.Load() < produced }); {
		if time.Now().After(patience) {
			return errors.New("not every stream got every event")
		}
		if err := bench.Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	took := time.Since(began)
	after, cpuErr := p.ingest.Processor()
	cpu := after - before
	cancel()
	faults := []error{cpuErr, profile()}
	for range consumers {
		faults = append(faults, <-ended)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	lowest := float64(math.MaxInt64)
	for _, c := range consumers {
		if n := c.received.Load(); n != produced {
			return fmt.Errorf("a stream got %d of %d events", n, produced)
		}
		lowest = min(lowest, float64(c.received.Load())/took.Seconds())
	}
	slices.Sort(old.all)
	return b.Print(figure.Figure{
		Name: "queue.streams_events_per_second", Value: figure.Round(lowest * float64(b.streams)), Unit: "events/s", Goal: perStream * float64(b.streams) * 0.98, Better: "higher",
		Events: produced * int64(b.streams), Seconds: took.Seconds(),
		Note: fmt.Sprintf("%d streams on one process, each gets %d events a second of one log until the last has all; an event is %s old when it comes at the median, %s at p99; %s of processor time a sending",
			b.streams, perStream, old.all[len(old.all)/2].Round(100*time.Microsecond), old.all[len(old.all)*99/100].Round(100*time.Microsecond), (cpu / time.Duration(produced*int64(b.streams))).Round(100*time.Nanosecond)),
	})
}
