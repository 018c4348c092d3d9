package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/ingest/queue/window"
)

// partition is one of those that a stream reads.
type partition struct {
	place // offset 0
	topic string
	// start and end of the log when the stream began.
	start, end int64
}

// partitionsOf asks which partitions the topics of a subscription have, and what they hold.
func (q *Queue) partitionsOf(ctx context.Context, topics []uint8) ([]partition, error) {
	var all []partition
	for _, number := range topics {
		topic := q.client.Topic(topicNames[number])
		n, err := q.client.Partitions(ctx, topic)
		if err != nil {
			return nil, err
		}
		for p := range n {
			all = append(all, partition{place: place{topic: number, partition: int32(p)}, topic: topic})
		}
	}
	errs := make(chan error, len(all))
	for i := range all {
		go func() {
			var err error
			all[i].start, all[i].end, err = q.client.Offsets(ctx, all[i].topic, all[i].partition)
			errs <- err
		}()
	}
	var failed []error
	for range all {
		failed = append(failed, <-errs)
	}
	return all, errors.Join(failed...)
}

// starts is where a stream begins in each partition. stored are the positions of the subscription, nil where it has no
// name; they are of the same partitions.
func (q *Queue) starts(ctx context.Context, of subscriptionID, parts []partition, stored []stream.Position, start *ingestv1.Start) ([]window.Start, error) {
	out := make([]window.Start, len(parts))
	known := map[uint8]bool{} // topics with a position
	for _, p := range stored {
		if i := slices.IndexFunc(parts, func(o partition) bool { return o.topic == p.Topic }); i >= 0 && p.Offset >= 0 && !start.GetResetPosition() {
			known[parts[i].place.topic] = true
		}
	}
	var lost error
	for i, p := range parts {
		if !known[p.place.topic] {
			continue
		}
		at := stored[i]
		if err := formatFault(at.Metadata); err != nil {
			return nil, err
		}
		switch {
		case at.Offset < 0: // the topic has got more partitions since
			out[i] = window.Start{Next: p.start, SeenBelow: p.start}
		case at.Offset < p.start || at.Offset > p.end:
			lost = expired(p, at.Offset)
		default:
			m := parseMetadata(at.Metadata)
			if m.reach < 0 { // it was killed: everything there was may have been sent
				m.reach = p.end
			}
			out[i] = window.Start{Next: at.Offset, SeenBelow: m.reach}
		}
	}
	if lost != nil {
		return nil, lost
	}
	for i, p := range parts {
		if known[p.place.topic] {
			continue
		}
		next, err := q.startOf(ctx, of, p, start)
		if err != nil {
			return nil, err
		}
		out[i] = window.Start{Next: next, SeenBelow: next}
	}
	return out, nil
}

func expired(p partition, offset int64) error {
	return fault.New(fault.Precondition, reasonPositionUnknown,
		"the position of this subscription in %s/%d is %d, and the log holds %d to %d: events that were not sent are kept no longer. To go on without them, give a start with reset_position",
		p.topic, p.partition, offset, p.start, p.end)
}

// startOf is where a subscription without a position begins in a partition.
func (q *Queue) startOf(ctx context.Context, of subscriptionID, p partition, start *ingestv1.Start) (int64, error) {
	switch at := start.GetAt().(type) {
	case *ingestv1.Start_Earliest:
		return p.start, nil
	case *ingestv1.Start_Latest:
		return p.end, nil
	case *ingestv1.Start_Time:
		return q.client.OffsetAt(ctx, p.topic, p.partition, at.Time.AsTime())
	case *ingestv1.Start_Cursor:
		c, err := parsePositions(at.Cursor)
		if err != nil || c.subscription != of {
			return 0, cursorFault("subscription.start.cursor", err)
		}
		positions := c.positions[p.place.topic]
		if int(p.partition) >= len(positions) {
			return 0, fault.New(fault.Precondition, reasonPositionUnknown, "the cursor has no position in %s/%d: give a time", p.topic, p.partition)
		}
		if next := positions[p.partition]; next >= p.start && next <= p.end {
			return next, nil
		}
		return 0, expired(p, positions[p.partition])
	}
	return 0, fault.New(fault.Precondition, reasonPositionUnknown, "this subscription has no position in %s: give a start", p.topic)
}

func cursorFault(field string, err error) error {
	if err == nil {
		err = errors.New("is of another subscription")
	}
	return fault.NewInvalid(reasonCursorInvalid, fault.Violation{Field: field, Description: err.Error()})
}

// validateStart adds what is wrong with a start, whether it is needed or not.
func validateStart(start *ingestv1.Start, of subscriptionID, now time.Time, f *fault.Violations) {
	switch at := start.GetAt().(type) {
	case nil:
		if start != nil {
			f.Add("start", "must have earliest, latest, time or cursor")
		}
	case *ingestv1.Start_Time:
		if err := at.Time.CheckValid(); err != nil {
			f.Add("start.time", "must be a time between the years 1 and 9999")
		} else if t := at.Time.AsTime(); t.After(now.Add(time.Minute)) || t.Before(time.Unix(0, 0)) {
			f.Add("start.time", "must be between 1970 and now, not %s", t.Format(time.RFC3339))
		}
	case *ingestv1.Start_Cursor:
		c, err := parsePositions(at.Cursor)
		if err == nil && c.subscription != of {
			err = errors.New("is of another subscription")
		}
		if err == nil {
			err = existing(c)
		}
		if err != nil {
			f.AddAs(reasonCursorInvalid, "start.cursor", "%s", err)
		}
	}
}

// existing checks that what a cursor names can be.
func existing(c cursor) error {
	positions, ok := c.positions[c.event.topic]
	if !ok || int(c.event.topic) >= len(topicNames) || int(c.event.partition) >= len(positions) {
		return fmt.Errorf("names partition %d, which does not exist", c.event.partition)
	}
	return nil
}

// Reasons of this service.
const (
	reasonTypeDenied      = "EVENT_TYPE_NOT_GRANTED"
	reasonTakenOver       = "SUBSCRIPTION_TAKEN_OVER"
	reasonPositionUnknown = "POSITION_UNKNOWN"
	reasonCursorInvalid   = "CURSOR_INVALID"
	reasonGivenUp         = "GIVEN_UP"
	reasonFormat          = "POSITION_UNREADABLE"
	reasonStreams         = "TOO_MANY_STREAMS"
	reasonKafka           = "KAFKA_UNAVAILABLE"
	reasonLog             = "LOG_UNREADABLE"
	reasonTenantDenied    = reason.TenantDenied
	reasonInvalid         = reason.RequestInvalid
)
