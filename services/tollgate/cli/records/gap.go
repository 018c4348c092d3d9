package records

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/audit"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// domainTopics is the log that each domain of state is folded from.
var domainTopics = map[string]string{
	"safeguard":          stream.EventsOrdered,
	"trigger-ordered":    stream.EventsOrdered,
	"trigger-safeguards": stream.Safeguards,
	"trigger-unordered":  stream.EventsUnordered,
}

// AcceptGap adds the control record by which an operator accepts a loss.
type AcceptGap struct {
	command.Kafka
	Domain    string `required:"" enum:"safeguard,trigger-ordered,trigger-safeguards,trigger-unordered" help:"Whose state: ${enum}."`
	Partition int32  `required:"" help:"Partition of the domain's topic."`
	From      int64  `required:"" help:"First offset that is lost."`
	To        int64  `required:"" help:"First offset after the loss."`
	Why       string `required:"" help:"Why it is accepted; kept in the log and in the audit topic."`
	Yes       bool   `help:"Do not ask."`
}

// Help is shown below the flags.
func (AcceptGap) Help() string {
	return `An owner that finds part of its log missing, and no snapshot above it, stops that partition and reports it: /readyz and
"tollgate check" name the domain, the partition and the range. What was counted in that range is lost. This command
writes the operator's acceptance into the log; the owner then goes on.

Example:

    tollgate state accept-gap --domain safeguard --partition 3 --from 1200 --to 88000 --why "retention was set to an hour, INC-4711"`
}

// AfterApply is called by kong once the flags are read.
func (c AcceptGap) AfterApply() error {
	switch {
	case c.Partition < 0:
		return command.UsageError(fmt.Sprintf("--partition must not be negative, is %d", c.Partition))
	case c.From < 0 || c.To <= c.From:
		return command.UsageError(fmt.Sprintf("--from and --to must be a range of offsets, not %d to %d", c.From, c.To))
	case strings.TrimSpace(c.Why) == "":
		return command.UsageError("--why must not be empty")
	}
	return nil
}

// Run appends.
func (c AcceptGap) Run(ctx context.Context, streams command.Streams) error {
	client, err := c.Open()
	if err != nil {
		return err
	}
	defer command.Close(client)
	topic := client.Topic(domainTopics[c.Domain])
	if !c.Yes {
		if err := c.confirm(streams, topic); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, command.KafkaTimeout)
	defer cancel()
	partitions, err := client.Partitions(ctx, topic)
	if err != nil {
		return command.Unreachable(err, "Kafka at "+fmt.Sprint(c.Brokers))
	}
	if int(c.Partition) >= partitions {
		return command.UsageError(fmt.Sprintf("--partition must be below %d, the partitions of %s", partitions, topic))
	}
	return c.append(ctx, streams, client, topic)
}

// append writes the audit record first: a gap without a record is worse than a record of one that was not made.
func (c AcceptGap) append(ctx context.Context, streams command.Streams, client *stream.Client, topic string) error {
	of := &controlv1.Gap{Domain: c.Domain, FromOffset: c.From, ToOffset: c.To, Who: command.Operator(), Why: c.Why}
	gap := fold.NewGap(of, time.Now())
	accepted, err := audit.Record(client.Topic(stream.Audit), "operator", gap.Time, &auditv1.AuditRecord{
		Id: fmt.Sprintf("gap/%s/%d", gap.ID, c.Partition), Time: timestamppb.New(gap.Time), Who: of.GetWho(), Why: c.Why, Method: "tollgate state accept-gap",
		What: &auditv1.AuditRecord_Gap{Gap: &auditv1.Gap{Gap: of, Topic: topic, Partition: c.Partition}},
	})
	if err != nil {
		return fmt.Errorf("write gap: %w", err)
	}
	record, err := gap.Record(topic)
	if err != nil {
		return fmt.Errorf("write gap: %w", err)
	}
	record.Partition = c.Partition
	producer := client.NewProducer()
	placed, err := producer.ProduceResults(ctx, accepted)
	if err == nil {
		placed, err = producer.ProduceResults(ctx, record)
	}
	if err = errors.Join(err, producer.Close(ctx)); err != nil {
		return fmt.Errorf("add gap to %s/%d: %w", topic, c.Partition, err)
	}
	_, err = fmt.Fprintf(streams.Out, "accepted: offsets %d to %d of %s/%d are lost for %s; recorded at offset %d\n",
		c.From, c.To-1, topic, c.Partition, c.Domain, placed[0].Offset)
	return err
}

func (c AcceptGap) confirm(streams command.Streams, topic string) error {
	if !command.IsTerminal(streams.In) || !command.IsTerminal(streams.Err) {
		return command.UsageError("--yes is required without a terminal to ask at")
	}
	fmt.Fprintf(streams.Err, "What %s counted from offsets %d to %d of %s/%d will be lost for good. Type the word accept to go on: ",
		c.Domain, c.From, c.To-1, topic, c.Partition)
	answer, err := bufio.NewReader(streams.In).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "accept" {
		return errors.New("not accepted, nothing was changed")
	}
	return nil
}
