package event_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
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

// doors are all ways in, each as a foreign producer takes it.
func doors(t *testing.T, ce cloudevents.Event) map[string]func() (*event.Event, error) {
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

func TestEveryModeOfCloudEventsGivesTheSameEvent(t *testing.T) {
	want := usage()
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "application/protobuf"} {
		for name, parse := range doors(t, foreign(t, contentType)) {
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
					t.Error("by this door it is not a repeat of itself")
				}
			})
		}
	}
}

func TestAttributesOutsideASCIIComeThrough(t *testing.T) {
	for name, parse := range doors(t, func() cloudevents.Event {
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
func TestHeaderValuesAreDecodedAsTheHTTPBindingSays(t *testing.T) {
	headers := map[string]string{
		"ce-specversion": "1.0", "ce-id": "Z%C3%BCrich%20%2541", "ce-source": "s", "ce-type": "billrun.failed", "ce-tenant": "t",
		"ce-time": "2026-03-01T10:00:00Z",
	}
	e, err := event.ParseHTTP(valuesOf(headers), []byte("{}"))
	if err != nil || e.ID != "Zürich %41" {
		t.Errorf("%v %+v", err, e)
	}
}

func TestProtobufByKafkaAndGRPC(t *testing.T) {
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
			return event.ParseKafka(stream.Record{Value: value, Headers: header("content-type", "application/x-tollgate-event", "ce_specversion", "1.0")})
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

// structured is a CloudEvent in JSON with some members replaced; "" takes one away.
func structured(t *testing.T, change map[string]string) []byte {
	t.Helper()
	fields := map[string]json.RawMessage{
		"specversion": json.RawMessage(`"1.0"`), "id": json.RawMessage(`"1"`), "source": json.RawMessage(`"s"`),
		"type": json.RawMessage(`"usage.charged"`), "tenant": json.RawMessage(`"acme"`), "subject": json.RawMessage(`"447700900001"`),
		"time": json.RawMessage(`"2026-03-01T10:00:00Z"`), "data": json.RawMessage(`{"net":{"currencyCode":"EUR","units":"1"}}`),
	}
	for name, value := range change {
		if value == "" {
			delete(fields, name)
		} else {
			fields[name] = json.RawMessage(value)
		}
	}
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBadInputIsToldAtOnce(t *testing.T) {
	tests := map[string]struct {
		change map[string]string
		reason string
		fields []string
	}{
		"nothing but a type":                          {map[string]string{"id": "", "source": "", "tenant": "", "subject": "", "time": "", "data": ""}, event.ReasonInvalid, []string{"id", "source", "tenant", "time", "data", "subject"}},
		"an unknown type, and only that":              {map[string]string{"type": `"weather.changed"`}, event.ReasonUnknownType, []string{"type"}},
		"no type":                                     {map[string]string{"type": ""}, event.ReasonInvalid, []string{"type"}},
		"a type that is ours":                         {map[string]string{"type": `"safeguard.reached"`, "data": `{}`}, event.ReasonReserved, []string{"type"}},
		"a control record":                            {map[string]string{"type": `"system.tick"`, "data": `{}`}, event.ReasonReserved, []string{"type"}},
		"a command":                                   {map[string]string{"type": `"command.charge"`}, event.ReasonReserved, []string{"type"}},
		"a time that is none":                         {map[string]string{"time": `"yesterday"`}, event.ReasonUndecodable, []string{"time"}},
		"a time past the year 9999":                   {map[string]string{"time": `"10000-01-01T00:00:00Z"`}, event.ReasonUndecodable, []string{"time"}},
		"another version of CloudEvents":              {map[string]string{"specversion": `"0.3"`}, event.ReasonUndecodable, []string{"specversion"}},
		"an id that is a number":                      {map[string]string{"id": `1`}, event.ReasonUndecodable, []string{"id"}},
		"an id that is too long":                      {map[string]string{"id": `"` + strings.Repeat("x", 257) + `"`}, event.ReasonInvalid, []string{"id"}},
		"a source that is too long":                   {map[string]string{"source": `"` + strings.Repeat("x", 513) + `"`}, event.ReasonInvalid, []string{"source"}},
		"a subject that is too long":                  {map[string]string{"subject": `"` + strings.Repeat("x", 257) + `"`}, event.ReasonInvalid, []string{"subject"}},
		"a line break in an id":                       {map[string]string{"id": `"a\nb"`}, event.ReasonInvalid, []string{"id"}},
		"a slash in the tenant":                       {map[string]string{"tenant": `"a/b"`}, event.ReasonInvalid, []string{"tenant"}},
		"data of another shape":                       {map[string]string{"data": `{"colour":"red"}`}, event.ReasonUndecodable, []string{"data"}},
		"data that is no object":                      {map[string]string{"data": `7`}, event.ReasonUndecodable, []string{"data"}},
		"data that is null":                           {map[string]string{"data": `null`}, event.ReasonInvalid, []string{"data"}},
		"data twice":                                  {map[string]string{"data_base64": `"AA=="`}, event.ReasonUndecodable, []string{"data"}},
		"data_base64 that is none":                    {map[string]string{"data": "", "data_base64": `"%"`}, event.ReasonUndecodable, []string{"data"}},
		"data in a format nobody reads":               {map[string]string{"data": "", "data_base64": `"AA=="`, "datacontenttype": `"text/csv"`}, event.ReasonMediaType, []string{"data"}},
		"data in Protobuf that is cut off":            {map[string]string{"data": "", "data_base64": `"Cg=="`, "datacontenttype": `"application/protobuf"`}, event.ReasonUndecodable, []string{"data"}},
		"an amount past int64 nanos":                  {map[string]string{"data": `{"net":{"currencyCode":"EUR","units":"9223372036","nanos":854775808}}`}, event.ReasonAmount, []string{"data.net.units"}},
		"an amount far past it":                       {map[string]string{"data": `{"net":{"currencyCode":"EUR","units":"9223372036854775807"}}`}, event.ReasonAmount, []string{"data.net.units"}},
		"nanos of a whole unit":                       {map[string]string{"data": `{"net":{"currencyCode":"EUR","nanos":1000000000}}`}, event.ReasonAmount, []string{"data.net.nanos"}},
		"nanos of the other sign":                     {map[string]string{"data": `{"net":{"currencyCode":"EUR","units":"1","nanos":-1}}`}, event.ReasonAmount, []string{"data.net.nanos"}},
		"no currency":                                 {map[string]string{"data": `{"gross":{"units":"1"}}`}, event.ReasonAmount, []string{"data.gross.currency_code"}},
		"net and gross in two currencies":             {map[string]string{"data": `{"net":{"currencyCode":"EUR"},"gross":{"currencyCode":"GBP"}}`}, event.ReasonAmount, []string{"data.gross.currency_code"}},
		"a correction of nothing":                     {map[string]string{"data": `{"corrects":{}}`}, event.ReasonInvalid, []string{"data.corrects.id", "data.corrects.time"}},
		"an amount deep in another type's data":       {map[string]string{"type": `"account.created"`, "data": `{"account":{"balance":{"units":"1"}}}`}, event.ReasonAmount, []string{"data.account.balance.currency_code"}},
		"faults of two kinds have the general reason": {map[string]string{"type": `"weather.changed"`, "id": ""}, event.ReasonInvalid, []string{"id", "type"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			e, err := event.ParseJSON(structured(t, tc.change))
			var fields []string
			for _, violation := range fault.ViolationsOf(err) {
				fields = append(fields, violation.Field)
			}
			if diff := cmp.Diff(tc.fields, fields); diff != "" || fault.KindOf(err) != fault.Invalid || fault.ReasonOf(err) != tc.reason {
				t.Errorf("%v%s", err, diff)
			}
			if e == nil || (e.Source == "" && tc.change["source"] != "") {
				t.Errorf("nothing to tell which event it was: %+v", e)
			}
		})
	}
}

func TestTheLargestAmountsPass(t *testing.T) {
	for _, amount := range []string{
		`{"currencyCode":"EUR","units":"9223372036","nanos":854775807}`, `{"currencyCode":"EUR","units":"-9223372036","nanos":-854775808}`,
		`{"currencyCode":"EUR"}`, `{"currencyCode":"EUR","nanos":-1}`,
	} {
		if _, err := event.ParseJSON(structured(t, map[string]string{"data": `{"net":` + amount + `}`})); err != nil {
			t.Errorf("%s: %v", amount, err)
		}
	}
}

func TestASubjectIsNeededOnlyToBeOrdered(t *testing.T) {
	if _, err := event.ParseJSON(structured(t, map[string]string{"type": `"billrun.failed"`, "subject": "", "data": `{}`})); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoEventAtAll(t *testing.T) {
	large := bytes.Repeat([]byte("x"), event.MaxBytes+1)
	structuredType := valuesOf(map[string]string{"content-type": event.ContentTypeCloudEvent})
	kafka := func(value []byte, contentType string) error {
		_, err := event.ParseKafka(stream.Record{Value: value, Headers: []stream.Header{{Key: "content-type", Value: []byte(contentType)}}})
		return err
	}
	http := func(body []byte) error { _, err := event.ParseHTTP(structuredType, body); return err }
	batch := func(body string) error { _, err := event.ParseBatch([]byte(body), 3, event.ParseJSON); return err }
	for name, tc := range map[string]struct {
		err    error
		reason string
	}{
		"kafka, bytes of something else":  {kafka([]byte("hello"), ""), event.ReasonUndecodable},
		"kafka, too large":                {kafka(large, ""), event.ReasonTooLarge},
		"kafka, a batch":                  {kafka([]byte("[]"), event.ContentTypeBatch), event.ReasonUndecodable},
		"kafka, structured that is cut":   {kafka([]byte(`{"id":`), event.ContentTypeCloudEvent), event.ReasonUndecodable},
		"kafka, a Protobuf CloudEvent":    {kafka([]byte("hello"), "application/cloudevents+protobuf"), event.ReasonUndecodable},
		"http, not JSON":                  {http([]byte("x")), event.ReasonUndecodable},
		"http, null":                      {http([]byte("null")), event.ReasonUndecodable},
		"http, too large":                 {http(large), event.ReasonTooLarge},
		"http, a batch that is an object": {batch("{}"), event.ReasonUndecodable},
		"http, a batch that is null":      {batch("null"), event.ReasonUndecodable},
		"http, a batch that is cut off":   {batch("[{}"), event.ReasonUndecodable},
		"http, binary with a bad per cent": {func() error {
			_, err := event.ParseHTTP(valuesOf(map[string]string{"ce-id": "%zz", "ce-specversion": "1.0"}), nil)
			return err
		}(), event.ReasonInvalid},
	} {
		if fault.KindOf(tc.err) != fault.Invalid || fault.ReasonOf(tc.err) != tc.reason {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
}

func TestOneBadEventOfABatchRefusesNoOther(t *testing.T) {
	good, bad := structured(t, nil), structured(t, map[string]string{"id": ""})
	parsed, err := event.ParseBatch([]byte("["+string(good)+","+string(bad)+",7,"+string(good)+"]"), 4, event.ParseJSON)
	if err != nil || len(parsed) != 4 {
		t.Fatal(len(parsed), err)
	}
	for i, wrong := range []bool{false, true, true, false} {
		if (parsed[i].Err != nil) != wrong {
			t.Errorf("event %d: %v", i, parsed[i].Err)
		}
	}
}

func TestATraceThatIsNoneIsDropped(t *testing.T) {
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
		headers := []stream.Header{{Key: "content-type", Value: []byte(contentType)}, {Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_type", Value: []byte(typ)}}
		for _, r := range []stream.Record{{Value: value}, {Value: value, Headers: headers}, {Value: value, Headers: headers[:1]}} {
			e, err := event.ParseKafka(r)
			if err != nil {
				if fault.KindOf(err) != fault.Invalid || len(fault.ViolationsOf(err)) == 0 {
					t.Fatalf("an error without its reason: %v", err)
				}
				continue
			}
			// What a door lets in can be stored, and read back as the same.
			record, err := e.Record("t")
			if err != nil && fault.ReasonOf(err) != event.ReasonTooLarge {
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

// Eight mebibytes of "0," took a gibibyte: each was judged before anybody counted.
func TestABatchOfTooManyIsRefusedBeforeAnyIsJudged(t *testing.T) {
	judged := 0
	parse := func([]byte) (*event.Event, error) { judged++; return nil, nil }
	for body, want := range map[string]string{
		"[" + strings.Repeat("0,", 1<<19) + "0]": event.ReasonBatchTooLarge,
		"[0,0,0,0]":                              event.ReasonBatchTooLarge,
		"[0,0,0":                                 event.ReasonUndecodable,
		"[0,0,0] 1":                              event.ReasonUndecodable,
		"[0,,0]":                                 event.ReasonUndecodable,
		"null":                                   event.ReasonUndecodable,
		"":                                       event.ReasonUndecodable,
	} {
		if parsed, err := event.ParseBatch([]byte(body), 3, parse); parsed != nil || fault.ReasonOf(err) != want {
			t.Errorf("%.20s: %v", body, err)
		}
	}
	if judged != 0 {
		t.Errorf("%d events of refused batches were judged", judged)
	}
	if parsed, err := event.ParseBatch([]byte(" [0, 0, 0] "), 3, parse); len(parsed) != 3 || err != nil || judged != 3 {
		t.Errorf("as many as are allowed: %d, %v", len(parsed), err)
	}
	if parsed, err := event.ParseBatch([]byte("[]"), 3, parse); len(parsed) != 0 || err != nil {
		t.Errorf("none: %v", err)
	}
}
