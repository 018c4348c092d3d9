package main

import (
	"context"
	"fmt"

	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// grown measures the engine alone with more and more partitions, and with more and more subscribers.
func (s *bed) grown(ctx context.Context, o options) (figures []figure.Figure, err error) {
	i := 1000 // runs have folders by their number
	for _, row := range []struct{ partitions, subscribers int }{
		{1, 100_000}, {2, 100_000}, {4, 100_000}, {8, 100_000}, {8, 10_000}, {8, 1_000_000},
	} {
		one := o
		one.partitions, one.subscribers, one.engineOnly = row.partitions, row.subscribers, true
		r, err := s.run(ctx, i, one)
		if err != nil {
			return nil, fmt.Errorf("%d partitions, %d subscribers: %w", row.partitions, row.subscribers, err)
		}
		i++
		fleet.Report("%d partitions, %d subscribers: %.0f/s", row.partitions, row.subscribers, r.engine)
		figures = append(figures, figure.Figure{
			Name: "safeguard.growth_events_per_second", Value: figure.Round(r.engine), Unit: "events/s", Better: "higher", On: s.on,
			Note:   fmt.Sprintf("%d partitions, %d subscribers, one replica; once, and without a bare loop beside it", row.partitions, row.subscribers),
			Events: r.counted, Seconds: figure.Round(r.seconds),
		})
	}
	return figures, nil
}
