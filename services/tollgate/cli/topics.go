package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Topics are the flags that set what the topics must be.
type Topics struct {
	command.Kafka
	Partitions int  `default:"24" help:"How many partitions each topic has, for life: four for each core that will ever own some."`
	SingleNode bool `help:"Do without replication: a single broker, where a lost disk is lost data."`
}

// AfterApply is called by kong once the flags are read.
func (t Topics) AfterApply() error {
	if t.Partitions < 1 || t.Partitions > 10_000 {
		return command.UsageError(fmt.Sprintf("--partitions must be from 1 to 10000, not %d", t.Partitions))
	}
	return nil
}

type topicRow struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Retention  string `json:"retention"`
}

func (t Topics) rows(client *stream.Client, specs []stream.TopicSpec) []topicRow {
	rows := make([]topicRow, len(specs))
	for i, s := range specs {
		retention, err := time.ParseDuration(s.Config["retention.ms"] + "ms")
		if err != nil {
			retention = 0
		}
		rows[i] = topicRow{client.Topic(s.Name), s.Partitions, fmt.Sprintf("%gd", retention.Hours()/24)}
	}
	return rows
}

func (t Topics) list(l command.Listing, streams command.Streams, client *stream.Client, specs []stream.TopicSpec) error {
	return command.Write(l, streams.Out, t.rows(client, specs), []string{"topic", "partitions", "retention"}, func(r topicRow) []string {
		return []string{r.Topic, fmt.Sprint(r.Partitions), r.Retention}
	})
}

// each lets do go over all topics, and lists them.
func (t Topics) each(ctx context.Context, l command.Listing, streams command.Streams, do func(*stream.Client, context.Context, []stream.TopicSpec, bool) error) error {
	client, err := t.Open()
	if err != nil {
		return err
	}
	defer command.Close(client)
	ctx, cancel := context.WithTimeout(ctx, command.KafkaTimeout)
	defer cancel()
	specs := table.Topics(t.Partitions)
	if err := do(client, ctx, specs, t.SingleNode); err != nil {
		return command.Unreachable(err, "Kafka at "+fmt.Sprint(t.Brokers))
	}
	return t.list(l, streams, client, specs)
}

type createTopics struct {
	Topics
	command.Listing
}

// Help is shown below the flags.
func (createTopics) Help() string {
	return `Existing topics are not changed; "tollgate topics verify" lists what is wrong with them.

Example:

    tollgate topics create --brokers kafka-1:9092,kafka-2:9092,kafka-3:9092 --partitions 24`
}

// Run creates.
func (c createTopics) Run(ctx context.Context, streams command.Streams) error {
	return c.each(ctx, c.Listing, streams, (*stream.Client).CreateTopics)
}

type verifyTopics struct {
	Topics
	command.Listing
}

// Help is shown below the flags.
func (verifyTopics) Help() string {
	return `Lists the topics where all are as required; otherwise lists every violation and exits 1.

Example:

    tollgate topics verify --brokers 127.0.0.1:9092 --partitions 8 --single-node`
}

// Run compares.
func (c verifyTopics) Run(ctx context.Context, streams command.Streams) error {
	return c.each(ctx, c.Listing, streams, (*stream.Client).VerifyTopics)
}
