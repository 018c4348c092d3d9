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

// judge compares what was planned with the receipts and the attempts. It knows nothing of pkg/delivery.
type judge struct {
	plan *plan
	// receipts returns those from the nth on.
	receipts func(n int) []receipt
	attempts []*fleet.Tail
	dead     []*fleet.Tail

	seen   int // receipts taken over
	states map[string]*state
	lanes  map[string]int64 // highest sequence received first, by lane

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

func newJudge(b *bed, p *plan) *judge {
	j := &judge{plan: p, receipts: b.receiver.since, states: map[string]*state{}, lanes: map[string]int64{}}
	for i := range partitions {
		j.attempts = append(j.attempts, b.fleet.Follow("deliveries.attempts", int32(i)))
		j.dead = append(j.dead, b.fleet.Follow("deliveries.dead", int32(i)))
	}
	return j
}

func (j *judge) wrong() bool { return j.lost+j.doubled+j.outOfOrder > 0 }

// add counts a fault and keeps the first ones in words.
func (j *judge) add(count *int, format string, args ...any) {
	if *count++; len(j.examples) < 40 {
		j.examples = append(j.examples, fmt.Sprintf(format, args...))
	}
}

func (j *judge) of(id string) *state {
	s := j.states[id]
	if s == nil {
		s = &state{settled: map[string]int{}}
		j.states[id] = s
	}
	return s
}

// rests waits until every delivery is settled, mending again where that takes long, and compares.
func (j *judge) rests(ctx context.Context, mend func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if err := mend(ctx); err != nil {
			return err
		}
		again := time.Now().Add(20 * time.Second)
		for time.Now().Before(again) {
			if err := j.read(ctx); err != nil {
				return err
			}
			if len(j.waiting()) == 0 {
				j.compare()
				kills.Report("all settled and compared: %s; %d receipts without an attempt", j.settlements(), j.repeats)
				return nil
			}
			if !kills.Pause(ctx, 200*time.Millisecond) {
				return j.stuck()
			}
		}
	}
}

// stuck is what is lost where deliveries are not settled in time.
func (j *judge) stuck() error {
	for _, one := range j.waiting() {
		j.add(&j.lost, "%s to %s is not settled after %s: %d receipts, %d attempts", one.id, one.endpoint, patience, j.of(one.id).receipts, j.of(one.id).attempts)
	}
	j.compare()
	return nil
}

// waiting are the deliveries without a settlement.
func (j *judge) waiting() []*planned {
	j.plan.mu.Lock()
	defer j.plan.mu.Unlock()
	var left []*planned
	for id, one := range j.plan.all {
		if len(j.of(id).settled) == 0 {
			left = append(left, one)
		}
	}
	return left
}

// read takes over new attempts, dead letters and receipts. Receipts come last: that of an attempt is older than its record.
func (j *judge) read(ctx context.Context) error {
	for _, t := range j.dead {
		err := each(ctx, t, func(value []byte) error {
			var m deliveryv1.DeadLetter
			if err := proto.Unmarshal(value, &m); err != nil {
				return err
			}
			j.of(m.GetDelivery().GetId()).dead = true
			return nil
		})
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
	}
	for _, t := range j.attempts {
		err := each(ctx, t, func(value []byte) error {
			var m deliveryv1.Attempt
			if err := proto.Unmarshal(value, &m); err != nil {
				return err
			}
			j.attempt(&m)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read attempts: %w", err)
		}
	}
	for _, r := range j.receipts(j.seen) {
		j.seen++
		j.receive(r)
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

func (j *judge) attempt(m *deliveryv1.Attempt) {
	s := j.of(m.GetDelivery())
	if m.GetNumber() > 0 {
		s.attempts++
		if m.GetRepeatedRequest() {
			s.attempts++
			j.repeatedRequests++
		}
	}
	if m.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_UNSPECIFIED {
		s.settled[strings.ToLower(strings.TrimPrefix(m.GetSettlement().String(), "SETTLEMENT_"))]++
	}
}

// receive takes a receipt over, in the order of receipt.
func (j *judge) receive(r receipt) {
	s := j.of(r.id)
	s.receipts++
	if r.accepted {
		s.accepted++
	}
	j.plan.mu.Lock()
	one := j.plan.all[r.id]
	j.plan.mu.Unlock()
	switch {
	case one == nil:
		return // compare counts it
	case !r.signed:
		j.add(&j.lost, "%s to %s bears no signature of a secret that its endpoint ever had", r.id, r.endpoint)
	case r.endpoint != one.endpoint || r.body != one.body || r.sequence != one.sequence || r.previous != one.previous:
		j.add(&j.doubled, "%s came as something else than was planned: to %s, sequence %d", r.id, r.endpoint, r.sequence)
	}
	if s.receipts > 1 || one.lane == "" {
		return
	}
	if r.sequence <= j.lanes[one.lane] {
		j.add(&j.outOfOrder, "%s, number %d of %s, came first after number %d", r.id, r.sequence, one.lane, j.lanes[one.lane])
	}
	j.lanes[one.lane] = max(j.lanes[one.lane], r.sequence)
}

// compare looks at everything while nothing happens.
func (j *judge) compare() {
	j.plan.mu.Lock()
	defer j.plan.mu.Unlock()
	j.repeats = 0
	for id, s := range j.states {
		one := j.plan.all[id]
		if one == nil {
			j.add(&j.doubled, "%s was never planned", id)
			continue
		}
		j.repeats += max(0, s.receipts-s.attempts)
		switch delivered, kinds := s.settled["delivered"] > 0, slices.Sorted(maps.Keys(s.settled)); {
		case delivered && s.accepted == 0:
			j.add(&j.lost, "%s to %s is recorded as delivered and was never accepted", id, one.endpoint)
		case delivered:
		case s.settled["dead"]+s.settled["cancelled"] > 0 && !s.dead:
			j.add(&j.lost, "%s to %s is %v and has no dead letter", id, one.endpoint, kinds)
		case s.settled["expired"] > 0 && !one.expires:
			j.add(&j.lost, "%s to %s is expired and has no end", id, one.endpoint)
		case s.settled["cancelled"] > 0 && !one.victim:
			j.add(&j.lost, "%s to %s is cancelled, and its endpoint was never disabled", id, one.endpoint)
		case s.settled["dead"]+s.settled["superseded"] > 0:
			j.add(&j.lost, "%s to %s is %v: nothing waits that long here, and nothing collapses", id, one.endpoint, kinds)
		}
	}
}

// settlements counts deliveries by how they ended.
func (j *judge) settlements() string {
	counts := map[string]int{}
	for _, s := range j.states {
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
