package loop

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/state"
)

// checkLogs verifies that the topics are those of the watermark. A topic that was created again is an incident: its
// offsets name other deliveries. Where the operator accepted the loss, the deliveries of the old topic are dropped and
// the new one is read from its beginning.
func (o *owner) checkLogs(ctx context.Context, e pages.Extra, start, end int64) (pages.Extra, error) {
	oldest, newest, err := o.kafka.Offsets(ctx, o.Attempts, o.part.Number)
	if err != nil {
		return e, fmt.Errorf("find the attempts' ends: %w", err)
	}
	same, err := o.sameLog(ctx, o.Topic, o.mark.Offset, o.mark.LastHash, start, end)
	if err != nil {
		return e, err
	}
	sameAttempts, err := o.sameLog(ctx, o.Attempts, e.Attempts, e.AttemptsHash, oldest, newest)
	if err != nil || same && sameAttempts {
		return e, err
	}
	topic, at := o.Topic, o.mark.Offset
	if same {
		topic, at = o.Attempts, e.Attempts
	}
	if !o.AcceptLostDeliveries {
		return e, o.raiseRecreated(topic, at, fmt.Errorf("the record before the stored position is another one"))
	}
	to := o.mark
	if !same {
		// The attempts belong to offsets of the old log.
		if err := o.clearPages(ctx, e.Pages); err != nil {
			return e, err
		}
		if err := o.clearBehind(ctx, e.Records); err != nil {
			return e, err
		}
		to = o.mark
		to.Offset, to.LastHash, to.PublishedOffset, to.Status = start, 0, start, state.Ready
		e = pages.Extra{Attempts: newest}
	} else {
		e.Attempts, e.AttemptsHash = oldest, 0
	}
	to.Extra = e.Encode()
	return e, o.writeWatermark(ctx, to, state.Commit{})
}

// sameLog compares the hash of the record before an offset with the stored one.
func (o *owner) sameLog(ctx context.Context, topic string, offset int64, hash uint64, start, end int64) (bool, error) {
	if offset > end {
		return false, nil
	}
	if hash == 0 || offset <= start {
		return true, nil
	}
	b, err := o.kafka.FetchFrom(ctx, topic, o.part.Number, offset-1, 1)
	if err != nil {
		return false, fmt.Errorf("compare the log with the stored position: %w", err)
	}
	if len(b.Records) == 0 || b.Records[0].Offset != offset-1 {
		return true, nil
	}
	return b.Records[0].Hash() == hash, nil
}

// raiseRecreated raises the incident and returns the error that ends the work on the partition.
func (o *owner) raiseRecreated(topic string, offset int64, why error) error {
	err := fmt.Errorf("%s/%d is not the log that was processed before (%w): restore that log, or accept the loss of its waiting deliveries by one start with deliveries.accept_lost_deliveries",
		topic, o.part.Number, why)
	o.kafka.Incident(IncidentRecreated, offset, err)
	return err
}

// clearPages drops all references.
func (o *owner) clearPages(ctx context.Context, n int) error {
	stored, err := o.loadPages(ctx, n)
	if err != nil {
		return fmt.Errorf("load references: %w", err)
	}
	o.log.Warn("deliveries of another log are dropped", zap.Int("waiting", len(stored)), zap.Int64("offset", o.mark.Offset))
	o.Metrics.Gone.Add(float64(len(stored)))
	o.beginQueue()
	for from := 0; from < n; from += maxPages {
		if err := o.writeWatermark(ctx, o.mark, state.Commit{Deletes: pages.Keys(from, min(maxPages, n-from))}); err != nil {
			return err
		}
	}
	return nil
}

// clearBehind drops what was passed over.
func (o *owner) clearBehind(ctx context.Context, n int32) error {
	if err := o.loadRecords(ctx, n); err != nil {
		return fmt.Errorf("load records of endpoints: %w", err)
	}
	var puts []state.Entry
	for _, e := range o.queue.Endpoints {
		if b := e.Health.Behind; b.Is {
			o.log.Warn("deliveries of another log that were passed over are dropped", zap.String("endpoint", e.Health.Name), zap.Int64("passed_over", b.Count))
			o.Metrics.Gone.Add(float64(b.Count))
			e.Health.Behind = health.Behind{}
			puts = append(puts, state.Entry{Key: recordKey(e.Record), Value: e.Health.Encode(o.wall() - o.now())})
		}
	}
	for chunk := range slices.Chunk(puts, maxRecords) {
		if err := o.writeWatermark(ctx, o.mark, state.Commit{Puts: chunk}); err != nil {
			return err
		}
	}
	o.places = pages.Places{}
	o.beginQueue()
	return nil
}
