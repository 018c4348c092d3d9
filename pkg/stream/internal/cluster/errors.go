package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/segmentio/kafka-go"
)

var (
	// ErrUnknownTopic means the topic or partition does not exist.
	ErrUnknownTopic = errors.New("topic or partition does not exist")
	// ErrNotAuthorized is the broker's refusal by access control of topics.
	ErrNotAuthorized error = kafka.TopicAuthorizationFailed
	// ErrTopicNotYet is a topic that does not exist and may be created this moment.
	ErrTopicNotYet = errors.New("topic not seen yet")
	// ErrClosed is a call of a client that was closed.
	ErrClosed = errors.New("client is closed")
)

// Temporary reports whether the same request may succeed later without a change
// by a person. What is not known to be permanent is temporary: waiting is
// visible, losing is not.
func Temporary(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
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

// Backoff grows from 20 ms to 1 s, with jitter so that partitions do not retry at the same moment.
func Backoff(attempt int) time.Duration {
	d := 20 * time.Millisecond << min(attempt, 6)
	d = min(d, time.Second)
	return d/2 + rand.N(d/2+1)
}
