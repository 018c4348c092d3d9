package event

import (
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// ContentTypeEvent means that the value of a record on events.inbound is an Event, whatever its other headers are.
const ContentTypeEvent = "application/x-tollgate-event"

// Parser reads what producers send, by what their tenants decide. The zero Parser knows built-in types alone.
type Parser struct{ Tenants Tenants }

func (p Parser) tenants() Tenants {
	if p.Tenants == nil {
		return noTenants{}
	}
	return p.Tenants
}

// ParseKafka is Parser.Kafka of the zero Parser; so are the others.
func ParseKafka(r stream.Record) (*Event, error) { return Parser{}.Kafka(r) }

// ParseProto is Parser.Proto.
func ParseProto(p *eventv1.Event) (*Event, error) { return Parser{}.Proto(p) }

// ParseHTTP is Parser.HTTP.
func ParseHTTP(header func(name string) []string, body []byte) (*Event, error) {
	return Parser{}.HTTP(header, body)
}

// ParseJSON is Parser.JSON.
func ParseJSON(object []byte) (*Event, error) { return Parser{}.JSON(object) }

// Kafka reads a record of events.inbound and validates it as an event of a producer. It is an Event in Protobuf
// where its content type is ContentTypeEvent or it has no ce_specversion; else a CloudEvent in structured or in binary
// mode. A record of our own topics is taken too. A record of another form gets a violation that names the right form.
//
// The error is a fault that lists every violation (Reasons). The event comes with it as far as it could be read, and is
// nil where nothing could. A valid event has no ReceivedAt yet: ingest stamps it.
func (p Parser) Kafka(r stream.Record) (*Event, error) {
	v := violations{}
	if len(r.Value) > MaxBytes {
		v.add(reason.TooLarge, "", tooLarge, MaxBytes, len(r.Value))
		return nil, v.err()
	}
	header := kafkaHeaders(r, &v)
	var e *Event
	media := mediaType(header(HeaderContentType))
	_, isCloudEvent := r.Header(HeaderSpecVersion)
	switch {
	case strings.HasPrefix(media, cloudEventsPrefix):
		e = p.structured(media, r.Value, &v)
	case media == ContentTypeEvent, isProtobuf(media) && isSchemaEvent(header(HeaderDataSchema)):
		e = decode(r.Value, &v)
	case isCloudEvent:
		misspelt(r, &v)
		e = p.binary(media, func(name string) string { return header(attributePrefix + name) }, r.Value, &v)
	default:
		misspelt(r, &v)
		if v.err() != nil {
			return nil, v.err()
		}
		// Read first: an Event whose id has 123 bytes begins as JSON behind a line break does.
		if e = decode(r.Value, &v); e == nil {
			return nil, notOurs(r.Value, v)
		}
	}
	if e != nil && e.Trace == "" {
		e.Trace = header(HeaderTrace)
	}
	return p.checked(e, &v)
}

// isSchemaEvent also takes the name without its scheme, which older records have that may still be mirrored.
func isSchemaEvent(schema string) bool {
	return strings.TrimPrefix(schema, "https://") == strings.TrimPrefix(SchemaEvent, "https://")
}

// Proto validates an Event of a gRPC request, as Kafka does.
func (p Parser) Proto(sent *eventv1.Event) (*Event, error) {
	v := violations{}
	if size := sizeOf(sent); size > MaxBytes {
		v.add(reason.TooLarge, "", tooLarge, MaxBytes, size)
		return nil, v.err()
	}
	return p.checked(fromProto(sent, &v), &v)
}

// sizeOf is what an event's contents take, without the few bytes that frame them: the stored size is checked to the
// byte when the event is encoded, and the whole message is not walked for this.
func sizeOf(p *eventv1.Event) int {
	return len(p.GetId()) + len(p.GetSource()) + len(p.GetType()) + len(p.GetTenant()) + len(p.GetSubject()) +
		len(p.GetCorrelation()) + len(p.GetData().GetTypeUrl()) + len(p.GetData().GetValue())
}

// HTTP reads the one CloudEvent of an HTTP request, in structured or in binary mode, and validates it as Kafka does; header
// gives the values of a header. A batch is read by ParseBatch.
func (p Parser) HTTP(header func(name string) []string, body []byte) (*Event, error) {
	v := violations{}
	if len(body) > MaxBytes {
		v.add(reason.TooLarge, "", tooLarge, MaxBytes, len(body))
		return nil, v.err()
	}
	var e *Event
	media := mediaType(once(header(HeaderContentType), HeaderContentType, &v))
	switch {
	case strings.HasPrefix(media, cloudEventsPrefix):
		e = p.structured(media, body, &v)
	case isBare(header):
		bare(header, media, body, &v)
	default:
		if len(header(httpPrefix+attributeDataContentType)) > 0 {
			v.add(reason.Undecodable, attributeDataContentType, "must not be sent: content-type is that of the data")
		}
		e = p.binary(media, func(attribute string) string {
			return headerValue(once(header(httpPrefix+attribute), attribute, &v), attribute, &v)
		}, body, &v)
	}
	if traces := header(HeaderTrace); e != nil && e.Trace == "" && len(traces) == 1 {
		e.Trace = traces[0]
	}
	return p.checked(e, &v)
}

// isBare reports that a request has none of the headers that a CloudEvent in binary mode must have.
func isBare(header func(name string) []string) bool {
	for _, attribute := range []string{attributeSpecVersion, attributeID, attributeSource, attributeType} {
		if len(header(httpPrefix+attribute)) > 0 {
			return false
		}
	}
	return true
}

// bare adds what a request lacks that has no attribute in its headers.
func bare(header func(name string) []string, media string, body []byte, v *violations) {
	first := firstOf(body)
	switch {
	case len(header(attributePrefix+attributeSpecVersion)) > 0 || len(header(attributePrefix+attributeID)) > 0:
		v.add(reason.Undecodable, httpPrefix+attributeSpecVersion,
			"must be there: in HTTP attributes are headers that begin with ce-, not with ce_")
	case !isJSON(media) && !isProtobuf(media):
		v.add(reason.MediaTypeUnsupported, HeaderContentType, "%.100q is not taken, there are %s", media, ContentTypes)
	case first == '{':
		v.add(reason.Undecodable, HeaderContentType,
			wantWhole+", or the headers ce-id, ce-source and so on be there where it is data alone")
	case first == '[':
		v.add(reason.Undecodable, HeaderContentType, "must be "+ContentTypeBatch+" where the body is a batch")
	default:
		v.add(reason.Undecodable, "",
			"must be a CloudEvent: of content type %s, or with headers ce-id, ce-source and so on", ContentTypeCloudEvent)
	}
}

// JSON reads one CloudEvent as a JSON object, such as a line of a file, and validates it as Kafka does.
func (p Parser) JSON(object []byte) (*Event, error) {
	v := violations{}
	if len(object) > MaxBytes {
		v.add(reason.TooLarge, "", tooLarge, MaxBytes, len(object))
		return nil, v.err()
	}
	return p.checked(p.object(object, &v), &v)
}

// checked is the end of every method of a Parser.
func (p Parser) checked(e *Event, v *violations) (*Event, error) {
	if e == nil {
		return nil, v.err()
	}
	// Set by us alone.
	e.ReceivedAt = time.Time{}
	e.content = 0
	if !ValidTrace(e.Trace) {
		// The trace is no part of the event, so the event is not refused for it.
		e.Trace = ""
	}
	if IsReserved(e.Type) {
		v.add(reason.TypeReserved, "type", "%.200q is published by Tollgate alone", e.Type)
	}
	if isReservedSource(e.Source) {
		v.add(reason.TypeReserved, "source", "%.200q names Tollgate itself: name the system that sends the event", e.Source)
	}
	e.declare(p.tenants(), v)
	e.normalize()
	e.validate(v)
	return e, v.err()
}

// normalize brings every MSISDN that the event is about into its one spelling, before a key or an identity is made of
// it. validate refuses what is none.
func (e *Event) normalize() {
	if t := e.typ(); t != nil && (t.Subscriber || e.Type == typeThresholdExceeded) {
		if msisdn, ok := MSISDN(e.Subject); ok {
			e.Subject = msisdn
		}
	}
	if d, ok := e.Data.(*eventv1.SubscriberMsisdnChanged); ok {
		if msisdn, ok := MSISDN(d.GetNewMsisdn()); ok {
			d.NewMsisdn = msisdn
		}
	}
}

// typeThresholdExceeded is about a subscriber or about an account.
const typeThresholdExceeded = "usage.threshold_exceeded"

// ValidTrace checks the form of a W3C traceparent, of version 00 and of later ones.
func ValidTrace(s string) bool {
	if len(s) < 55 || len(s) > 128 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	return strings.Trim(s, "0123456789abcdef-") == ""
}
