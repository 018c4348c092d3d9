package event

import (
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

// Headers of a record on events.rejected, beside those it came with. Key and value are as received.
const (
	// HeaderRejectedID is the id of the rejection, the same however often it is published.
	HeaderRejectedID = "tollgate-rejected-id"
	// HeaderReason is a code in UPPER_SNAKE, HeaderDetail says in words what to do.
	HeaderReason = "tollgate-reason"
	HeaderDetail = "tollgate-detail"
	// Where the record stood.
	HeaderTopic     = "tollgate-topic"
	HeaderPartition = "tollgate-partition"
	HeaderOffset    = "tollgate-offset"
)

// Rejected is the record on the rejected topic for r, which was read from a log and can't be processed. id is that of
// the event, zero where it has none that can be read. The same record rejected twice yields the same bytes.
func Rejected(topic string, r stream.Record, id Identity, reason, detail string, at time.Time) stream.Record {
	partition, offset := strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10)
	out := stream.Record{Topic: topic, Partition: stream.AnyPartition, Key: r.Key, Value: r.Value, Time: at}
	out.Headers = make([]stream.Header, 0, len(r.Headers)+6)
	out.Headers = append(out.Headers, r.Headers...)
	out.Headers = append(out.Headers,
		stream.Header{Key: HeaderRejectedID, Value: []byte(Derive(id, "rejected", r.Topic, partition, offset).String())},
		stream.Header{Key: HeaderReason, Value: []byte(reason)},
		stream.Header{Key: HeaderDetail, Value: []byte(detail)},
		stream.Header{Key: HeaderTopic, Value: []byte(r.Topic)},
		stream.Header{Key: HeaderPartition, Value: []byte(partition)},
		stream.Header{Key: HeaderOffset, Value: []byte(offset)},
	)
	return out
}
