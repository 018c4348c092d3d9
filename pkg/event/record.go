package event

import (
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Headers of every record we write: the CloudEvents attributes of its event, so that plain consumers may filter without
// decoding.
const (
	HeaderSpecVersion = attributePrefix + attributeSpecVersion
	HeaderID          = attributePrefix + attributeID
	HeaderType        = attributePrefix + attributeType
	HeaderSource      = attributePrefix + attributeSource
	HeaderSubject     = attributePrefix + attributeSubject
	HeaderTime        = attributePrefix + attributeTime
	HeaderTenant      = attributePrefix + attributeTenant
	HeaderCorrelation = attributePrefix + attributeCorrelation
	HeaderDataSchema  = attributePrefix + "dataschema"
	HeaderContentType = "content-type"
	HeaderTrace       = attributeTrace
)

const (
	specVersion = "1.0"
	// ContentTypeProtobuf is the content type of every record we write.
	ContentTypeProtobuf = "application/protobuf"
	// SchemaEvent is the ce_dataschema of every record we write: its value is a whole Event.
	SchemaEvent = SchemaPrefix + "tollgate.event.v1.Event"
	// SchemaPrefix before a message's full name is a dataschema. CloudEvents wants a URI, with a scheme, where
	// Protobuf's own URLs have none.
	SchemaPrefix = "https://" + typeURLPrefix

	// TimeLayout is RFC 3339 with the milliseconds that an event's times have, in UTC.
	TimeLayout = "2006-01-02T15:04:05.000Z"
)

var (
	specVersionBytes = []byte(specVersion)
	protobufBytes    = []byte(ContentTypeProtobuf)
)

// Attributes are the values of a record's headers.
type Attributes struct {
	ID, Type, Source, Tenant, Subject, Correlation string
	Time                                           time.Time
	// Schema names the message that the value is, such as SchemaEvent.
	Schema string
	// Trace is a W3C traceparent.
	Trace string
}

// Headers are those of every record of ours, in this order; an attribute without a value has no header.
func (a Attributes) Headers() []stream.Header {
	// One piece of memory for all texts.
	size := len(a.ID) + len(a.Type) + len(a.Source) + len(a.Tenant) + len(a.Subject) + len(a.Correlation)
	all := make([]byte, 0, size+len(TimeLayout)+len(a.Schema)+len(a.Trace))
	headers := make([]stream.Header, 0, 11)
	add := func(name, value string) {
		if value == "" {
			return
		}
		n := len(all)
		all = append(all, value...)
		headers = append(headers, stream.Header{Key: name, Value: all[n:len(all):len(all)]})
	}
	headers = append(headers, stream.Header{Key: HeaderSpecVersion, Value: specVersionBytes})
	add(HeaderID, a.ID)
	add(HeaderType, a.Type)
	add(HeaderSource, a.Source)
	add(HeaderTenant, a.Tenant)
	add(HeaderSubject, a.Subject)
	add(HeaderCorrelation, a.Correlation)
	if !a.Time.IsZero() {
		n := len(all)
		all = appendTimeText(all, a.Time)
		headers = append(headers, stream.Header{Key: HeaderTime, Value: all[n:len(all):len(all)]})
	}
	add(HeaderDataSchema, a.Schema)
	headers = append(headers, stream.Header{Key: HeaderContentType, Value: protobufBytes})
	add(HeaderTrace, a.Trace)
	return headers
}

// Record is the event as a record of a topic (full name): its bytes, the headers, and its time of reception as the
// record's timestamp. An event of an unordered type has no key, so that it is spread; every other has Key. The same
// event gives the same record, byte for byte. An event that would take more than MaxBytes is a fault, TOO_LARGE.
func (e *Event) Record(topic string) (stream.Record, error) {
	buf, err := e.Encode(nil)
	if err != nil {
		return stream.Record{}, err
	}
	if len(buf) > MaxBytes {
		return stream.Record{}, fault.NewInvalid(reason.TooLarge,
			fault.Violation{Description: fmt.Sprintf(tooLarge, MaxBytes, len(buf))})
	}
	size := len(buf)
	r := stream.Record{
		Topic:     topic,
		Partition: stream.AnyPartition,
		Value:     buf[:size:size],
		Headers: Attributes{
			ID: e.ID, Type: e.Type, Source: e.Source, Tenant: e.Tenant, Subject: e.Subject, Correlation: e.Correlation,
			Time: e.Time, Schema: SchemaEvent, Trace: e.Trace,
		}.Headers(),
		Time: e.ReceivedAt,
	}
	if e.Queue() == Ordered {
		r.Key = []byte(e.Key())
	}
	return r, nil
}
