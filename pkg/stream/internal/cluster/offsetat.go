package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// OffsetAt asks for the first offset whose record is stamped at or after a
// time; the log's end where there is none. Temporary errors are retried until
// ctx ends.
func (c *Cluster) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error) {
	var offset int64
	err := c.Retry(ctx, WaitKey{For: "offsets", Topic: topic, Partition: partition}, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, c.CallTimeout)
		defer cancel()
		res, err := c.Kafka.ListOffsets(ctx, &kafka.ListOffsetsRequest{IsolationLevel: kafka.ReadCommitted,
			Topics: map[string][]kafka.OffsetRequest{
				topic: {kafka.TimeOffsetOf(int(partition), at), kafka.LastOffsetOf(int(partition))},
			}})
		if err != nil {
			return err
		}
		for _, p := range res.Topics[topic] {
			if p.Partition != int(partition) {
				continue
			}
			if p.Error != nil {
				return p.Error
			}
			offset = p.LastOffset
			for o := range p.Offsets {
				if o >= 0 {
					offset = min(offset, o)
				}
			}
			return nil
		}
		return kafka.UnknownTopicOrPartition
	})
	if err != nil {
		return 0, fmt.Errorf("ask offset of %s/%d at a time: %w", topic, partition, err)
	}
	return offset, nil
}
