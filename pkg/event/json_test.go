package event_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Three usages whose ids were not UTF-8 became one id, and one was counted.
func TestParse_RefusesAmbiguousJSON(t *testing.T) {
	plain := string(structured(t, nil))
	envelope := func(id string) string { return strings.Replace(plain, `"id":"1"`, `"id":"`+id+`"`, 1) }
	data := func(text string) string {
		return strings.Replace(plain, `{"net":{"currencyCode":"EUR","units":"1"}}`, text, 1)
	}
	fields := `{"custom_fields":{"a":"` // of a Struct
	for name, tc := range map[string]struct{ object, data string }{
		"bytes that are not UTF-8":              {envelope("a\xff"), "{\"unit\":\"\xff\"}"},
		"half a character":                      {envelope("a\xc3"), "{\"unit\":\"\xc3\"}"},
		"a character longer than it needs":      {envelope("a\xc0\xa0"), "{\"unit\":\"\xc0\xa0\"}"},
		"the first of a surrogate pair":         {envelope(`a\ud800`), `{"unit":"\ud800"}`},
		"the second of a surrogate pair":        {envelope(`a\udc00`), `{"unit":"\udc00x"}`},
		"a pair the wrong way round":            {envelope(`\udc00\ud800`), `{"unit":"\udc00\ud800"}`},
		"the first twice":                       {envelope(`\ud800\ud800`), `{"unit":"\ud800\ud800"}`},
		"a name that is there twice":            {envelope(`a","id":"b`), `{"unit":"a","unit":"b"}`},
		"a name that is there twice, escaped":   {envelope(`a","\u0069d":"b`), `{"unit":"a","\u0075nit":"b"}`},
		"an attribute that is not read, twice":  {envelope(`a","x":"1","x":"2`), `{"net":{"units":"1","units":"2","currencyCode":"EUR"}}`},
		"bytes in a name":                       {envelope("a\",\"x\xff\":\"1"), "{\"\xff\":1}"},
		"half a pair in a name":                 {envelope(`a","x\ud800":"1`), `{"\ud800":1}`},
		"objects nested too deep":               {data(`{"a":` + strings.Repeat(`{"a":`, 200) + `1` + strings.Repeat(`}`, 201)), fields + `":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}`},
		"half a pair deep in a map of any kind": {data(`{"custom_fields":{"a":{"b":["\ud800"]}}}`), fields + `\ud800"}}`},
		"a name twice deep in such a map":       {data(`{"custom_fields":{"a":{"b":1,"b":2}}}`), fields + `b","a":"c"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			typ := "usage.charged"
			if strings.HasPrefix(tc.data, fields) {
				typ = "client.custom_fields_updated"
				tc.object = strings.Replace(tc.object, "usage.charged", typ, 1)
			}
			attributes := func(prefix string) map[string]string {
				return map[string]string{
					prefix + "specversion": "1.0", prefix + "id": "1", prefix + "source": "s", prefix + "type": typ,
					prefix + "tenant":  "acme",
					prefix + "subject": "447700900001", prefix + "time": "2026-03-01T10:00:00Z",
					"content-type": "application/json",
				}
			}
			record := stream.Record{Value: []byte(tc.data)}
			for k, v := range attributes("ce_") {
				record.Headers = append(record.Headers, stream.Header{Key: k, Value: []byte(v)})
			}
			whole := []stream.Header{{Key: "content-type", Value: []byte(event.ContentTypeCloudEvent)}}
			batch, err := event.ParseBatch([]byte("["+plain+","+tc.object+"]"), 2, event.ParseJSON)
			if err != nil || batch[0].Err != nil {
				t.Fatal(err, batch)
			}
			for source, err := range map[string]error{
				"a line of a file":            second(event.ParseJSON([]byte(tc.object))),
				"structured by Kafka":         second(event.ParseKafka(stream.Record{Value: []byte(tc.object), Headers: whole})),
				"structured by HTTP":          second(event.ParseHTTP(valuesOf(map[string]string{"content-type": event.ContentTypeCloudEvent}), []byte(tc.object))),
				"in a batch":                  batch[1].Err,
				"binary by Kafka":             second(event.ParseKafka(record)),
				"binary by HTTP":              second(event.ParseHTTP(valuesOf(attributes("ce-")), []byte(tc.data))),
				"JSON in data_base64":         second(event.ParseJSON(structured(t, map[string]string{"type": `"` + typ + `"`, "data": "", "data_base64": `"` + base64.StdEncoding.EncodeToString([]byte(tc.data)) + `"`}))),
				"text of the Protobuf format": second(event.ParseKafka(inFormat(typ, "application/json", formatBinary, []byte(tc.data)))),
			} {
				if fault.KindOf(err) != fault.Invalid || fault.ReasonOf(err) != reason.Undecodable {
					t.Errorf("%s: %v", source, err)
				}
			}
		})
	}
	for _, good := range []string{envelope(`a\ud83d\ude00`), envelope("a😀"), data(`{"unit":"\ud83d\ude00"}`)} {
		if _, err := event.ParseJSON([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

func second(_ *event.Event, err error) error { return err }
