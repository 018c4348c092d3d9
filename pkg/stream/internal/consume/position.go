package consume

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// Position is what a group committed for a partition.
type Position struct {
	// Topic is the full topic name.
	Topic     string
	Partition int32
	// Offset is -1 where nothing is committed.
	Offset int64
	// Metadata is the text that was committed with it.
	Metadata string
}

// Positions reads what a group, by its full id, committed for the partitions named in ask. Temporary errors are retried until ctx
// ends.
func (c *Consumer) Positions(ctx context.Context, id string, ask []Position) ([]Position, error) {
	if len(ask) == 0 {
		return nil, nil
	}
	topics := map[string][]int{}
	for _, p := range ask {
		topics[p.Topic] = append(topics[p.Topic], int(p.Partition))
	}
	var out []Position
	err := c.Retry(ctx, cluster.WaitKey{For: "offsets", Topic: id, Partition: -1}, func(ctx context.Context) error {
		found, err := c.positionsOnce(ctx, id, topics)
		if err != nil {
			return err
		}
		out = make([]Position, len(ask))
		for i, p := range ask {
			at, ok := found[partitionKey{p.Topic, p.Partition}]
			if !ok {
				return fmt.Errorf("answer does not name %s/%d", p.Topic, p.Partition)
			}
			out[i] = at
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read committed offsets: %w", err)
	}
	return out, nil
}

func (c *Consumer) positionsOnce(ctx context.Context, id string, topics map[string][]int) (map[partitionKey]Position, error) {
	ctx, cancel := context.WithTimeout(ctx, c.CallTimeout)
	defer cancel()
	res, err := c.Kafka.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: id, Topics: topics})
	if err != nil {
		return nil, err
	}
	if errors.Is(res.Error, kafka.GroupIdNotFound) { // some brokers answer so where nothing was ever committed
		return nonePositions(topics), nil
	}
	if res.Error != nil {
		return nil, res.Error
	}
	found := map[partitionKey]Position{}
	for topic, partitions := range res.Topics {
		for _, p := range partitions {
			if errors.Is(p.Error, kafka.GroupIdNotFound) {
				return nonePositions(topics), nil
			}
			if p.Error != nil {
				return nil, p.Error
			}
			found[partitionKey{topic, int32(p.Partition)}] = Position{topic, int32(p.Partition), max(p.CommittedOffset, -1), p.Metadata}
		}
	}
	return found, nil
}

func nonePositions(topics map[string][]int) map[partitionKey]Position {
	none := map[partitionKey]Position{}
	for topic, partitions := range topics {
		for _, p := range partitions {
			none[partitionKey{topic, int32(p)}] = Position{Topic: topic, Partition: int32(p), Offset: -1}
		}
	}
	return none
}

// SetPositions commits for a group that has no members, in one request: the broker stores all or none. Nothing keeps another process
// from doing the same; the metadata show who it was. Temporary errors are retried until ctx ends.
func (c *Consumer) SetPositions(ctx context.Context, id string, positions []Position) error {
	if len(positions) == 0 {
		return nil
	}
	topics := map[string][]kafka.OffsetCommit{}
	for _, p := range positions {
		topics[p.Topic] = append(topics[p.Topic], kafka.OffsetCommit{Partition: int(p.Partition), Offset: p.Offset, Metadata: p.Metadata})
	}
	err := c.Retry(ctx, cluster.WaitKey{For: "commit", Topic: id, Partition: -1}, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, c.CallTimeout)
		defer cancel()
		res, err := c.Kafka.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: id, GenerationID: -1, Topics: topics})
		if err != nil {
			return err
		}
		answered := 0
		for _, partitions := range res.Topics {
			for _, p := range partitions {
				if p.Error != nil {
					return p.Error
				}
				answered++
			}
		}
		if answered < len(positions) {
			return fmt.Errorf("answer names %d of %d partitions", answered, len(positions))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("commit offsets of %s: %w", id, err)
	}
	return nil
}

// Fetch reads outside any group, from one explicit offset, and waits at the log's end for records up to MaxWait. Temporary errors are
// retried until ctx ends.
func (c *Consumer) Fetch(ctx context.Context, topic string, partition int32, offset int64, o FetchOptions) (codec.Batch, error) {
	return c.fetch(ctx, topic, partition, offset, o.withDefaults(c.CallTimeout))
}
