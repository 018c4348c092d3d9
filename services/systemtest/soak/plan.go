package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Plan puts deliveries on a channel's topic, as trigger does.
type Plan struct {
	// Next makes a delivery; Batch is how many a tick.
	Next  func() (*Planned, stream.Record, error)
	Batch int

	bed   *Bed
	check *Check
	rand  *rand.Rand
}

// NewPlan returns one whose choices follow from a seed.
func NewPlan(b *Bed, c *Check, seed uint64, batch int) *Plan {
	return &Plan{Batch: batch, bed: b, check: c, rand: rand.New(rand.NewPCG(seed, 6))}
}

// Rates: a batch every tick, and one in repeats is published twice, as a planner that was killed does.
const (
	tick    = 50 * time.Millisecond
	repeats = 40
)

// Run plans until stretch ends.
func (p *Plan) Run(ctx, stretch context.Context) error {
	producer := p.bed.Fleet.Client.NewProducer()
	defer producer.Close(context.WithoutCancel(ctx)) //nolint:errcheck // each batch was acknowledged
	var last []stream.Record
	for pause.For(stretch, tick) {
		var records []stream.Record
		var fresh []*Planned
		for range p.Batch {
			one, r, err := p.Next()
			if err != nil {
				return err
			}
			fresh, records = append(fresh, one), append(records, r)
		}
		p.check.Plan(fresh...) // before a receiver can have them
		if err := publish(ctx, producer, records); err != nil {
			return err
		}
		if last != nil && p.rand.IntN(repeats) == 0 {
			if err := publish(ctx, producer, last); err != nil {
				return err
			}
		}
		last = records
	}
	return nil
}

// publish waits until each is acknowledged. What was not is published again with what stands behind it, so that the order of
// an ordering key holds; what stood there already is a repeat.
func publish(ctx context.Context, producer *stream.Producer, records []stream.Record) error {
	for {
		calling, cancel := context.WithTimeout(ctx, 30*time.Second)
		_, err := producer.ProduceResults(calling, records...)
		cancel()
		if err == nil {
			return nil
		}
		if !pause.For(ctx, 200*time.Millisecond) {
			return fmt.Errorf("publish deliveries: %w", err)
		}
	}
}
