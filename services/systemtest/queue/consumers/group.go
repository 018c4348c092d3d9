package consumers

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// Subscriptions are how many; two of three are ordered.
const Subscriptions = 6

// Group is some subscriptions of a tenant, and what they must get.
type Group struct {
	fleet     *fleet.Fleet
	replicas  []*fleet.Member
	tenant    string
	log       *published
	consumers []*consumer
}

// New makes subscriptions that go to any of some replicas of ingest. The tenant exists before Start.
func New(f *fleet.Fleet, replicas []*fleet.Member, tenant string, seed uint64) *Group {
	g := &Group{fleet: f, replicas: replicas, tenant: tenant, log: newPublished(f, tenant, seed)}
	for i := range Subscriptions {
		g.consumers = append(g.consumers, newConsumer(g, i, seed))
	}
	return g
}

// Start subscribes until stop is called, which waits. Its error is one that no kill explains.
func (g *Group) Start(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, len(g.consumers))
	for _, c := range g.consumers {
		go func() { ended <- c.run(ctx) }()
	}
	return func() error {
		cancel()
		var faults []error
		for range g.consumers {
			faults = append(faults, <-ended)
		}
		return errors.Join(faults...)
	}
}

// Publish publishes events until stretch ends.
func (g *Group) Publish(ctx, stretch context.Context) error { return g.log.publish(ctx, stretch) }

// Published is how many events there are.
func (g *Group) Published() int { return g.log.count() }

// Await waits until every subscription got every event, or as long as is given: what is missing then is lost.
func (g *Group) Await(ctx context.Context, patience time.Duration) error {
	for began := time.Now(); ; {
		missing := 0
		for _, c := range g.consumers {
			missing += c.missing()
		}
		if missing == 0 {
			return nil
		}
		if time.Since(began) > patience { // the figures have what is lost
			fleet.Report("%d events are missing after %s", missing, patience)
			return nil
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// Result is what went wrong, and how much came.
type Result struct {
	// Lost never came, Doubled came more often without a mark than the log has it, OutOfOrder came before an earlier one.
	Lost, Doubled, OutOfOrder int
	// Received are sendings, GivenUp acknowledgements of events that a consumer gave up.
	Received int64
	GivenUp  int
}

// Result compares what each subscription got with the log.
func (g *Group) Result(ctx context.Context) (all Result, err error) {
	inLog, givenUp, err := g.log.read(ctx)
	if err != nil {
		return all, err
	}
	all.GivenUp = givenUp
	for _, c := range g.consumers {
		lost, doubled, disorder, received := c.compare(inLog)
		all.Lost, all.Doubled, all.OutOfOrder, all.Received = all.Lost+lost, all.Doubled+doubled, all.OutOfOrder+disorder, all.Received+received
	}
	return all, nil
}
