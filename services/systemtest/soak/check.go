package soak

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/pause"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// Content is a hash over all that must arrive as it was planned.
type Content [sha256.Size]byte

// Planned is a delivery that stands on the topic.
type Planned struct {
	ID string
	// To is who gets it.
	To      string
	Content Content
	// Key is its ordering key; empty where it has none.
	Key      string
	Sequence int64
	// Ends are the settlements beside delivered that it may come to: expired, cancelled, dead.
	Ends []string
	// Unwanted: where it is cancelled it leaves no dead letter.
	Unwanted bool
	At       time.Time
}

// Receipt is one message that arrived whole.
type Receipt struct {
	ID, To  string
	Content Content
	// Accepted: the answer was to be success. Refused: it was to be a failure for good.
	Accepted, Refused bool
	// Wrong is what its receiver found wrong with it.
	Wrong string
	At    time.Time
}

// Check compares what was planned with the receipts and the attempts. It knows nothing of pkg/delivery.
type Check struct {
	Lost, Doubled, OutOfOrder int
	// Repeats are receipts beyond the recorded attempts.
	Repeats int
	// Resent are requests that were sent again in their attempt. Where Resends, a receiver may have both.
	Resent  int
	Resends bool
	// Examples are the first faults in words.
	Examples []string

	// receipts returns those from the nth on, in their order.
	receipts       func(n int) ([]Receipt, error)
	attempts, dead []*fleet.Tail
	seen           int // receipts taken over
	states         map[string]*state
	keys           map[string]int64 // highest sequence received first, by ordering key

	mu      sync.Mutex
	planned map[string]*Planned
}

// state is what is known of one delivery.
type state struct {
	receipts, accepted int
	attempts           int // requests that are recorded
	settled            map[string]int
	refused, dead      bool
	last               *deliveryv1.Attempt
}

// NewCheck reads the attempts and dead letters of an installation.
func NewCheck(f *fleet.Fleet, receipts func(n int) ([]Receipt, error)) *Check {
	c := newCheck()
	c.receipts = receipts
	for i := range f.Partitions() {
		c.attempts = append(c.attempts, f.Follow("deliveries.attempts", int32(i)))
		c.dead = append(c.dead, f.Follow("deliveries.dead", int32(i)))
	}
	return c
}

func newCheck() *Check {
	return &Check{states: map[string]*state{}, keys: map[string]int64{}, planned: map[string]*Planned{}}
}

// Plan adds deliveries.
func (c *Check) Plan(all ...*Planned) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range all {
		c.planned[one.ID] = one
	}
}

// Number is how many deliveries were planned.
func (c *Check) Number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.planned)
}

// Planned is the delivery of an id; nil where none was planned.
func (c *Check) Planned(id string) *Planned {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.planned[id]
}

func (c *Check) wrong() bool { return c.Lost+c.Doubled+c.OutOfOrder > 0 }

// add counts a fault and keeps the first ones in words.
func (c *Check) add(count *int, format string, args ...any) {
	if *count++; len(c.Examples) < 40 {
		c.Examples = append(c.Examples, fmt.Sprintf(format, args...))
	}
}

func (c *Check) of(id string) *state {
	s := c.states[id]
	if s == nil {
		s = &state{settled: map[string]int{}}
		c.states[id] = s
	}
	return s
}

// Rests waits until every delivery is settled, mending again where that takes long, and compares.
func (c *Check) Rests(ctx context.Context, mend func(context.Context) error) error {
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
				fleet.Report("all settled and compared: %s; %d receipts without an attempt", c.Settlements(), c.Repeats)
				return nil
			}
			if !pause.For(ctx, 200*time.Millisecond) {
				c.stuck()
				return nil
			}
		}
		left := c.waiting()
		// Of an ordering key the first shows more than those behind it.
		slices.SortFunc(left, func(a, b *Planned) int { return c.of(b.ID).attempts - c.of(a.ID).attempts })
		fleet.Report("%d are not settled yet, such as %s", len(left), c.described(left[0]))
	}
}

// stuck is what is lost where deliveries are not settled in time.
func (c *Check) stuck() {
	for _, one := range c.waiting() {
		c.add(&c.Lost, "%s, which is not settled after %s", c.described(one), patience)
	}
	c.compare()
}

// described is what is known of a delivery that waits.
func (c *Check) described(one *Planned) string {
	s := c.of(one.ID)
	return fmt.Sprintf("%s to %s (number %d of its key): %d receipts, %d attempts, the last %s ago by number %d, %q, next %s", one.ID, one.To, one.Sequence,
		s.receipts, s.attempts, time.Since(s.last.GetStarted().AsTime()).Round(time.Millisecond), s.last.GetNumber(), s.last.GetError(),
		time.Until(s.last.GetNextAttempt().AsTime()).Round(time.Millisecond))
}

// waiting are the deliveries without a settlement.
func (c *Check) waiting() []*Planned {
	c.mu.Lock()
	defer c.mu.Unlock()
	var left []*Planned
	for id, one := range c.planned {
		if len(c.of(id).settled) == 0 {
			left = append(left, one)
		}
	}
	return left
}

// read takes over new attempts, then dead letters and receipts: those of an attempt are older than its record.
func (c *Check) read(ctx context.Context) error {
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
	receipts, err := c.receipts(c.seen)
	if err != nil {
		return fmt.Errorf("read receipts: %w", err)
	}
	for _, r := range receipts {
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

func (c *Check) attempt(m *deliveryv1.Attempt) {
	s := c.of(m.GetDelivery())
	s.last = m
	if m.GetNumber() > 0 {
		s.attempts++
		if m.GetRepeatedRequest() {
			c.Resent++
			if c.Resends {
				s.attempts++
			}
		}
	}
	if m.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_UNSPECIFIED {
		s.settled[strings.ToLower(strings.TrimPrefix(m.GetSettlement().String(), "SETTLEMENT_"))]++
	}
}

// receive takes a receipt over, in the order of receipt.
func (c *Check) receive(r Receipt) {
	s := c.of(r.ID)
	s.receipts++
	if r.Accepted {
		s.accepted++
	}
	s.refused = s.refused || r.Refused
	one := c.Planned(r.ID)
	switch {
	case one == nil:
		return // compare counts it
	case r.Wrong != "":
		c.add(&c.Lost, "%s to %s %s", r.ID, r.To, r.Wrong)
	case r.To != one.To || r.Content != one.Content:
		c.add(&c.Doubled, "%s came as something else than was planned: to %s instead of %s", r.ID, r.To, one.To)
	}
	if s.receipts > 1 || one.Key == "" {
		return
	}
	if one.Sequence <= c.keys[one.Key] {
		c.add(&c.OutOfOrder, "%s, number %d of %s, came first after number %d", r.ID, one.Sequence, one.Key, c.keys[one.Key])
	}
	c.keys[one.Key] = max(c.keys[one.Key], one.Sequence)
}

// compare looks at everything while nothing happens.
func (c *Check) compare() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Repeats = 0
	for id, s := range c.states {
		one := c.planned[id]
		if one == nil {
			c.add(&c.Doubled, "%s was never planned", id)
			continue
		}
		c.Repeats += max(0, s.receipts-s.attempts)
		c.ended(one, s)
	}
}

// ended compares how a delivery ended with what it may come to.
func (c *Check) ended(one *Planned, s *state) {
	if s.settled["delivered"] > 0 {
		if s.accepted == 0 {
			c.add(&c.Lost, "%s to %s is recorded as delivered and was never accepted", one.ID, one.To)
		}
		return
	}
	for _, kind := range slices.Sorted(maps.Keys(s.settled)) {
		switch {
		case !slices.Contains(one.Ends, kind) && (kind != "dead" || !s.refused):
			c.add(&c.Lost, "%s to %s is %s, which nothing explains", one.ID, one.To, kind)
		case (kind == "dead" || kind == "cancelled" && !one.Unwanted) && !s.dead:
			c.add(&c.Lost, "%s to %s is %s and has no dead letter", one.ID, one.To, kind)
		default:
			continue
		}
		return
	}
}

// Settlements counts deliveries by how they ended.
func (c *Check) Settlements() string {
	counts := map[string]int{}
	for _, s := range c.states {
		for kind := range s.settled {
			counts[kind]++
		}
	}
	return Counted(counts)
}

// Counted lists counts by their names.
func Counted(counts map[string]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(parts, ", ")
}
