package records

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Rejections are the flags that choose among the records of events.rejected.
type Rejections struct {
	command.Kafka
	Reason  []string      `help:"Only these reasons, such as TARGET_ACTIVE; divided by commas." placeholder:"REASON"`
	Since   time.Duration `help:"Only what was rejected so long ago or later, such as 2h." placeholder:"DURATION"`
	Tenant  string        `help:"Only this tenant." placeholder:"ID"`
	Subject string        `help:"Only this subject, such as an MSISDN."`
	Type    string        `help:"Only this type of event."`
	Output  string        `short:"o" enum:"text,json" default:"text" help:"How each is written: text or json, one a line."`
}

// AfterApply is called by kong once the flags are read.
func (c Rejections) AfterApply() error {
	if c.Since < 0 {
		return command.UsageError(fmt.Sprintf("--since must not be negative, is %s", c.Since))
	}
	return nil
}

func (c Rejections) wanted(j event.Rejection) bool {
	return (len(c.Reason) == 0 || slices.Contains(c.Reason, j.Reason)) && (c.Tenant == "" || c.Tenant == j.Tenant) &&
		// What was rejected may have the number as its producer spelt it.
		(c.Subject == "" || oneSpelling(c.Subject) == oneSpelling(j.Subject)) && (c.Type == "" || c.Type == j.Type)
}

// each hands on the rejections that are there now, partition by partition, in order.
func (c Rejections) each(ctx context.Context, client *stream.Client, streams command.Streams, handle func(stream.Record, event.Rejection) error) error {
	return scan(ctx, client, streams, c.Kafka, stream.EventsRejected, ago(c.Since), func(r stream.Record) error {
		j, err := event.ParseRejected(r)
		if err != nil {
			fmt.Fprintf(streams.Err, "tollgate: %s: %v\n", r.Topic, err)
			return nil
		}
		if !c.wanted(j) {
			return nil
		}
		return handle(r, j)
	})
}

// Rejected is a rejection as a line of JSON.
type Rejected struct {
	RejectedAt time.Time `json:"rejected_at"`
	Reason     string    `json:"reason"`
	Detail     string    `json:"detail,omitempty"`
	Topic      string    `json:"topic"`
	Partition  int32     `json:"partition"`
	Offset     int64     `json:"offset"`
	ID         string    `json:"id,omitempty"`
	Source     string    `json:"source,omitempty"`
	Type       string    `json:"type,omitempty"`
	Tenant     string    `json:"tenant,omitempty"`
	Subject    string    `json:"subject,omitempty"`
	// Resent is where it is now; Kept why it was not sent again.
	Resent string `json:"resent,omitempty"`
	Kept   string `json:"kept,omitempty"`
}

// Print writes a rejection; resent is where it stands now, kept why it was not sent again.
func (c Rejections) Print(streams command.Streams, r stream.Record, j event.Rejection, resent, kept string) error {
	if c.Output == "json" {
		out := json.NewEncoder(streams.Out)
		out.SetEscapeHTML(false)
		return out.Encode(Rejected{
			RejectedAt: r.Time.UTC(), Reason: j.Reason, Detail: j.Detail, Topic: j.Topic, Partition: j.Partition, Offset: j.Offset,
			ID: j.EventID, Source: j.Source, Type: j.Type, Tenant: j.Tenant, Subject: j.Subject, Resent: resent, Kept: kept,
		})
	}
	what := j.Detail
	switch {
	case kept != "":
		what = "not sent again: " + kept
	case resent != "":
		what = "sent again: " + resent
	}
	// A producer chose most of it: one rejection is one line, whatever it has.
	const maxCell = command.MaxCell / 2
	_, err := fmt.Fprintf(streams.Out, "%s %s/%d/%d %s %s %s/%s %s: %s\n", r.Time.UTC().Format(event.TimeLayout),
		display.Text(j.Topic, maxCell), j.Partition, j.Offset, display.Text(j.Reason, maxCell), display.Text(j.Type, maxCell),
		display.Text(j.Tenant, maxCell), display.Text(j.Subject, maxCell), display.Text(j.EventID, maxCell),
		display.Text(what, command.MaxLine))
	return err
}

type ListRejected struct {
	Rejections
}

// Help is shown below the flags.
func (ListRejected) Help() string {
	return `The records on events.rejected: where each came from, the reason, and the remedy. Events that ingest rejected over gRPC or
HTTP are not among them: their sender has the response.

Example:

    tollgate rejected list --since 24h

    tollgate rejected list --reason TARGET_ACTIVE --tenant acme -o json`
}

// Run lists.
func (c ListRejected) Run(ctx context.Context, streams command.Streams) error {
	client, err := c.Open()
	if err != nil {
		return err
	}
	defer command.Close(client)
	return c.each(ctx, client, streams, func(r stream.Record, j event.Rejection) error {
		return c.Print(streams, r, j, "", "")
	})
}

type ResendRejected struct {
	Rejections
	DryRun bool `help:"Send nothing, show what would be sent."`
}

// AfterApply is called by kong once the flags are read.
func (c ResendRejected) AfterApply() error {
	if len(c.Reason) == 0 || c.Since == 0 {
		return command.UsageError("--reason and --since are required: what is sent again should have been mended")
	}
	return nil
}

// Help is shown below the flags.
func (ResendRejected) Help() string {
	return `First remove the cause that the reason names: create the class of service, end the subscriber who has the number, set the tenant's
default. Then the events go to events.inbound again as they came, under their own ids: an event that was counted meanwhile
is recognised while its id is stored, and counts once. An event that is rejected again is on the topic again. Exits 1 where
some could not be sent.

Example:

    tollgate rejected resend --reason CLASS_OF_SERVICE_UNKNOWN --since 2h --dry-run

    tollgate rejected resend --reason TARGET_ACTIVE --since 24h --tenant acme --subject 34600100200`
}

// Run sends.
func (c ResendRejected) Run(ctx context.Context, streams command.Streams) error {
	client, err := c.Open()
	if err != nil {
		return err
	}
	defer command.Close(client)
	producer := client.NewProducer()
	sent, kept := map[[sha256.Size]byte]bool{}, 0
	err = c.each(ctx, client, streams, func(r stream.Record, j event.Rejection) error {
		again, err := c.resend(ctx, client, j)
		if err != nil {
			kept++
			return c.Print(streams, r, j, "", err.Error())
		}
		// Rejected twice, sent again once.
		sum := sha256.Sum256(slices.Concat(again.Key, []byte{0}, again.Value))
		if sent[sum] {
			return nil
		}
		sent[sum] = true
		if c.DryRun {
			return c.Print(streams, r, j, "not yet, by --dry-run", "")
		}
		// One after the other: they keep the order in which they were rejected.
		placed, err := producer.ProduceResults(ctx, again)
		if err != nil {
			return fmt.Errorf("send %s of %s again: %w", j.EventID, j.Source, err)
		}
		return c.Print(streams, r, j, fmt.Sprintf("%s/%d/%d", again.Topic, placed[0].Partition, placed[0].Offset), "")
	})
	if err = errors.Join(err, producer.Close(ctx)); err != nil {
		return err
	}
	if kept > 0 {
		return command.ErrReported
	}
	return nil
}

// resend is the record to send, read from where it was first where only its beginning was kept.
func (c ResendRejected) resend(ctx context.Context, client *stream.Client, j event.Rejection) (stream.Record, error) {
	inbound := client.Topic(stream.EventsInbound)
	if !j.Cut() || j.Final() != "" {
		return j.Resend(inbound, nil)
	}
	batch, err := client.FetchFrom(ctx, j.Topic, j.Partition, j.Offset, tailBytes)
	var gone *stream.OutOfRangeError
	if err != nil && !errors.As(err, &gone) {
		return stream.Record{}, err
	}
	if i := slices.IndexFunc(batch.Records, func(r stream.Record) bool { return r.Offset == j.Offset }); i >= 0 {
		return j.Resend(inbound, &batch.Records[i])
	}
	return j.Resend(inbound, nil)
}
