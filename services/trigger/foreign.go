package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// topicPatience is how long a topic of a tenant may take nothing before other outcomes stand in for its records. A test has
// less.
var topicPatience = 30 * time.Second

const (
	// probeEvery is how often a topic that is away is tried again, and probePatience for how long.
	probeEvery    = 10 * time.Second
	probePatience = time.Second
	// askPatience is how long our own topics may take to answer before all of Kafka is away.
	askPatience = 5 * time.Second
	// tryEvery is the pause between two tries of what Kafka refuses.
	tryEvery = time.Second
)

// foreign publishes to topics of tenants, for all partitions of the process.
type foreign struct {
	producer interface {
		ProduceResults(ctx context.Context, records ...stream.Record) ([]stream.ProduceResult, error)
	}
	// answers reports whether Kafka answers at all: an error while it does not.
	answers func(ctx context.Context) error
	clock   func() time.Time
	log     *zap.Logger
	metrics *metrics

	mu sync.Mutex
	// away are the topics that took nothing for long, and when each was tried last.
	away map[string]time.Time
}

var _ fold.ForeignPublisher = (*foreign)(nil)

// newForeign has a producer of its own, so that a topic that makes trouble holds back no batch of ours.
func newForeign(f *frame.Frame, metrics *metrics) (_ *foreign, closing func(ctx context.Context)) {
	producer := f.Client.NewProducer(stream.UnknownTopicAfter(topicPatience))
	out := &foreign{producer: producer, clock: f.Clock, log: f.Log, metrics: metrics, away: map[string]time.Time{}}
	out.answers = func(ctx context.Context) error {
		_, _, err := f.Client.Offsets(ctx, f.Client.Topic(stream.TriggersDecisions), 0)
		return err //nolint:wrapcheck // only whether there is one matters
	}
	return out, func(ctx context.Context) {
		finishing, cancel := f.Finishing(ctx)
		defer cancel()
		_ = producer.Close(finishing) // nobody waits for what is left, and it is planned again
	}
}

// Publish implements fold.ForeignPublisher. The partition waits for a topic once: while it is away, it is tried by what is for
// it now and then, and the others go on.
func (f *foreign) Publish(ctx context.Context, outcomes []fold.Foreign) ([]stream.Record, error) {
	all, probes, lost := f.sort(outcomes)
	failed, err := f.try(ctx, all, topicPatience)
	if err != nil {
		return nil, err
	}
	if len(probes) > 0 {
		still, err := f.try(ctx, probes, probePatience)
		if err != nil {
			return nil, err
		}
		failed = append(failed, still...)
	}
	lost = append(lost, failed...)
	// In the order in which they were planned, as on every topic of ours.
	slices.SortFunc(lost, func(a, b attempted) int { return a.number - b.number })
	var instead []stream.Record
	for _, a := range lost {
		instead = append(instead, a.Instead()...)
		f.metrics.decided(triggerv1.Decision_REASON_TOPIC_UNAVAILABLE)
	}
	return instead, nil
}

// attempted is an outcome, and why it was not published.
type attempted struct {
	fold.Foreign
	number int
	err    error
}

// sort parts the outcomes into those that are tried, those that try a topic that is away, and those that are lost.
func (f *foreign) sort(outcomes []fold.Foreign) (all, probes, lost []attempted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock()
	due := map[string]bool{}
	for i, o := range outcomes {
		a := attempted{Foreign: o, number: i}
		tried, away := f.away[o.Record.Topic]
		switch {
		case !away:
			all = append(all, a)
		case due[o.Record.Topic] || now.Sub(tried) >= probeEvery:
			due[o.Record.Topic] = true
			f.away[o.Record.Topic] = now
			probes = append(probes, a)
		default:
			lost = append(lost, a)
		}
	}
	return all, probes, lost
}

// try publishes outcomes until all are acknowledged, or those left have failed for as long as the patience lasts while Kafka
// answers. It returns those; an error is ours.
func (f *foreign) try(ctx context.Context, left []attempted, patience time.Duration) (refused []attempted, err error) {
	end, last := f.clock().Add(patience), patience <= probePatience
	for len(left) > 0 {
		trying, cancel := context.WithTimeout(ctx, max(end.Sub(f.clock()), time.Millisecond))
		records := make([]stream.Record, len(left))
		for i, a := range left {
			records[i] = a.Record
		}
		results, _ := f.producer.ProduceResults(trying, records...)
		cancel()
		var again []attempted
		for i, a := range left {
			switch a.err = results[i].Err; {
			case a.err == nil:
				f.took(a.Record.Topic)
			case errors.Is(a.err, stream.ErrClosed):
				return nil, fmt.Errorf("publish to %s: %w", a.Record.Topic, a.err)
			case errors.Is(a.err, stream.ErrTooLarge), errors.Is(a.err, stream.ErrInvalidRecord):
				refused = append(refused, a) // the topic takes others
			default:
				again = append(again, a)
			}
		}
		if left = again; ctx.Err() != nil {
			return nil, fmt.Errorf("publish to topics of tenants: %w", ctx.Err())
		}
		switch {
		case len(left) == 0:
		case f.clock().Before(end):
			if !pause.For(ctx, min(tryEvery, end.Sub(f.clock()))) {
				return nil, fmt.Errorf("publish to topics of tenants: %w", ctx.Err())
			}
		case !f.kafkaAnswers(ctx):
			if ctx.Err() != nil {
				return nil, fmt.Errorf("publish to topics of tenants: %w", ctx.Err())
			}
			end, last = f.clock().Add(patience), false // all of Kafka is away: that is ours
		case !last:
			end, last = f.clock().Add(probePatience), true // it may have come back this moment
		default:
			f.gone(left)
			return append(refused, left...), nil
		}
	}
	return refused, nil
}

func (f *foreign) kafkaAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	return f.answers(ctx) == nil
}

// gone notes the topics that took nothing.
func (f *foreign) gone(left []attempted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range left {
		if _, known := f.away[a.Record.Topic]; !known {
			f.log.Warn("topic of a tenant takes nothing, its records go to the dead letters", zap.String("topic", a.Record.Topic), zap.Error(a.err))
		}
		f.away[a.Record.Topic] = f.clock()
	}
	f.metrics.topicsAway(len(f.away))
}

// took notes that a topic took a record.
func (f *foreign) took(topic string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.away[topic]; known {
		delete(f.away, topic)
		f.log.Info("topic of a tenant takes records again", zap.String("topic", topic))
		f.metrics.topicsAway(len(f.away))
	}
}
