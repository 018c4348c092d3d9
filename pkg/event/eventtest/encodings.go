// Package eventtest writes an event in every encoding that producers send.
package eventtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Encoding is one form of an event.
type Encoding struct {
	Name string
	// Protobuf: the data is a message, and not JSON.
	Protobuf bool
	// Parse reads it as ingest does.
	Parse func(p event.Parser) (*event.Event, error)
}

// Encodings are all forms of an event. data is its data in JSON; nil for that of the message.
func Encodings(e *event.Event, data []byte) ([]Encoding, error) {
	if data == nil {
		var err error
		if data, err = protojson.Marshal(e.Data); err != nil {
			return nil, fmt.Errorf("encode an event: %w", err)
		}
	}
	whole, err := json.Marshal(structured(e, "application/json", data))
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	message, err := proto.Marshal(e.Data)
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	base64, err := json.Marshal(structuredBytes(e, message))
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	value, err := e.Encode(nil)
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	kafka := func(value []byte, headers ...stream.Header) func(event.Parser) (*event.Event, error) {
		return func(p event.Parser) (*event.Event, error) {
			return p.Kafka(stream.Record{Value: value, Headers: headers})
		}
	}
	request := func(body []byte, headers map[string]string) func(event.Parser) (*event.Event, error) {
		all := http.Header{}
		for name, v := range headers {
			all.Set(name, v)
		}
		return func(p event.Parser) (*event.Event, error) { return p.HTTP(all.Values, body) }
	}
	typed := func(contentType string) stream.Header {
		return stream.Header{Key: event.HeaderContentType, Value: []byte(contentType)}
	}
	const inJSON, inProtobuf = "application/json", event.ContentTypeProtobuf
	return []Encoding{
		{"a line of JSON", false, func(p event.Parser) (*event.Event, error) { return p.JSON(whole) }},
		{"structured on Kafka", false, kafka(whole, typed(event.ContentTypeCloudEvent))},
		{"structured with Protobuf in base64", true, kafka(base64, typed(event.ContentTypeCloudEvent))},
		{"binary on Kafka in JSON", false, kafka(data, headers(e, inJSON)...)},
		{"binary on Kafka in Protobuf", true, kafka(message, headers(e, inProtobuf)...)},
		{"the format of Protobuf with JSON", false, kafka(format(e, inJSON, 7, data), typed(event.ContentTypeCloudEventProtobuf))},
		{"the format of Protobuf with Protobuf", true, kafka(format(e, inProtobuf, 6, message), typed(event.ContentTypeCloudEventProtobuf))},
		{"an Event on Kafka", true, kafka(value)},
		{"an Event by gRPC", true, func(p event.Parser) (*event.Event, error) { return p.Proto(e.Proto()) }},
		{"structured by HTTP", false, request(whole, map[string]string{"content-type": event.ContentTypeCloudEvent})},
		{"binary by HTTP in JSON", false, request(data, attributes(e, "ce-", inJSON))},
		{"binary by HTTP in Protobuf", true, request(message, attributes(e, "ce-", inProtobuf))},
	}, nil
}

func structured(e *event.Event, contentType string, data json.RawMessage) map[string]any {
	return map[string]any{
		"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type, "subject": e.Subject, "time": e.Time.Format(event.TimeLayout),
		"tenant": e.Tenant, "correlation": e.Correlation, "datacontenttype": contentType, "data": data,
	}
}

func structuredBytes(e *event.Event, message []byte) map[string]any {
	all := structured(e, event.ContentTypeProtobuf, nil)
	delete(all, "data")
	all["data_base64"] = message
	return all
}

// attributes are the headers of binary mode, by name.
func attributes(e *event.Event, prefix, contentType string) map[string]string {
	all := map[string]string{
		"content-type": contentType, prefix + "specversion": "1.0", prefix + "id": e.ID, prefix + "source": e.Source, prefix + "type": e.Type,
		prefix + "time": e.Time.Format(event.TimeLayout), prefix + "tenant": e.Tenant,
	}
	for name, value := range map[string]string{"subject": e.Subject, "correlation": e.Correlation} {
		if value != "" {
			all[prefix+name] = value
		}
	}
	return all
}

func headers(e *event.Event, contentType string) (all []stream.Header) {
	for name, value := range attributes(e, "ce_", contentType) {
		all = append(all, stream.Header{Key: name, Value: []byte(value)})
	}
	return all
}

// format is a io.cloudevents.v1.CloudEvent with data in one of its fields.
func format(e *event.Event, contentType string, kind protowire.Number, data []byte) []byte {
	b := field(field(field(field(nil, 1, e.ID), 2, e.Source), 3, "1.0"), 4, e.Type)
	for name, value := range map[string]string{
		"subject": e.Subject, "tenant": e.Tenant, "correlation": e.Correlation, "datacontenttype": contentType, "time": e.Time.Format(event.TimeLayout),
	} {
		if value != "" {
			b = field(b, 5, string(field(field(nil, 1, name), 2, string(field(nil, 3, value)))))
		}
	}
	return field(b, kind, string(data))
}

func field(b []byte, n protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(slices.Clip(b), n, protowire.BytesType), value)
}
