package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// change is a revision that was answered, or found to stand.
type change struct {
	name     string
	revision int64
	word     string
	deleted  bool
}

// check compares what was answered and watched with what stands. It knows nothing of the tables.
type check struct {
	bed *bed
	// replicas are read through the connections of both.
	replicas []configv1.ConfigWatchServiceClient

	mu      sync.Mutex
	changes map[int64]change
	// histories is that of each revision that a watcher received.
	histories map[int64]uint64
	heads     int
	compared  int64 // up to which revision
	stands    map[string]string
	watchers  sync.WaitGroup

	lost, doubled, outOfOrder int
	examples                  []string
}

func newCheck(b *bed) (*check, error) {
	c := &check{bed: b, changes: map[int64]change{}, histories: map[int64]uint64{}, stands: map[string]string{}, compared: 1}
	for _, m := range b.replicas {
		conn, err := b.fleet.Dial(m.Address("grpc"))
		if err != nil {
			return nil, err
		}
		c.replicas = append(c.replicas, configv1.NewConfigWatchServiceClient(conn))
	}
	return c, nil
}

func (c *check) wrong() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost+c.doubled+c.outOfOrder > 0
}

func (c *check) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.changes)
}

func (c *check) received() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heads
}

// report counts a fault and keeps the first ones in words.
func (c *check) report(count *int, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(count, format, args...)
}

// add requires mu.
func (c *check) add(count *int, format string, args ...any) {
	if *count++; len(c.examples) < 40 {
		c.examples = append(c.examples, fmt.Sprintf(format, args...))
	}
}

// made takes a revision.
func (c *check) made(one change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, taken := c.changes[one.revision]; taken && other != one {
		c.add(&c.doubled, "revision %d is %s and %s", one.revision, other.name, one.name)
	}
	c.changes[one.revision] = one
}

// watch watches each replica twice, until ctx ends; the result waits for that.
func (c *check) watch(ctx context.Context) (wait func()) {
	for i := range 2 * len(c.replicas) {
		c.watchers.Go(func() {
			last := int64(0)
			for ctx.Err() == nil {
				c.watchOnce(ctx, i, &last)
				pause.For(ctx, 50*time.Millisecond)
			}
		})
	}
	return c.watchers.Wait
}

// watchOnce follows one stream to its end. A head below one that was received is out of order: that revision was seen.
func (c *check) watchOnce(ctx context.Context, watcher int, last *int64) {
	stream, err := c.replicas[watcher%len(c.replicas)].Watch(ctx, &configv1.WatchRequest{})
	if err != nil {
		return
	}
	for {
		head, err := stream.Recv()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.heads++
		if head.GetRevision() < *last {
			c.add(&c.outOfOrder, "watcher %d receives revision %d after %d", watcher, head.GetRevision(), *last)
		}
		*last = head.GetRevision()
		if history, known := c.histories[head.GetRevision()]; known && history != head.GetHistory() {
			c.add(&c.doubled, "revision %d is of history %016x and of %016x", head.GetRevision(), history, head.GetHistory())
		}
		c.histories[head.GetRevision()] = head.GetHistory()
		c.mu.Unlock()
	}
}

// compare reads every revision that came since the last time, from either replica by turns, and waits until every service is
// at the newest.
func (c *check) compare(ctx context.Context) error {
	head, err := c.same(ctx)
	if err != nil {
		return err
	}
	for n := c.compared + 1; n <= head; n++ {
		if err := c.revision(ctx, n); err != nil {
			return err
		}
		c.compared = n
	}
	for _, m := range c.bed.followers {
		if err := c.follows(ctx, m, head); err != nil {
			return err
		}
	}
	fleet.Report("every service is at revision %d, each of which was compared", head)
	return nil
}

// same waits until both replicas have the same newest revision.
func (c *check) same(ctx context.Context) (int64, error) {
	for {
		var heads []int64
		var faults []error
		for i := range c.replicas {
			s, err := c.snapshot(ctx, i, 0)
			faults = append(faults, err)
			heads = append(heads, s.GetRevision())
		}
		if errors.Join(faults...) == nil && heads[0] == heads[1] {
			return heads[0], nil
		}
		if !pause.For(ctx, 50*time.Millisecond) {
			return 0, fmt.Errorf("replicas are at revisions %v: %w", heads, errors.Join(faults...))
		}
	}
}

func (c *check) snapshot(ctx context.Context, replica int, revision int64) (*configv1.Snapshot, error) {
	parts, err := c.replicas[replica%len(c.replicas)].Snapshot(ctx, &configv1.SnapshotRequest{Revision: revision})
	if err != nil {
		return nil, err
	}
	return configclient.Collect(parts, nil)
}

// revision compares one with the one before and the change that was answered.
func (c *check) revision(ctx context.Context, n int64) error {
	s, err := c.snapshot(ctx, int(n), n)
	if err != nil {
		return fmt.Errorf("read revision %d: %w", n, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one, answered := c.changes[n]
	if !answered {
		c.add(&c.doubled, "revision %d was made by no change that was answered or read", n)
	}
	if one.deleted {
		delete(c.stands, one.name)
	} else {
		c.stands[one.name] = one.word
	}
	if history, known := c.histories[n]; known && history != s.GetHistory() {
		c.add(&c.doubled, "revision %d is of history %016x, and was watched as of %016x", n, s.GetHistory(), history)
	}
	if len(s.GetEndpoints()) != len(c.stands) {
		c.add(&c.lost, "revision %d has %d endpoints, not %d", n, len(s.GetEndpoints()), len(c.stands))
	}
	for _, e := range s.GetEndpoints() {
		if word := c.stands[e.GetName()]; word != e.GetDisplayName() {
			c.add(&c.lost, "in revision %d %s is %q, not %q", n, e.GetName(), e.GetDisplayName(), word)
		}
	}
	return nil
}

// follows waits until a service has received the revision.
func (c *check) follows(ctx context.Context, m *fleet.Member, head int64) error {
	service, _, _ := strings.Cut(m.Name, "-")
	for {
		n, err := bench.Metric(ctx, m, fmt.Sprintf("tollgate_%s_configuration_revision{of=\"all\"}", service))
		if err == nil && int64(n) == head {
			return nil
		}
		if !pause.For(ctx, 50*time.Millisecond) {
			c.report(&c.lost, "%s is at revision %g and not at %d", m.Name, n, head)
			return nil
		}
	}
}
