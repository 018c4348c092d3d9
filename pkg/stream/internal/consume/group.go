package consume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// GroupConfig describes one consumer group of this process.
type GroupConfig struct {
	// Name of the group; the client's prefix precedes it.
	Name string
	// Topics, with or without the client's prefix.
	Topics []string
	// Session is how long the broker waits for a sign of a member before its partitions move.
	// The lowest a broker allows is 6 s by default; that is the default here.
	Session time.Duration
	// Heartbeat between signs. Default 1.5 s.
	Heartbeat time.Duration
	// Rebalance is how long the broker waits for members to rejoin. Default 20 s; above the
	// client's CallTimeout and the drain.
	Rebalance time.Duration
	// Drain is how long a partition's work may go on after a revoke before its context ends.
	// Heartbeats have stopped by then, so it stays below Session. Default 3 s.
	Drain time.Duration
	// Watchdog is how long work may show no sign before the member leaves the group and
	// Consume fails with ErrStuck. Default 60 s; negative: never.
	Watchdog time.Duration
	// CommitEvery is how often Claim.CommitSoon commits. Default 1 s.
	CommitEvery time.Duration
	// Assigned, where set, is called with how many partitions a generation gave this member, before any of them is
	// worked. 0 is reported as well: there are more members than partitions.
	Assigned func(partitions int)
}

func (g GroupConfig) withDefaults() GroupConfig {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&g.Session, 6*time.Second)
	set(&g.Heartbeat, 1500*time.Millisecond)
	set(&g.Rebalance, 20*time.Second)
	set(&g.Drain, 3*time.Second)
	set(&g.Watchdog, time.Minute)
	set(&g.CommitEvery, time.Second)
	return g
}

func (g GroupConfig) validate(callTimeout time.Duration) error {
	var violations []error
	if g.Name == "" {
		violations = append(violations, errors.New("name is required"))
	}
	if len(g.Topics) == 0 {
		violations = append(violations, errors.New("topics: at least one is required"))
	}
	if g.Heartbeat > g.Session/3 {
		violations = append(violations, fmt.Errorf("heartbeat: %s is more than a third of the session timeout %s",
			g.Heartbeat, g.Session))
	}
	if g.CommitEvery < 0 {
		violations = append(violations, fmt.Errorf("commit every: %s is below 0", g.CommitEvery))
	}
	if g.Drain >= g.Session {
		violations = append(violations, fmt.Errorf("drain: %s is not below the session timeout %s", g.Drain, g.Session))
	}
	if longest := callTimeout * 3 / 2; longest >= g.Rebalance { // a fetch with its wait
		violations = append(violations, fmt.Errorf("rebalance: %s is not above the longest call, %s", g.Rebalance,
			longest))
	}
	return errors.Join(violations...)
}

type partitionKey struct {
	topic     string
	partition int32
}

// group is one membership of this process.
type group struct {
	c       *Consumer
	cfg     GroupConfig
	id      string
	topics  []string
	work    func(ctx context.Context, cl *Claim) error
	started time.Time // origin of the claims' progress

	mu      sync.Mutex
	rejoins int               // wishes to rejoin in a row
	pollers map[int32]*poller // by broker
}

// Consume joins a group and runs work once per assigned partition and
// generation, each in its own goroutine, until ctx ends; then it drains, leaves
// the group and returns nil.
//
// Work that returns an error while its claim is held is run again with backoff:
// the partition waits, Health reports it, and the others go on. ErrRejoin makes the
// member drain and rejoin. Work must return soon after its context ends: work
// that shows no sign for the watchdog's time makes the member leave and Consume
// return ErrStuck, after which the process must exit: the stuck goroutine is
// still there.
func (c *Consumer) Consume(ctx context.Context, cfg GroupConfig,
	work func(ctx context.Context, cl *Claim) error) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(c.CallTimeout); err != nil {
		return fmt.Errorf("consume as %s: %w", cfg.Name, err)
	}
	g := &group{c: c, cfg: cfg, id: c.Topic(cfg.Name), work: work, started: time.Now()}
	for _, t := range cfg.Topics {
		g.topics = append(g.topics, c.Topic(t))
	}
	if err := g.run(ctx); err != nil {
		return fmt.Errorf("consume as %s: %w", g.id, err)
	}
	return nil
}

func (g *group) run(ctx context.Context) error {
	if g.waitForTopics(ctx) != nil {
		return nil // ctx has ended
	}
	m, err := g.join()
	if err != nil {
		return err
	}
	defer m.leave()
	key := cluster.WaitKey{For: "join", Topic: g.id, Partition: -1}
	defer g.c.Done(key)
	for {
		gen, err := m.group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, kafka.ErrGroupClosed):
			return nil
		case err != nil:
			// kafka-go backs off by itself and tries for ever.
			g.c.Waits(key, err)
			g.c.Log.Warn("group not joined yet", zap.String("group", g.id), zap.Error(err))
			continue
		}
		g.c.Done(key)
		g.c.metrics.rebalances.WithLabelValues(g.cfg.Name).Inc()
		if err := g.generation(ctx, m, gen); err != nil {
			return err
		}
	}
}

// waitForTopics waits until every topic exists. A member that joins before holds
// nothing of a topic for as long as the generation lasts, and kafka-go's request
// for its partitions would have a broker that creates topics by itself create it.
func (g *group) waitForTopics(ctx context.Context) error {
	for _, t := range g.topics {
		err := g.c.Retry(ctx, cluster.WaitKey{For: "join", Topic: t, Partition: codec.AnyPartition},
			func(ctx context.Context) error {
				_, err := g.c.Partitions(ctx, t)
				if err != nil {
					return fmt.Errorf("%w: %s", cluster.ErrTopicNotYet, err.Error())
				}
				return nil
			})
		if err != nil {
			return err
		}
	}
	return nil
}

// generation works one generation until it is revoked, ctx ends, or a
// partition's work asks to rejoin. It returns an error only for stuck work.
func (g *group) generation(ctx context.Context, m *membership, gen *kafka.Generation) error {
	result := make(chan error, 1)
	// kafka-go waits for this function before it rejoins, and ends the generation when it
	// returns: it returns when every partition has drained, or never will.
	gen.Start(func(revoked context.Context) {
		err := g.hold(ctx, revoked, gen)
		if err != nil || ctx.Err() != nil {
			m.close() // before the generation ends, or kafka-go would join once more
		}
		result <- err
	})
	return <-result
}

func (g *group) hold(ctx, revoked context.Context, gen *kafka.Generation) error {
	base := context.WithoutCancel(ctx)
	drain, startDrain := context.WithCancel(base)
	defer startDrain()
	finish, endWork := context.WithCancel(base)
	defer endWork()
	stop := func() bool { return ctx.Err() != nil || revoked.Err() != nil }

	// The start of the drain comes from outside: revoke, shutdown, or a wish to rejoin.
	rejoin := make(chan struct{}, 1)
	go func() {
		select {
		case <-ctx.Done():
		case <-revoked.Done():
		case <-rejoin:
		case <-drain.Done():
		}
		startDrain()
	}()

	committed, err := g.committed(drain, gen)
	if err != nil {
		if !stop() {
			g.c.Log.Warn("committed offsets not read", zap.String("group", g.id), zap.Error(err))
		}
		return nil
	}
	var (
		claims []*Claim
		work   sync.WaitGroup
	)
	for topic, partitions := range gen.Assignments {
		for _, p := range partitions {
			cl := newClaim(g, topic, int32(p.ID), gen.ID, gen.MemberID, committed[partitionKey{topic, int32(p.ID)}],
				drain)
			claims = append(claims, cl)
			g.c.metrics.lag.add(cl)
		}
	}
	g.c.Log.Info("partitions assigned", zap.String("group", g.id), zap.Int32("generation", gen.ID),
		zap.Int("partitions", len(claims)))
	if g.cfg.Assigned != nil {
		g.cfg.Assigned(len(claims))
	}
	g.c.metrics.claims.WithLabelValues(g.cfg.Name).Add(float64(len(claims)))
	defer g.c.metrics.claims.WithLabelValues(g.cfg.Name).Sub(float64(len(claims)))
	for _, cl := range claims {
		work.Go(func() {
			defer g.forget(cl)
			if g.repeat(cluster.WithWaiting(finish, cl.waiting), cl) {
				select {
				case rejoin <- struct{}{}:
				default:
				}
			}
		})
	}
	var committing sync.WaitGroup
	committing.Go(func() { g.commits(drain, finish, claims) })
	idle := make(chan struct{})
	go func() {
		work.Wait()
		close(idle)
	}()
	err = g.watch(drain, endWork, claims, idle)
	startDrain()
	endWork()
	committing.Wait()
	return err
}

// watch waits until every partition's work has returned. After the drain
// deadline the work's context ends. Work that shows no sign is given up.
func (g *group) watch(drain context.Context, endWork func(), claims []*Claim, idle <-chan struct{}) error {
	every := g.cfg.Watchdog / 8
	if g.cfg.Watchdog < 0 {
		every = time.Hour
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	draining := drain.Done()
	if len(claims) == 0 { // nothing assigned: hold the membership until it ends
		<-draining
		return nil
	}
	var deadline <-chan time.Time
	for {
		select {
		case <-idle:
			return nil
		case <-draining:
			draining = nil
			t := time.NewTimer(g.cfg.Drain)
			defer t.Stop()
			deadline = t.C
		case <-deadline:
			endWork()
		case <-tick.C:
			if g.cfg.Watchdog < 0 {
				continue
			}
			for _, cl := range claims {
				if d := cl.sinceSign(); d >= g.cfg.Watchdog && !cl.over.Load() {
					err := fmt.Errorf("%s/%d: no sign for %s: %w", cl.Topic, cl.Partition, d.Round(time.Millisecond),
						ErrStuck)
					cl.Incident(IncidentStuck, -1, err)
					return err
				}
			}
		}
	}
}

// repeat runs the work of a claim until it drains. True means the work asked to
// rejoin the group.
func (g *group) repeat(ctx context.Context, cl *Claim) bool {
	key := cl.workKey()
	defer g.c.Done(key)
	for attempt := 0; cl.drain.Err() == nil; attempt++ {
		cl.forgetSoon()
		began := time.Now()
		err := g.work(ctx, cl)
		switch {
		case cl.drain.Err() != nil:
			if err != nil && !errors.Is(err, ErrRevoked) && !errors.Is(err, context.Canceled) {
				g.c.Log.Warn("work ended with an error while draining", zap.String("topic", cl.Topic),
					zap.Int32("partition", cl.Partition), zap.Error(err))
			}
			return false
		case errors.Is(err, ErrRejoin):
			g.c.Log.Warn("work asks to rejoin", zap.String("group", g.id), zap.String("topic", cl.Topic),
				zap.Int32("partition", cl.Partition), zap.Error(err))
			cl.pause(ctx, g.rejoinAfter(began))
			return true
		case err == nil:
			err = errors.New("work returned although the partition is held")
		}
		if time.Since(began) > time.Minute {
			attempt = 0
		}
		g.c.Waits(key, err)
		cl.failed.Store(true)
		cl.damaged(err)
		g.c.Log.Warn("partition waits", zap.String("group", g.id), zap.String("topic", cl.Topic),
			zap.Int32("partition", cl.Partition), zap.Error(err))
		cl.pause(ctx, 5*cluster.Backoff(attempt))
	}
	return false
}

// pause waits while the claim is held.
func (cl *Claim) pause(ctx context.Context, d time.Duration) {
	defer cl.waiting()()
	pause.Unless(ctx, cl.drain.Done(), d)
}

// rejoinAfter keeps a member that asks again and again from turning its group in circles.
func (g *group) rejoinAfter(began time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(began) > time.Minute {
		g.rejoins = 0
	}
	d := 2 * cluster.Backoff(g.rejoins)
	g.rejoins++
	return d
}

// forget takes a claim that has ended out of Health and the gauges: the member that
// holds the partition next reports it.
func (g *group) forget(cl *Claim) {
	cl.over.Store(true)
	g.c.metrics.lag.remove(cl)
	g.c.ForgetIncidents(cl.Topic, cl.Partition)
}
