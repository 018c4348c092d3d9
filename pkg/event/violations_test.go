package event_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

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

func TestParseJSON_ListsEveryViolation(t *testing.T) {
	tests := map[string]struct {
		change map[string]string
		reason string
		fields []string
	}{
		"nothing but a type":                              {map[string]string{"id": "", "source": "", "tenant": "", "subject": "", "time": "", "data": ""}, reason.EventInvalid, []string{"id", "source", "tenant", "time", "data", "subject"}},
		"an unknown type, and only that":                  {map[string]string{"type": `"weather.changed"`}, reason.UnknownType, []string{"type"}},
		"no type":                                         {map[string]string{"type": ""}, reason.EventInvalid, []string{"type"}},
		"a type that is ours":                             {map[string]string{"type": `"safeguard.reached"`, "data": `{}`}, reason.TypeReserved, []string{"type"}},
		"a control record":                                {map[string]string{"type": `"system.tick"`, "data": `{}`}, reason.TypeReserved, []string{"type"}},
		"a command":                                       {map[string]string{"type": `"command.charge"`}, reason.TypeReserved, []string{"type"}},
		"a time that is none":                             {map[string]string{"time": `"yesterday"`}, reason.Undecodable, []string{"time"}},
		"a time past the year 9999":                       {map[string]string{"time": `"10000-01-01T00:00:00Z"`}, reason.Undecodable, []string{"time"}},
		"another version of CloudEvents":                  {map[string]string{"specversion": `"0.3"`}, reason.Undecodable, []string{"specversion"}},
		"an id that is a number":                          {map[string]string{"id": `1`}, reason.Undecodable, []string{"id"}},
		"an id that is too long":                          {map[string]string{"id": `"` + strings.Repeat("x", 257) + `"`}, reason.EventInvalid, []string{"id"}},
		"a source that is too long":                       {map[string]string{"source": `"` + strings.Repeat("x", 513) + `"`}, reason.EventInvalid, []string{"source"}},
		"a subject that is too long":                      {map[string]string{"subject": `"` + strings.Repeat("x", 257) + `"`}, reason.EventInvalid, []string{"subject"}},
		"a line break in an id":                           {map[string]string{"id": `"a\nb"`}, reason.EventInvalid, []string{"id"}},
		"a slash in the tenant":                           {map[string]string{"tenant": `"a/b"`}, reason.EventInvalid, []string{"tenant"}},
		"data of another shape":                           {map[string]string{"data": `{"colour":"red"}`}, reason.UnknownField, []string{"data.colour"}},
		"data that is no object":                          {map[string]string{"data": `7`}, reason.Undecodable, []string{"data"}},
		"data that is null":                               {map[string]string{"data": `null`}, reason.EventInvalid, []string{"data"}},
		"data twice":                                      {map[string]string{"data_base64": `"AA=="`}, reason.Undecodable, []string{"data"}},
		"data_base64 that is none":                        {map[string]string{"data": "", "data_base64": `"%"`}, reason.Undecodable, []string{"data"}},
		"data in an unknown format":                       {map[string]string{"data": "", "data_base64": `"AA=="`, "datacontenttype": `"text/csv"`}, reason.MediaTypeUnsupported, []string{"data"}},
		"data in Protobuf that is cut off":                {map[string]string{"data": "", "data_base64": `"Cg=="`, "datacontenttype": `"application/protobuf"`}, reason.Undecodable, []string{"data"}},
		"an amount past int64 nanos":                      {map[string]string{"data": `{"net":{"currencyCode":"EUR","units":"9223372036","nanos":854775808}}`}, reason.AmountInvalid, []string{"data.net.units"}},
		"an amount far past it":                           {map[string]string{"data": `{"net":{"currencyCode":"EUR","units":"9223372036854775807"}}`}, reason.AmountInvalid, []string{"data.net.units"}},
		"nanos of a whole unit":                           {map[string]string{"data": `{"net":{"currencyCode":"EUR","nanos":1000000000}}`}, reason.AmountInvalid, []string{"data.net.nanos"}},
		"nanos of the other sign":                         {map[string]string{"data": `{"net":{"currencyCode":"EUR","units":"1","nanos":-1}}`}, reason.AmountInvalid, []string{"data.net.nanos"}},
		"no currency":                                     {map[string]string{"data": `{"gross":{"units":"1"}}`}, reason.AmountInvalid, []string{"data.gross.currency_code"}},
		"net and gross in two currencies":                 {map[string]string{"data": `{"net":{"currencyCode":"EUR"},"gross":{"currencyCode":"GBP"}}`}, reason.AmountInvalid, []string{"data.gross.currency_code"}},
		"a correction of nothing":                         {map[string]string{"data": `{"corrects":{}}`}, reason.EventInvalid, []string{"data.corrects.id", "data.corrects.time"}},
		"a bill day that February may lack":               {map[string]string{"type": `"client.created"`, "subject": `"client/1"`, "data": `{"client":{"billDay":29}}`}, reason.EventInvalid, []string{"data.client.bill_day"}},
		"a bill day below the first":                      {map[string]string{"type": `"client.created"`, "subject": `"client/1"`, "data": `{"client":{"billDay":-1}}`}, reason.EventInvalid, []string{"data.client.bill_day"}},
		"an amount deep in another type's data":           {map[string]string{"type": `"account.created"`, "data": `{"account":{"balance":{"units":"1"}}}`}, reason.AmountInvalid, []string{"data.account.balance.currency_code"}},
		"violations of two kinds have the general reason": {map[string]string{"type": `"weather.changed"`, "id": ""}, reason.EventInvalid, []string{"id", "type"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			e, err := event.ParseJSON(structured(t, tc.change))
			var fields []string
			for _, violation := range fault.ViolationsOf(err) {
				fields = append(fields, violation.Field)
			}
			if diff := cmp.Diff(tc.fields, fields); diff != "" || fault.KindOf(err) != fault.Invalid ||
				fault.ReasonOf(err) != tc.reason {
				t.Errorf("%v%s", err, diff)
			}
			if e == nil || (e.Source == "" && tc.change["source"] != "") {
				t.Errorf("nothing names the event: %+v", e)
			}
		})
	}
}

func TestParseJSON_TakesTheLargestAmounts(t *testing.T) {
	for _, amount := range []string{
		`{"currencyCode":"EUR","units":"9223372036","nanos":854775807}`,
		`{"currencyCode":"EUR","units":"-9223372036","nanos":-854775808}`,
		`{"currencyCode":"EUR"}`, `{"currencyCode":"EUR","nanos":-1}`,
	} {
		if _, err := event.ParseJSON(structured(t, map[string]string{"data": `{"net":` + amount + `}`})); err != nil {
			t.Errorf("%s: %v", amount, err)
		}
	}
}

func TestParseJSON_UnorderedTypeNeedsNoSubject(t *testing.T) {
	if _, err := event.ParseJSON(structured(t, map[string]string{"type": `"billrun.failed"`, "subject": "",
		"data": `{}`})); err != nil {
		t.Error(err)
	}
}

func TestParse_RefusesWhatIsNoEvent(t *testing.T) {
	large := bytes.Repeat([]byte("x"), event.MaxBytes+1)
	structuredType := valuesOf(map[string]string{"content-type": event.ContentTypeCloudEvent})
	kafka := func(value []byte, contentType string) error {
		_, err := event.ParseKafka(stream.Record{Value: value,
			Headers: []stream.Header{{Key: "content-type", Value: []byte(contentType)}}})
		return err
	}
	http := func(body []byte) error { _, err := event.ParseHTTP(structuredType, body); return err }
	batch := func(body string) error { _, err := event.ParseBatch([]byte(body), 3, event.ParseJSON); return err }
	for name, tc := range map[string]struct {
		err    error
		reason string
	}{
		"kafka, bytes of something else":  {kafka([]byte("hello"), ""), reason.Undecodable},
		"kafka, too large":                {kafka(large, ""), reason.TooLarge},
		"kafka, a batch":                  {kafka([]byte("[]"), event.ContentTypeBatch), reason.Undecodable},
		"kafka, structured that is cut":   {kafka([]byte(`{"id":`), event.ContentTypeCloudEvent), reason.Undecodable},
		"kafka, a Protobuf CloudEvent":    {kafka([]byte("hello"), "application/cloudevents+protobuf"), reason.Undecodable},
		"http, not JSON":                  {http([]byte("x")), reason.Undecodable},
		"http, null":                      {http([]byte("null")), reason.Undecodable},
		"http, too large":                 {http(large), reason.TooLarge},
		"http, a batch that is an object": {batch("{}"), reason.Undecodable},
		"http, a batch that is null":      {batch("null"), reason.Undecodable},
		"http, a batch that is cut off":   {batch("[{}"), reason.Undecodable},
		"http, binary with a bad per cent": {func() error {
			_, err := event.ParseHTTP(valuesOf(map[string]string{"ce-id": "%zz", "ce-specversion": "1.0"}), nil)
			return err
		}(), reason.EventInvalid},
	} {
		if fault.KindOf(tc.err) != fault.Invalid || fault.ReasonOf(tc.err) != tc.reason {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
}
