package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/trace"
)

// publisher produces what the transports take, and answers with the receipt of each.
type publisher struct {
	producer  *stream.Producer
	tenants   *tenants
	clock     func() time.Time
	metrics   *metrics
	trace     *trace.Tracer
	ordered   string
	unordered string

	mu sync.Mutex
	// obstacles are what calls wait for that Kafka refuses for good, with how many calls wait.
	obstacles map[string]int
}

func newPublisher(client *stream.Client, tenants *tenants, clock func() time.Time, metrics *metrics, tracer *trace.Tracer) *publisher {
	return &publisher{
		producer: client.NewProducer(), tenants: tenants, clock: clock, metrics: metrics, trace: tracer,
		ordered: client.Topic(stream.EventsOrdered), unordered: client.Topic(stream.EventsUnordered),
		obstacles: map[string]int{},
	}
}

// entry is one record to produce: an accepted event, or a record on its way to the rejected topic.
type entry struct {
	record stream.Record
	// event is what record was made of; nil for a rejected record.
	event *event.Event
	// stop is the event's span; nil where none is recorded.
	stop *stop
	// cut makes a rejected record smaller, where the topic does not take it.
	cut func() stream.Record
}

// now is the stamp of what is received at this moment.
func (p *publisher) now() time.Time { return p.clock().UTC().Truncate(time.Millisecond) }

// stamp makes the record of a valid event. From here on it is received.
func (p *publisher) stamp(e *event.Event, now time.Time) (entry, error) {
	topic := p.ordered
	if e.Queue() == event.Unordered {
		topic = p.unordered
	}
	e.ReceivedAt = now
	record, err := e.Record(topic)
	return entry{record: record, event: e}, err
}

// patience is what produce does about a record that Kafka refuses for a reason that is ours.
type patience bool

const (
	// impatient gives an error, since the caller waits and can send it again.
	impatient patience = false
	// patient tries again for as long as ctx lasts.
	patient patience = true
)

// produce blocks until every entry is acknowledged by all in-sync replicas, or has an error. A stamp ahead of the
// broker's clock is waited for in either case, and drawn anew: some clock is wrong, and no producer can do anything
// about it.
func (p *publisher) produce(ctx context.Context, entries []entry, how patience) []stream.ProduceResult {
	began := time.Now()
	records := make([]stream.Record, len(entries))
	for i := range entries {
		records[i] = entries[i].record
	}
	results, err := p.producer.ProduceResults(ctx, records...)
	if err != nil {
		p.again(ctx, entries, results, how)
	}
	p.metrics.publish.Observe(time.Since(began).Seconds())
	p.recordAccepted(entries, results)
	return results
}

// again produces what may succeed until nothing is left that may.
func (p *publisher) again(ctx context.Context, entries []entry, results []stream.ProduceResult, how patience) {
	for attempt := 0; ; attempt++ {
		var (
			left    []int
			records []stream.Record
			why     string
			now     = p.now()
		)
		for i := range results {
			switch err := results[i].Err; {
			case err == nil, errors.Is(err, stream.ErrUnknown), errors.Is(err, stream.ErrClosed):
				continue
			case errors.Is(err, stream.ErrTimestampAhead) && entries[i].event != nil:
				restamped, err := p.stamp(entries[i].event, now)
				if err != nil {
					continue // it was a record before, with a stamp of the same length
				}
				restamped.stop = entries[i].stop
				entries[i], why = restamped, "this machine's clock is ahead of the broker's"
			case errors.Is(err, stream.ErrTooLarge) && entries[i].cut != nil:
				entries[i].record, entries[i].cut = entries[i].cut(), nil
			case how == patient:
				why = "Kafka refuses records: " + err.Error()
			default:
				continue
			}
			left = append(left, i)
			records = append(records, entries[i].record)
		}
		if len(left) == 0 || ctx.Err() != nil {
			return
		}
		if why != "" && !p.pause(ctx, attempt, why) {
			return
		}
		again, _ := p.producer.ProduceResults(ctx, records...)
		for i, at := range left {
			results[at] = again[i]
		}
	}
}

// pause waits from 100 ms up to a second, and meanwhile makes ingest not ready; false when ctx ended.
func (p *publisher) pause(ctx context.Context, attempt int, why string) bool {
	p.count(why, 1)
	defer p.count(why, -1)
	d := min(100*time.Millisecond<<min(attempt, 4), time.Second)
	t := time.NewTimer(d/2 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *publisher) count(why string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.obstacles[why] += n; p.obstacles[why] == 0 {
		delete(p.obstacles, why)
	}
}

// obstacle is what calls wait for now.
func (p *publisher) obstacle() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for why, n := range p.obstacles {
		errs = append(errs, fmt.Errorf("%d calls wait: %s", n, why))
	}
	return errors.Join(errs...)
}

// unanswered is the error of a synchronous API for an event that was not acknowledged.
func unanswered(err error) error {
	switch {
	case errors.Is(err, stream.ErrUnknown):
		return fault.New(fault.Unavailable, reason.OutcomeUnknown,
			"Kafka did not acknowledge in time, the event may still be accepted: send it again under the same id").After(time.Second)
	case errors.Is(err, stream.ErrTimestampAhead):
		return fault.New(fault.Unavailable, "CLOCK_AHEAD",
			"the clock of this replica is ahead of Kafka's, the event was not accepted").After(time.Second)
	case errors.Is(err, stream.ErrClosed):
		return fault.New(fault.Unavailable, reason.Stopping,
			"this replica is stopping, the event was not accepted").After(time.Second)
	}
	return fault.New(fault.Unavailable, "NOT_ACCEPTED",
		"Kafka does not take the event now, it was not accepted").After(time.Second)
}
