package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/receipts"
)

// Attempts are the flags that choose among the records of deliveries.attempts.
type Attempts struct {
	command.Kafka
	From string `help:"Only attempts from then on: RFC 3339, or so long ago, such as 24h. All that are kept by default." placeholder:"TIME"`
	To   string `help:"Only attempts before then: RFC 3339, or so long ago. All until now by default." placeholder:"TIME"`
}

// times are From and To; zero where they are not given.
func (c Attempts) times(now time.Time) (from, to time.Time, err error) {
	from, fromErr := moment("--from", c.From, now)
	to, toErr := moment("--to", c.To, now)
	err = errors.Join(fromErr, toErr)
	if err == nil && !to.IsZero() && !from.Before(to) {
		err = errors.New("--from must be before --to")
	}
	if err != nil {
		return from, to, command.UsageError(err.Error())
	}
	return from, to, nil
}

func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%s %q is neither a time of RFC 3339, such as 2026-11-01T00:00:00Z, nor a duration, such as 24h", flag, text)
	}
	return t, nil
}

// each hands on the attempts, partition by partition, in the order of their records. endpoint is the only one wanted;
// empty: all.
func (c Attempts) each(ctx context.Context, endpoint string, streams command.Streams, handle func(receipts.Attempt) error) error {
	from, to, err := c.times(time.Now())
	if err != nil {
		return err
	}
	client, err := c.Open()
	if err != nil {
		return err
	}
	defer command.Close(client)
	return scan(ctx, client, streams, c.Kafka, stream.DeliveriesAttempts, from, func(r stream.Record) error {
		if endpoint != "" && string(r.Key) != endpoint || r.Time.Before(from) || !to.IsZero() && !r.Time.Before(to) {
			return nil
		}
		var m deliveryv1.Attempt
		if err := proto.Unmarshal(r.Value, &m); err != nil {
			return fmt.Errorf("%s/%d/%d is not an attempt: %w", r.Topic, r.Partition, r.Offset, err)
		}
		return handle(receipts.Line(&m, r.Time))
	})
}

// ExportDeliveries writes attempts as lines of JSON.
type ExportDeliveries struct {
	Attempts
	Endpoint string `help:"Only this endpoint, by its full name; all by default." placeholder:"NAME"`
}

// Help is shown below the flags.
func (ExportDeliveries) Help() string {
	return `Reads deliveries.attempts without a consumer group. A line is an attempt, or a settlement without one (number 0): when the
delivery was planned, when it was tried and answered, with which status or error, when it is tried next, how it was settled.
Requests, responses and their bodies are left out. The lines of a delivery are in order.

Example:

    tollgate deliveries export --endpoint tenants/acme/endpoints/crm --from 24h > attempts.jsonl

    tollgate deliveries export --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z`
}

// Run exports.
func (c ExportDeliveries) Run(ctx context.Context, streams command.Streams) error {
	out := json.NewEncoder(streams.Out)
	out.SetEscapeHTML(false)
	return c.each(ctx, c.Endpoint, streams, func(a receipts.Attempt) error { return out.Encode(a) })
}
