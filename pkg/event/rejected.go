package event

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

// Headers of a record on events.rejected, beside those it came with. Key and value are as received.
const (
	// HeaderRejectedID is the id of the rejection, the same however often it is published.
	HeaderRejectedID = ownHeaders + "rejected-id"
	// HeaderReason is a code in UPPER_SNAKE, HeaderDetail a text for people.
	HeaderReason = ownHeaders + "reason"
	HeaderDetail = ownHeaders + "detail"
	// Where the record was read.
	HeaderTopic     = ownHeaders + "topic"
	HeaderPartition = ownHeaders + "partition"
	HeaderOffset    = ownHeaders + "offset"
	// HeaderLastOffset is of a whole batch that can't be read, beside the offset of its first record.
	HeaderLastOffset = ownHeaders + "last-offset"
	// Of a record that is more than the topic takes: the SHA-256 of its whole value in hexadecimal, and its length.
	HeaderSHA256 = ownHeaders + "value-sha256"
	HeaderSize   = ownHeaders + "value-size"

	// ownHeaders begin all of them.
	ownHeaders = "tollgate-"
)

// What the rejected topic takes of one record: its value, and beside it key and headers. Of a larger
// record it has the beginning, and the record is found by its offset while its log is kept.
const (
	RejectedMax     = 4 << 20
	RejectedMaxRest = 64 << 10
	RejectedKept    = 64 << 10
)

// Rejected is the record on the rejected topic for r, which was read from a log and can't be processed. id is that of
// the event, zero where it has none that can be read. The same record rejected twice yields the same bytes.
func Rejected(topic string, r stream.Record, id Identity, reason, detail string, at time.Time) stream.Record {
	if len(r.Value) > RejectedMax || rest(r) > RejectedMaxRest {
		return RejectedCut(topic, r, id, reason, detail, at)
	}
	return rejected(topic, r, id, reason, detail, at)
}

// RejectedCut is Rejected with as little of the record as is kept of one that is too large.
func RejectedCut(topic string, r stream.Record, id Identity, reason, detail string, at time.Time) stream.Record {
	sum := sha256.Sum256(r.Value)
	size := strconv.Itoa(len(r.Value))
	if rest(r) > RejectedMaxRest {
		r.Key, r.Headers = r.Key[:min(len(r.Key), RejectedMaxRest)], nil
	}
	r.Value = r.Value[:min(len(r.Value), RejectedKept)]
	out := rejected(topic, r, id, reason, detail, at)
	out.Headers = append(out.Headers,
		stream.Header{Key: HeaderSHA256, Value: []byte(hex.EncodeToString(sum[:]))},
		stream.Header{Key: HeaderSize, Value: []byte(size)},
	)
	return out
}

// RejectedBatch is the record on the rejected topic for a batch of records that can't be read. Its value is the
// beginning of the batch as it was compressed; the records are found by their offsets while their log is kept.
func RejectedBatch(topic string, d *stream.DamagedError, at time.Time) stream.Record {
	in := stream.Record{Topic: d.Topic, Partition: d.Partition, Offset: d.First, Value: d.Raw}
	out := RejectedCut(topic, in, Identity{}, d.Reason, d.Detail, at)
	out.Headers = append(out.Headers, stream.Header{Key: HeaderLastOffset,
		Value: []byte(strconv.FormatInt(d.Next-1, 10))})
	return out
}

// rest is what a record has beside its value.
func rest(r stream.Record) int {
	n := len(r.Key)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

func rejected(topic string, r stream.Record, id Identity, reason, detail string, at time.Time) stream.Record {
	partition, offset := strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10)
	out := stream.Record{Topic: topic, Partition: stream.AnyPartition, Key: r.Key, Value: r.Value, Time: at}
	out.Headers = make([]stream.Header, 0, len(r.Headers)+8)
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Key, ownHeaders) { // sent again after an earlier rejection
			out.Headers = append(out.Headers, h)
		}
	}
	rejection := Derive(id, "rejected", r.Topic, partition, offset)
	out.Headers = append(out.Headers,
		stream.Header{Key: HeaderRejectedID, Value: []byte(rejection.String())},
		stream.Header{Key: HeaderReason, Value: []byte(reason)},
		stream.Header{Key: HeaderDetail, Value: []byte(shortened(detail))},
		stream.Header{Key: HeaderTopic, Value: []byte(r.Topic)},
		stream.Header{Key: HeaderPartition, Value: []byte(partition)},
		stream.Header{Key: HeaderOffset, Value: []byte(offset)},
	)
	return out
}

// shortened bounds a text that lists every fault.
func shortened(s string) string {
	const limit = 8 << 10
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
