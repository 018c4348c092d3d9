package event

import (
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// ContentTypeEvent says of a record on events.inbound that its value is an Event, whatever its other headers say.
const ContentTypeEvent = "application/x-tollgate-event"

// ParseKafka reads a record of events.inbound and judges it as what a producer sent. It is an Event in Protobuf where
// its content type says so or no ce_specversion is there; else a CloudEvent in structured or in binary mode. A record of
// our own topics is taken too. What means one of them and does not say so, as other systems have it, is told how.
//
// Like every door it answers with a fault that lists everything wrong at once (Reasons), along with the event as far as
// it could be read, which is nil where nothing could. What is right has no ReceivedAt yet: the door stamps it.
func ParseKafka(r stream.Record) (*Event, error) {
	v := verdict{}
	if len(r.Value) > MaxBytes {
		v.add(ReasonTooLarge, "", tooLarge, MaxBytes, len(r.Value))
		return nil, v.err()
	}
	header := kafkaHeaders(r, &v)
	var e *Event
	media := mediaType(header(HeaderContentType))
	_, isCloudEvent := r.Header(HeaderSpecVersion)
	switch {
	case strings.HasPrefix(media, cloudEventsPrefix):
		e = parseStructured(media, r.Value, &v)
	case media == ContentTypeEvent, isProtobuf(media) && isSchemaEvent(header(HeaderDataSchema)):
		e = decode(r.Value, &v)
	case isCloudEvent:
		misspelt(r, &v)
		e = parseBinary(media, func(attribute string) string { return header(attributePrefix + attribute) }, r.Value, &v)
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
	return judged(e, &v)
}

// isSchemaEvent also takes the name without its scheme, as records had it that may still be mirrored.
func isSchemaEvent(schema string) bool {
	return strings.TrimPrefix(schema, "https://") == strings.TrimPrefix(SchemaEvent, "https://")
}

// ParseProto judges an Event that came by gRPC, as ParseKafka does.
func ParseProto(p *eventv1.Event) (*Event, error) {
	v := verdict{}
	if size := sizeOf(p); size > MaxBytes {
		v.add(ReasonTooLarge, "", tooLarge, MaxBytes, size)
		return nil, v.err()
	}
	return judged(fromProto(p, &v), &v)
}

// sizeOf is what an event's contents take, without the few bytes that frame them: what is stored is judged to the byte
// when it is encoded, and the whole message is not walked for this.
func sizeOf(p *eventv1.Event) int {
	return len(p.GetId()) + len(p.GetSource()) + len(p.GetType()) + len(p.GetTenant()) + len(p.GetSubject()) +
		len(p.GetCorrelation()) + len(p.GetData().GetTypeUrl()) + len(p.GetData().GetValue())
}

// ParseHTTP reads the one CloudEvent of an HTTP request, in structured or in binary mode, and judges it as ParseKafka
// does; header gives the values of a header. A batch is read by ParseBatch.
func ParseHTTP(header func(name string) []string, body []byte) (*Event, error) {
	v := verdict{}
	if len(body) > MaxBytes {
		v.add(ReasonTooLarge, "", tooLarge, MaxBytes, len(body))
		return nil, v.err()
	}
	var e *Event
	media := mediaType(once(header(HeaderContentType), HeaderContentType, &v))
	switch {
	case strings.HasPrefix(media, cloudEventsPrefix):
		e = parseStructured(media, body, &v)
	case isBare(header):
		bare(header, media, body, &v)
	default:
		if len(header("ce-"+attributeDataContentType)) > 0 {
			v.add(ReasonUndecodable, attributeDataContentType, "must not be sent: content-type says what the data is")
		}
		e = parseBinary(media, func(attribute string) string {
			return headerValue(once(header("ce-"+attribute), attribute, &v), attribute, &v)
		}, body, &v)
	}
	if traces := header(HeaderTrace); e != nil && e.Trace == "" && len(traces) == 1 {
		e.Trace = traces[0]
	}
	return judged(e, &v)
}

// isBare says that none of the headers is there that a CloudEvent in binary mode must have.
func isBare(header func(name string) []string) bool {
	for _, attribute := range []string{attributeSpecVersion, attributeID, attributeSource, attributeType} {
		if len(header("ce-"+attribute)) > 0 {
			return false
		}
	}
	return true
}

// bare says what a request lacks that names no attribute in its headers.
func bare(header func(name string) []string, media string, body []byte, v *verdict) {
	first := firstOf(body)
	switch {
	case len(header("ce_"+attributeSpecVersion)) > 0 || len(header("ce_"+attributeID)) > 0:
		v.add(ReasonUndecodable, "ce-"+attributeSpecVersion, "must be there: in HTTP attributes are headers that begin with ce-, not with ce_")
	case !isJSON(media) && !isProtobuf(media):
		v.add(ReasonMediaType, HeaderContentType, "%.100q is not taken, there are %s", media, ContentTypes)
	case first == '{':
		v.add(ReasonUndecodable, HeaderContentType, sayWhole+", or the headers ce-id, ce-source and so on be there where it is data alone")
	case first == '[':
		v.add(ReasonUndecodable, HeaderContentType, "must be "+ContentTypeBatch+" where the body is a batch")
	default:
		v.add(ReasonUndecodable, "", "must be a CloudEvent: of content type %s, or with headers ce-id, ce-source and so on", ContentTypeCloudEvent)
	}
}

// ParseJSON reads one CloudEvent as a JSON object, as it stands in a line of a file, and judges it as ParseKafka does.
func ParseJSON(object []byte) (*Event, error) {
	v := verdict{}
	if len(object) > MaxBytes {
		v.add(ReasonTooLarge, "", tooLarge, MaxBytes, len(object))
		return nil, v.err()
	}
	return judged(parseObject(object, &v), &v)
}

// judged is the end of every door.
func judged(e *Event, v *verdict) (*Event, error) {
	if e == nil {
		return nil, v.err()
	}
	// Set by us alone.
	e.ReceivedAt = time.Time{}
	e.content = 0
	if !ValidTrace(e.Trace) {
		// It says nothing about the event, so it does not refuse it either.
		e.Trace = ""
	}
	if IsReserved(e.Type) {
		v.add(ReasonReserved, "type", "%.200q is published by Tollgate alone", e.Type)
	}
	if isReservedSource(e.Source) {
		v.add(ReasonReserved, "source", "%.200q names Tollgate itself: say which of your systems it is", e.Source)
	}
	e.normalize()
	e.validate(v)
	return e, v.err()
}

// normalize brings every MSISDN that the event is about into its one spelling, before a key or an identity is made of it.
// What is none is left for validate to refuse.
func (e *Event) normalize() {
	if t := byName[e.Type]; t != nil && (t.Subscriber || e.Type == typeThresholdExceeded) {
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

// ValidTrace judges the form of a W3C traceparent, version 00 and those to come.
func ValidTrace(s string) bool {
	if len(s) < 55 || len(s) > 128 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	return strings.Trim(s, "0123456789abcdef-") == ""
}
