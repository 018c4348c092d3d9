package event_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// foreign is usage() as another producer makes it, with the SDK of CloudEvents; its data in JSON or in Protobuf.
func foreign(t *testing.T, contentType string) cloudevents.Event {
	t.Helper()
	e := usage()
	ce := cloudevents.NewEvent()
	ce.SetID(e.ID)
	ce.SetSource(e.Source)
	ce.SetType(e.Type)
	ce.SetSubject(e.Subject)
	ce.SetTime(e.Time)
	ce.SetExtension("tenant", e.Tenant)
	ce.SetExtension("correlation", e.Correlation)
	ce.SetExtension("traceparent", traceparent)
	var data []byte
	var err error
	if contentType == "application/protobuf" {
		data, err = proto.Marshal(e.Data)
	} else {
		data, err = protojson.Marshal(e.Data)
	}
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		ce.SetDataContentType(contentType)
	}
	ce.DataEncoded = data
	ce.DataBase64 = contentType == "application/protobuf"
	return ce
}

// kafkaWriter puts the SDK's messages into records as the Kafka binding has it.
type kafkaWriter struct{ r stream.Record }

func (w *kafkaWriter) header(key, value string) {
	w.r.Headers = append(w.r.Headers, stream.Header{Key: key, Value: []byte(value)})
}

func (w *kafkaWriter) SetStructuredEvent(_ context.Context, f format.Format, body io.Reader) (err error) {
	w.header("content-type", f.MediaType())
	w.r.Value, err = io.ReadAll(body)
	return err
}

func (w *kafkaWriter) Start(context.Context) error { return nil }
func (w *kafkaWriter) End(context.Context) error   { return nil }
func (w *kafkaWriter) SetData(data io.Reader) (err error) {
	w.r.Value, err = io.ReadAll(data)
	return err
}

func (w *kafkaWriter) SetAttribute(a spec.Attribute, value any) error {
	if a.Kind() == spec.DataContentType {
		w.header("content-type", value.(string))
		return nil
	}
	return w.SetExtension(a.Name(), value)
}

func (w *kafkaWriter) SetExtension(name string, value any) error {
	s, err := types.Format(value)
	w.header("ce_"+name, s)
	return err
}

// transports are all ways of sending ce, as a producer with the SDK uses them.
func transports(t *testing.T, ce cloudevents.Event) map[string]func() (*event.Event, error) {
	t.Helper()
	onKafka := func(encoding binding.Encoding) func() (*event.Event, error) {
		return func() (*event.Event, error) {
			w := &kafkaWriter{}
			ctx := binding.WithForceBinary(t.Context())
			if encoding == binding.EncodingStructured {
				ctx = binding.WithForceStructured(t.Context())
			}
			if _, err := binding.Write(ctx, binding.ToMessage(&ce), w, w); err != nil {
				t.Fatal(err)
			}
			return event.ParseKafka(w.r)
		}
	}
	onHTTP := func(force func(context.Context) context.Context) func() (*event.Event, error) {
		return func() (*event.Event, error) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/v1/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := cehttp.WriteRequest(force(t.Context()), binding.ToMessage(&ce), req); err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Fatal(err)
			}
			return event.ParseHTTP(req.Header.Values, body)
		}
	}
	inBatch := func() (*event.Event, error) {
		body, err := json.Marshal([]cloudevents.Event{ce})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := event.ParseBatch(body, 1, event.ParseJSON)
		if err != nil || len(parsed) != 1 {
			t.Fatal(len(parsed), err)
		}
		return parsed[0].Event, parsed[0].Err
	}
	return map[string]func() (*event.Event, error){
		"kafka binary":     onKafka(binding.EncodingBinary),
		"kafka structured": onKafka(binding.EncodingStructured),
		"http binary":      onHTTP(binding.WithForceBinary),
		"http structured":  onHTTP(binding.WithForceStructured),
		"http batch":       inBatch,
	}
}
