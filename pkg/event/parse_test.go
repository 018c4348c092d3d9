package event_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

func TestParse_EveryModeGivesTheSameEvent(t *testing.T) {
	want := usage()
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8",
		"application/protobuf"} {
		for name, parse := range transports(t, foreign(t, contentType)) {
			t.Run(name+", "+contentType, func(t *testing.T) {
				got, err := parse()
				if err != nil {
					t.Fatal(err)
				}
				if !got.ReceivedAt.IsZero() || got.Trace != traceparent {
					t.Errorf("received %v, trace %q", got.ReceivedAt, got.Trace)
				}
				got.ReceivedAt = received
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if got.Content() != want.Content() {
					t.Error("by this transport it is not a repeat of itself")
				}
			})
		}
	}
}

func TestParse_KeepsAttributesOutsideASCII(t *testing.T) {
	for name, parse := range transports(t, func() cloudevents.Event {
		ce := foreign(t, "application/json")
		ce.SetExtension("correlation", "Zürich \"x\"")
		return ce
	}()) {
		got, err := parse()
		if err != nil || got.Correlation != "Zürich \"x\"" {
			t.Errorf("%s: %v %+v", name, err, got)
		}
	}
}

// The SDK does not encode header values as the HTTP binding asks; others do.
func TestParseHTTP_DecodesHeaderValues(t *testing.T) {
	headers := map[string]string{
		"ce-specversion": "1.0", "ce-id": "Z%C3%BCrich%20%2541", "ce-source": "s", "ce-type": "billrun.failed", "ce-tenant": "t",
		"ce-time": "2026-03-01T10:00:00Z",
	}
	e, err := event.ParseHTTP(valuesOf(headers), []byte("{}"))
	if err != nil || e.ID != "Zürich %41" {
		t.Errorf("%v %+v", err, e)
	}
}

func TestParse_ProtobufByKafkaAndGRPC(t *testing.T) {
	value, err := usage().Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	record, err := usage().Record("t")
	if err != nil {
		t.Fatal(err)
	}
	header := func(pairs ...string) (h []stream.Header) {
		for i := 0; i < len(pairs); i += 2 {
			h = append(h, stream.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return h
	}
	for name, parse := range map[string]func() (*event.Event, error){
		"without any header": func() (*event.Event, error) { return event.ParseKafka(stream.Record{Value: value}) },
		"with our content type": func() (*event.Event, error) {
			return event.ParseKafka(stream.Record{Value: value,
				Headers: header("content-type", "application/x-tollgate-event", "ce_specversion", "1.0")})
		},
		"mirrored from our own topic": func() (*event.Event, error) { return event.ParseKafka(record) },
		"by gRPC":                     func() (*event.Event, error) { return event.ParseProto(usage().Proto()) },
	} {
		got, err := parse()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !got.ReceivedAt.IsZero() {
			t.Errorf("%s: a producer has set received_at", name)
		}
		if got.Content() != usage().Content() {
			t.Errorf("%s: not the same event", name)
		}
	}
}

func unmarshal(t *testing.T, object []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(object, into); err != nil {
		t.Fatal(err)
	}
}

func marshalled(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// valuesOf are headers of HTTP as ParseHTTP asks for them.
func valuesOf(headers map[string]string) func(name string) []string {
	h := http.Header{}
	for name, value := range headers {
		h.Add(name, value)
	}
	return h.Values
}

func TestParseJSON_DropsAMalformedTrace(t *testing.T) {
	for _, trace := range []string{"x", "00-\n", strings.Repeat("a", 200), strings.Replace(traceparent, "4", "G", 1)} {
		b, err := json.Marshal(trace)
		if err != nil {
			t.Fatal(err)
		}
		e, err := event.ParseJSON(structured(t, map[string]string{"traceparent": string(b)}))
		if err != nil || e.Trace != "" {
			t.Errorf("%q: %v %q", trace, err, e.Trace)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"s","type":"usage.charged","tenant":"t","subject":"x","time":"2026-03-01T10:00:00Z","data":{}}`), "", "")
	f.Add([]byte(`{}`), "application/json", "usage.charged")
	f.Add([]byte{0x0a, 1, 'x'}, "application/x-tollgate-event", "")
	f.Fuzz(func(t *testing.T, value []byte, contentType, typ string) {
		headers := []stream.Header{{Key: "content-type", Value: []byte(contentType)},
			{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_type", Value: []byte(typ)}}
		for _, r := range []stream.Record{{Value: value}, {Value: value, Headers: headers},
			{Value: value, Headers: headers[:1]}} {
			e, err := event.ParseKafka(r)
			if err != nil {
				if fault.KindOf(err) != fault.Invalid || len(fault.ViolationsOf(err)) == 0 {
					t.Fatalf("an error without its reason: %v", err)
				}
				continue
			}
			// What is parsed can be stored, and read back as the same.
			record, err := e.Record("t")
			if err != nil && fault.ReasonOf(err) != reason.TooLarge {
				t.Fatal(err)
			}
			if err != nil {
				continue
			}
			back, err := event.Decode(record.Value)
			if err != nil || !back.Equal(e) || back.Content() != e.Content() || back.Validate() != nil {
				t.Fatalf("%+v comes back as %+v: %v", e, back, err)
			}
		}
	})
}
