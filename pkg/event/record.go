package event

import (
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Headers of every record we write: the CloudEvents attributes of its event, so that plain consumers may filter without
// decoding.
const (
	HeaderSpecVersion = "ce_specversion"
	HeaderID          = "ce_id"
	HeaderType        = "ce_type"
	HeaderSource      = "ce_source"
	HeaderSubject     = "ce_subject"
	HeaderTime        = "ce_time"
	HeaderDataSchema  = "ce_dataschema"
	HeaderContentType = "content-type"
	HeaderTrace       = "traceparent"
)

const (
	specVersion = "1.0"
	// ContentTypeProtobuf is the content type of every record we write.
	ContentTypeProtobuf = "application/protobuf"
	// SchemaEvent is the ce_dataschema of every record we write: its value is a whole Event.
	SchemaEvent = SchemaPrefix + "tollgate.event.v1.Event"
	// SchemaPrefix before a message's full name is a dataschema. CloudEvents wants a URI, with a scheme, where Protobuf's
	// own URLs have none.
	SchemaPrefix = "https://" + typeURLPrefix

	// timeLayout is RFC 3339 with the milliseconds that an event's times have.
	timeLayout = "2006-01-02T15:04:05.000Z"
)

var (
	specVersionBytes = []byte(specVersion)
	protobufBytes    = []byte(ContentTypeProtobuf)
	schemaBytes      = []byte(SchemaEvent)
)

// Record is the event as it stands on a topic (full name): its bytes, the headers, and its time of reception as the
// record's timestamp. An event of an unordered type has no key, so that it is spread; every other has Key. The same
// event gives the same record, byte for byte. An event that would take more than MaxBytes is a fault, TOO_LARGE.
func (e *Event) Record(topic string) (stream.Record, error) {
	buf, err := e.Append(nil)
	if err != nil {
		return stream.Record{}, err
	}
	if len(buf) > MaxBytes {
		return stream.Record{}, fault.NewInvalid(ReasonTooLarge, fault.Violation{Description: fmt.Sprintf(tooLarge, MaxBytes, len(buf))})
	}
	size := len(buf)
	// One piece of memory for the texts of key and headers.
	extra := make([]byte, 0, len(e.Tenant)+1+2*len(e.Subject)+len(e.ID)+len(e.Type)+len(e.Source)+len(timeLayout)+len(e.Trace))
	text := func(s string) []byte {
		n := len(extra)
		extra = append(extra, s...)
		return extra[n:len(extra):len(extra)]
	}
	r := stream.Record{
		Topic:     topic,
		Partition: stream.AnyPartition,
		Value:     buf[:size:size],
		Headers:   make([]stream.Header, 0, 9),
		Time:      e.ReceivedAt,
	}
	if t := byName[e.Type]; t == nil || t.Queue == Ordered {
		n := len(extra)
		extra = append(extra, e.Tenant...)
		extra = append(extra, '/')
		extra = append(extra, e.Subject...)
		r.Key = extra[n:len(extra):len(extra)]
	}
	r.Headers = append(r.Headers,
		stream.Header{Key: HeaderSpecVersion, Value: specVersionBytes},
		stream.Header{Key: HeaderID, Value: text(e.ID)},
		stream.Header{Key: HeaderType, Value: text(e.Type)},
		stream.Header{Key: HeaderSource, Value: text(e.Source)},
	)
	if e.Subject != "" {
		r.Headers = append(r.Headers, stream.Header{Key: HeaderSubject, Value: text(e.Subject)})
	}
	if !e.Time.IsZero() {
		n := len(extra)
		extra = e.Time.UTC().Truncate(time.Millisecond).AppendFormat(extra, timeLayout)
		r.Headers = append(r.Headers, stream.Header{Key: HeaderTime, Value: extra[n:len(extra):len(extra)]})
	}
	r.Headers = append(r.Headers,
		stream.Header{Key: HeaderDataSchema, Value: schemaBytes},
		stream.Header{Key: HeaderContentType, Value: protobufBytes},
	)
	if e.Trace != "" {
		r.Headers = append(r.Headers, stream.Header{Key: HeaderTrace, Value: text(e.Trace)})
	}
	return r, nil
}
