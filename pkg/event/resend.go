package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/pkg/stream"
)

// Rejection is a record of the rejected topic, for a person who corrects what was wrong.
type Rejection struct {
	ID, Reason, Detail string
	// Topic, Partition and Offset are those of the record that was rejected.
	Topic     string
	Partition int32
	Offset    int64
	// Source, Type, Tenant, Subject and EventID are the event's, as far as its headers or its bytes have them.
	Source, Type, Tenant, Subject, EventID string

	record stream.Record
	// sha256 is that of the whole value where the record holds its beginning only; batch is true where it holds one of
	// several records.
	sha256 string
	batch  bool
}

// ParseRejected reads a record of the rejected topic.
func ParseRejected(r stream.Record) (Rejection, error) {
	header := func(key string) string {
		value, _ := r.Header(key)
		return string(value)
	}
	j := Rejection{
		ID: header(HeaderRejectedID), Reason: header(HeaderReason), Detail: header(HeaderDetail),
		Topic:  header(HeaderTopic),
		Source: header(HeaderSource), Type: header(HeaderType), Tenant: header(HeaderTenant),
		Subject: header(HeaderSubject), EventID: header(HeaderID),
		sha256: header(HeaderSHA256), record: r,
	}
	_, j.batch = r.Header(HeaderLastOffset)
	partition, err := strconv.ParseInt(header(HeaderPartition), 10, 32)
	if err == nil {
		j.Offset, err = strconv.ParseInt(header(HeaderOffset), 10, 64)
	}
	if err != nil || j.Reason == "" || j.Topic == "" {
		return Rejection{}, fmt.Errorf("record %d of partition %d is no rejection: it lacks %s, %s, %s or %s",
			r.Offset, r.Partition, HeaderReason, HeaderTopic, HeaderPartition, HeaderOffset)
	}
	j.Partition = int32(partition)
	if e, err := Decode(r.Value); err == nil && e.ID != "" && !j.Cut() {
		j.Source, j.Type, j.Tenant, j.Subject, j.EventID = e.Source, e.Type, e.Tenant, e.Subject, e.ID
	}
	return j, nil
}

// Cut reports that the record holds the beginning only of what was rejected: the rest is in the topic it came from.
func (j Rejection) Cut() bool { return j.sha256 != "" }

// Final is why the rejection can never be sent again; it is empty where it can.
func (j Rejection) Final() string {
	switch {
	case j.batch:
		return "it is a batch of records that can't be read"
	case IsReserved(j.Type):
		return fmt.Sprintf("only Tollgate publishes %s", j.Type)
	}
	return ""
}

// Resend is the record as it came, for the inbound topic: same bytes, same key and headers. whole is the record at
// the rejection's topic, partition and offset, needed where Cut.
func (j Rejection) Resend(inbound string, whole *stream.Record) (stream.Record, error) {
	if reason := j.Final(); reason != "" {
		return stream.Record{}, fmt.Errorf("it cannot be sent again: %s", reason)
	}
	from := j.record
	if j.Cut() {
		if whole == nil {
			return stream.Record{}, fmt.Errorf("only its beginning is kept, and %s no longer has the rest",
				j.position())
		}
		if sum := sha256.Sum256(whole.Value); hex.EncodeToString(sum[:]) != j.sha256 {
			return stream.Record{}, fmt.Errorf("only its beginning is kept, and another record is at %s now",
				j.position())
		}
		from = *whole
	}
	out := stream.Record{Topic: inbound, Partition: stream.AnyPartition, Key: from.Key, Value: from.Value}
	for _, h := range from.Headers {
		if !strings.HasPrefix(h.Key, ownHeaders) {
			out.Headers = append(out.Headers, h)
		}
	}
	return out, nil
}

func (j Rejection) position() string { return fmt.Sprintf("%s/%d/%d", j.Topic, j.Partition, j.Offset) }
