package scenario

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// form is how a producer writes an event.
type form string

const (
	// asEvent is Tollgate's own message.
	asEvent form = "event"
	// asObject is a CloudEvent as a JSON object, asFormat as the message of CloudEvents' Protobuf format.
	asObject form = "object"
	asFormat form = "format"
	// Of these the attributes are headers, and the value is the data alone.
	asBinaryJSON     form = "binary-json"
	asBinaryProtobuf form = "binary-protobuf"
)

// written are the headers of an event in a form, and the value; attribute is what stands before the name of each attribute of
// CloudEvents.
func (f form) written(t testing.TB, e *eventv1.Event, attribute string) (headers map[string]string, value []byte) {
	t.Helper()
	attributes := func(contentType string) map[string]string {
		out := map[string]string{"content-type": contentType}
		for name, value := range map[string]string{
			"specversion": "1.0", "id": e.GetId(), "source": e.GetSource(), "type": e.GetType(), "tenant": e.GetTenant(), "subject": e.GetSubject(), "time": timeOf(e),
		} {
			if value != "" {
				out[attribute+name] = value
			}
		}
		return out
	}
	switch f {
	case asObject:
		return map[string]string{"content-type": "application/cloudevents+json"}, cloudEvent(t, e)
	case asFormat:
		return map[string]string{"content-type": "application/cloudevents+protobuf"}, inFormat(e)
	case asBinaryJSON:
		return attributes("application/json"), dataJSON(t, e)
	case asBinaryProtobuf:
		return attributes("application/protobuf"), e.GetData().GetValue()
	}
	value, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return nil, value
}

func timeOf(e *eventv1.Event) string {
	if e.GetTime() == nil {
		return ""
	}
	return e.GetTime().AsTime().Format("2006-01-02T15:04:05.000Z")
}

// record is one for events.inbound.
func (f form) record(t testing.TB, e *eventv1.Event) stream.Record {
	t.Helper()
	headers, value := f.written(t, e, "ce_")
	r := stream.Record{Key: []byte(e.GetTenant() + "/" + e.GetSubject()), Value: value}
	for name, value := range headers {
		r.Headers = append(r.Headers, stream.Header{Key: name, Value: []byte(value)})
	}
	return r
}

// inFormat is io.cloudevents.v1.CloudEvent, its data in bytes.
func inFormat(e *eventv1.Event) []byte {
	text := func(b []byte, n protowire.Number, value string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), value)
	}
	b := text(text(text(text(nil, 1, e.GetId()), 2, e.GetSource()), 3, "1.0"), 4, e.GetType())
	attribute := func(name string, kind protowire.Number, value string) {
		b = text(b, 5, string(text(text(nil, 1, name), 2, string(text(nil, kind, value)))))
	}
	attribute("tenant", 3, e.GetTenant())
	attribute("subject", 3, e.GetSubject())
	attribute("datacontenttype", 3, "application/protobuf")
	if at := e.GetTime(); at != nil {
		raw, err := proto.Marshal(timestamppb.New(at.AsTime()))
		if err != nil {
			panic(err) // a time of the test's own
		}
		attribute("time", 7, string(raw))
	}
	return text(b, 6, string(e.GetData().GetValue()))
}
