// Package foreign has outcomes for topics that are not ours.
package foreign

import (
	"context"
	"fmt"
	"slices"

	"github.com/tollgate/tollgate/pkg/stream"
)

// Outcome is one for a topic that is not ours, and may go away. It is outside of the law: after a crash there may be the record
// and what is published in its place.
type Outcome struct {
	Record stream.Record
	// Instead are the outcomes that are published in its place while the topic takes nothing. Their bytes follow from the
	// subject, the event and the configuration alone, as those of every outcome.
	Instead func() []stream.Record
}

// Publisher is where outcomes for topics go that are not ours.
type Publisher interface {
	// Publish returns once each is acknowledged, or its topic has taken nothing for long; then instead are the outcomes in
	// the place of those. An error is ours: the partition waits.
	Publish(ctx context.Context, outcomes []Outcome) (instead []stream.Record, err error)
}

// Publish publishes to topics that are not ours, and returns our own outcomes with those in the place of others. Without a
// publisher, in a replay or a test, all are our own.
func Publish(ctx context.Context, p Publisher, own []stream.Record, others []Outcome) ([]stream.Record, error) {
	if len(others) == 0 {
		return own, nil
	}
	var more []stream.Record
	if p == nil {
		for _, o := range others {
			more = append(more, o.Record)
		}
		return append(slices.Clip(own), more...), nil
	}
	more, err := p.Publish(ctx, others)
	if err != nil {
		return nil, fmt.Errorf("publish outcomes to topics of others: %w", err)
	}
	return append(slices.Clip(own), more...), nil
}
