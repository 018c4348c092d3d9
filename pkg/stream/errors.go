package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/segmentio/kafka-go"
)

var (
	// ErrUnknown marks a record whose fate is unknown: its context ended while it was waiting
	// or on its way, and it may still be appended. Produce it again under the same id.
	ErrUnknown = errors.New("outcome unknown, the record may still be appended")
	// ErrTimestampAhead is the broker's refusal of a record stamped ahead of its clock (error 32).
	// It is ours to fix: this machine's clock or the broker's is wrong.
	ErrTimestampAhead = errors.New("record stamped ahead of the broker's clock")
	// ErrTooLarge marks a record larger than the topic takes.
	ErrTooLarge = errors.New("record larger than the topic takes")
	// ErrUnknownTopic means the topic or partition does not exist.
	ErrUnknownTopic = errors.New("topic or partition does not exist")
	// ErrClosed means the producer was closed before the record was sent.
	ErrClosed = errors.New("producer is closed")
	// ErrNotMonotonic refuses a commit below what was committed before.
	ErrNotMonotonic = errors.New("commit would move the group back")
	// ErrRevoked means the claim no longer belongs to this member, or is about to go.
	ErrRevoked = errors.New("partition is revoked")
	// ErrRejoin, returned by a partition's work, makes the member drain and rejoin the group.
	ErrRejoin = errors.New("rejoin the group")
	// ErrStuck ends Consume: a partition's work made no progress within the watchdog's time.
	ErrStuck = errors.New("partition's work is stuck")
)

var errClientClosed = errors.New("client is closed")

// ProduceError is why one record of a Produce call was not acknowledged.
type ProduceError struct {
	// Index of the record in the call.
	Index int
	Err   error
}

func (e *ProduceError) Error() string { return fmt.Sprintf("record %d: %v", e.Index, e.Err) }
func (e *ProduceError) Unwrap() error { return e.Err }

// OutOfRangeError says that the log does not hold the offset asked for:
// retention has removed it, or the log ends below it. It is an incident; nothing
// moves on by itself.
type OutOfRangeError struct {
	Topic     string
	Partition int32
	From      int64
	// Start and End are what the log holds: its first offset, and the one after its last.
	Start, End int64
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("offset %d of %s/%d is out of range: the log holds %d to %d", e.From, e.Topic, e.Partition, e.Start, e.End)
}

// temporary reports whether the same request may succeed later without anybody
// changing it. What is not known to be permanent is temporary: waiting is
// visible, losing is not.
func temporary(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, errClientClosed) {
		return false
	}
	var k kafka.Error
	if !errors.As(err, &k) {
		// Connections lost, deadlines of single requests, no leader known, unreadable answers.
		return !errors.Is(err, ErrUnknownTopic)
	}
	switch k {
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidMessageSize,
		kafka.InvalidTimestamp, kafka.InvalidRecord, kafka.InvalidTopic,
		kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.UnsupportedVersion, kafka.UnsupportedForMessageFormat, kafka.UnsupportedCompressionType,
		kafka.InvalidRequest, kafka.InvalidRequiredAcks, kafka.PolicyViolation, kafka.InvalidGroupId,
		kafka.OffsetOutOfRange, kafka.OffsetMetadataTooLarge, kafka.InvalidCommitOffsetSize,
		kafka.IllegalGeneration, kafka.UnknownMemberId, kafka.FencedInstanceID,
		kafka.InvalidConfiguration, kafka.InvalidPartitionNumber, kafka.InvalidReplicationFactor,
		kafka.InvalidReplicaAssignment, kafka.TopicAlreadyExists:
		return false
	}
	return true
}

// backoff grows from 20 ms to 1 s, with jitter so that partitions do not knock together.
func backoff(attempt int) time.Duration {
	d := 20 * time.Millisecond << min(attempt, 6)
	d = min(d, time.Second)
	return d/2 + rand.N(d/2+1)
}

// pause waits for d; false when ctx or stop ended first.
func pause(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	case <-ctx.Done():
		return false
	}
}
