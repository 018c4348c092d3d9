package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
)

// check compares what was planned with the receipts and the attempts. It knows nothing of pkg/delivery.
type check struct {
	plan *plan
	// receipts returns those from the nth on.
	receipts func(n int) []receipt
	attempts []*fleet.Tail
	dead     []*fleet.Tail

	seen   int // receipts taken over
	states map[string]*state
	keys   map[string]int64 // highest sequence received first, by ordering key

	lost, doubled, outOfOrder int
	// repeats are receipts beyond the recorded attempts, calm those before anything was killed.
	repeats, calm    int
	repeatedRequests int
	examples         []string
}

// state is what is known of one delivery.
type state struct {
	receipts, accepted int
	attempts           int // requests that are recorded
	settled            map[string]int
	dead               bool
}

func newCheck(b *bed, p *plan) *check {
	c := &check{plan: p, receipts: b.receiver.since, states: map[string]*state{}, keys: map[string]int64{}}
	for i := range partitions {
		c.attempts = append(c.attempts, b.fleet.Follow("deliveries.attempts", int32(i)))
		c.dead = append(c.dead, b.fleet.Follow("deliveries.dead", int32(i)))
	}
	return c
}

func (c *check) wrong() bool { return c.lost+c.doubled+c.outOfOrder > 0 }

// add counts a fault and keeps the first ones in words.
func (c *check) add(count *int, format string, args ...any) {
	if *count++; len(c.examples) < 40 {
		c.examples = append(c.examples, fmt.Sprintf(format, args...))
	}
}

func (c *check) of(id string) *state {
	s := c.states[id]
	if s == nil {
		s = &state{settled: map[string]int{}}
		c.states[id] = s
	}
	return s
}

// rests waits until every delivery is settled, mending again where that takes long, and compares.
func (c *check) rests(ctx context.Context, mend func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if err := mend(ctx); err != nil {
			return err
		}
		again := time.Now().Add(20 * time.Second)
		for time.Now().Before(again) {
			if err := c.read(ctx); err != nil {
				return err
			}
			if len(c.waiting()) == 0 {
				c.compare()
				fleet.Report("all settled and compared: %s; %d receipts without an attempt", c.settlements(), c.repeats)
				return nil
			}
			if !kills.Pause(ctx, 200*time.Millisecond) {
				return c.stuck()
			}
		}
	}
}

// stuck is what is lost where deliveries are not settled in time.
func (c *check) stuck() error {
	for _, one := range c.waiting() {
		c.add(&c.lost, "%s to %s is not settled after %s: %d receipts, %d attempts", one.id, one.endpoint, patience, c.of(one.id).receipts, c.of(one.id).attempts)
	}
	c.compare()
	return nil
}

// waiting are the deliveries without a settlement.
func (c *check) waiting() []*planned {
	c.plan.mu.Lock()
	defer c.plan.mu.Unlock()
	var left []*planned
	for id, one := range c.plan.all {
		if len(c.of(id).settled) == 0 {
			left = append(left, one)
		}
	}
	return left
}

// read takes over new attempts, dead letters and receipts. Receipts come last: that of an attempt is older than its record.
func (c *check) read(ctx context.Context) error {
	for _, t := range c.dead {
		err := each(ctx, t, func(value []byte) error {
			var m deliveryv1.DeadLetter
			if err := proto.Unmarshal(value, &m); err != nil {
				return err
			}
			c.of(m.GetDelivery().GetId()).dead = true
			return nil
		})
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
	}
	for _, t := range c.attempts {
		err := each(ctx, t, func(value []byte) error {
			var m deliveryv1.Attempt
			if err := proto.Unmarshal(value, &m); err != nil {
				return err
			}
			c.attempt(&m)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read attempts: %w", err)
		}
	}
	for _, r := range c.receipts(c.seen) {
		c.seen++
		c.receive(r)
	}
	return nil
}

func each(ctx context.Context, t *fleet.Tail, take func([]byte) error) error {
	for {
		records, err := t.Read(ctx)
		if err != nil || len(records) == 0 {
			return err
		}
		for _, r := range records {
			if err := take(r.Value); err != nil {
				return err
			}
		}
	}
}

func (c *check) attempt(m *deliveryv1.Attempt) {
	s := c.of(m.GetDelivery())
	if m.GetNumber() > 0 {
		s.attempts++
		if m.GetRepeatedRequest() {
			s.attempts++
			c.repeatedRequests++
		}
	}
	if m.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_UNSPECIFIED {
		s.settled[strings.ToLower(strings.TrimPrefix(m.GetSettlement().String(), "SETTLEMENT_"))]++
	}
}

// receive takes a receipt over, in the order of receipt.
func (c *check) receive(r receipt) {
	s := c.of(r.id)
	s.receipts++
	if r.accepted {
		s.accepted++
	}
	c.plan.mu.Lock()
	one := c.plan.all[r.id]
	c.plan.mu.Unlock()
	switch {
	case one == nil:
		return // compare counts it
	case !r.signed:
		c.add(&c.lost, "%s to %s bears no signature of a secret that its endpoint ever had", r.id, r.endpoint)
	case r.endpoint != one.endpoint || r.body != one.body || r.sequence != one.sequence || r.previous != one.previous:
		c.add(&c.doubled, "%s came as something else than was planned: to %s, sequence %d", r.id, r.endpoint, r.sequence)
	}
	if s.receipts > 1 || one.key == "" {
		return
	}
	if r.sequence <= c.keys[one.key] {
		c.add(&c.outOfOrder, "%s, number %d of %s, came first after number %d", r.id, r.sequence, one.key, c.keys[one.key])
	}
	c.keys[one.key] = max(c.keys[one.key], r.sequence)
}

// compare looks at everything while nothing happens.
func (c *check) compare() {
	c.plan.mu.Lock()
	defer c.plan.mu.Unlock()
	c.repeats = 0
	for id, s := range c.states {
		one := c.plan.all[id]
		if one == nil {
			c.add(&c.doubled, "%s was never planned", id)
			continue
		}
		c.repeats += max(0, s.receipts-s.attempts)
		switch delivered, kinds := s.settled["delivered"] > 0, slices.Sorted(maps.Keys(s.settled)); {
		case delivered && s.accepted == 0:
			c.add(&c.lost, "%s to %s is recorded as delivered and was never accepted", id, one.endpoint)
		case delivered:
		case s.settled["dead"]+s.settled["cancelled"] > 0 && !s.dead:
			c.add(&c.lost, "%s to %s is %v and has no dead letter", id, one.endpoint, kinds)
		case s.settled["expired"] > 0 && !one.expires:
			c.add(&c.lost, "%s to %s is expired and has no end", id, one.endpoint)
		case s.settled["cancelled"] > 0 && !one.victim:
			c.add(&c.lost, "%s to %s is cancelled, and its endpoint was never disabled", id, one.endpoint)
		case s.settled["dead"]+s.settled["superseded"] > 0:
			c.add(&c.lost, "%s to %s is %v: nothing waits that long here, and nothing collapses", id, one.endpoint, kinds)
		}
	}
}

// settlements counts deliveries by how they ended.
func (c *check) settlements() string {
	counts := map[string]int{}
	for _, s := range c.states {
		for kind := range s.settled {
			counts[kind]++
		}
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(parts, ", ")
}
