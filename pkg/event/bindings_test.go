package event_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// binary are the attributes of an event in binary mode, with a prefix, changed by pairs of names and values; an empty
// value takes one away, and a name with a colon before it is a header as given.
func binary(prefix string, pairs ...string) [][2]string {
	all := map[string]string{
		"specversion": "1.0", "id": "1", "source": "s", "type": "client.created", "tenant": "acme", "subject": "client/1",
		"time": "2026-03-01T10:00:00Z", ":content-type": "application/json",
	}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	var headers [][2]string
	for name, value := range all {
		if plain, ok := strings.CutPrefix(name, ":"); ok && value != "" {
			headers = append(headers, [2]string{plain, value})
		} else if value != "" {
			headers = append(headers, [2]string{prefix + name, value})
		}
	}
	return headers
}

func byKafka(value string, headers ...[2]string) (*event.Event, error) {
	r := stream.Record{Value: []byte(value)}
	for _, h := range headers {
		r.Headers = append(r.Headers, stream.Header{Key: h[0], Value: []byte(h[1])})
	}
	return event.ParseKafka(r)
}

func byHTTP(body string, headers ...[2]string) (*event.Event, error) {
	all := http.Header{}
	for _, h := range headers {
		all.Add(h[0], h[1])
	}
	return event.ParseHTTP(all.Values, []byte(body))
}

func typed(contentType string) [2]string { return [2]string{"content-type", contentType} }

// Each sentence with a MUST for a receiver in the bindings of CloudEvents 1.0.2, and what producers get wrong in
// them.
func TestParse_CloudEventsBindings(t *testing.T) {
	whole := string(structured(t, map[string]string{"type": `"client.created"`, "subject": `"client/1"`, "data": `{}`}))
	member := func(pairs ...string) string {
		change := map[string]string{"type": `"client.created"`, "subject": `"client/1"`, "data": `{}`}
		for i := 0; i < len(pairs); i += 2 {
			change[pairs[i]] = pairs[i+1]
		}
		return string(structured(t, change))
	}
	const taken = ""
	const framed = "\x00\x00\x00\x00\x07"
	inProtobuf := string(marshalled(t, usage().Proto()))
	for name, tc := range map[string]struct {
		parse func(string, ...[2]string) (*event.Event, error)
		value string
		with  [][2]string
		// want is part of the one violation; taken where there is none. reason where it is not UNDECODABLE.
		want, reason string
	}{
		// JSON format.
		"a null attribute is one that is not there":         {byHTTP, member("correlation", "null"), [][2]string{typed(event.ContentTypeCloudEvent)}, taken, ""},
		"a null attribute that must be there":               {byHTTP, member("id", "null"), [][2]string{typed(event.ContentTypeCloudEvent)}, "id: is required", reason.EventInvalid},
		"names of members are compared to the letter":       {byHTTP, member("id", "", "ID", `"1"`), [][2]string{typed(event.ContentTypeCloudEvent)}, "id: is required", reason.EventInvalid},
		"extensions of every type of JSON are let be":       {byHTTP, member("comexampleone", "5", "comexampletwo", "true"), [][2]string{typed(event.ContentTypeCloudEvent)}, taken, ""},
		"an attribute that is a number":                     {byHTTP, member("tenant", "5"), [][2]string{typed(event.ContentTypeCloudEvent)}, "tenant: must be a string", ""},
		"data of a subtype json":                            {byHTTP, member("datacontenttype", `"text/json"`), [][2]string{typed(event.ContentTypeCloudEvent)}, taken, ""},
		"data of any type whose subtype is json":            {byHTTP, member("datacontenttype", `"model/json; v=1"`), [][2]string{typed(event.ContentTypeCloudEvent)}, taken, ""},
		"data of a format that ends with json":              {byHTTP, member("datacontenttype", `"Application/Vnd.X+JSON"`), [][2]string{typed(event.ContentTypeCloudEvent)}, taken, ""},
		"data that is a text is no document in it":          {byHTTP, member("data", `"{}"`), [][2]string{typed(event.ContentTypeCloudEvent)}, "data: must be a tollgate.event.v1.ClientChanged", ""},
		"data_base64 is bytes of the declared type":         {byHTTP, member("data", "", "data_base64", `"e30="`), [][2]string{typed(event.ContentTypeCloudEvent)}, taken, ""},
		"data_base64 in base64 for URLs":                    {byHTTP, member("data", "", "data_base64", `"-_-_"`), [][2]string{typed(event.ContentTypeCloudEvent)}, "data_base64 must be a string of base64", ""},
		"data and data_base64":                              {byHTTP, member("data_base64", `"e30="`), [][2]string{typed(event.ContentTypeCloudEvent)}, "must not be there beside data_base64", ""},
		"a text with a control character of the second row": {byHTTP, member("id", `"a\u0085b"`), [][2]string{typed(event.ContentTypeCloudEvent)}, "id: must not contain control characters", reason.EventInvalid},
		"a text with a code point that is no character":     {byHTTP, member("id", `"a\ufdd0b"`), [][2]string{typed(event.ContentTypeCloudEvent)}, "id: must not contain control characters", reason.EventInvalid},
		"something behind the object":                       {byHTTP, whole + "{}", [][2]string{typed(event.ContentTypeCloudEvent)}, "must be a CloudEvent as a JSON object", ""},
		// HTTP binding.
		"structured mode is known by its type, in any case": {byHTTP, whole, [][2]string{typed("Application/CloudEvents+JSON; charset=UTF-8")}, taken, ""},
		"headers beside structured mode are not read":       {byHTTP, whole, append(binary("ce-", "id", "2", ":content-type", ""), typed(event.ContentTypeCloudEvent)), taken, ""},
		"another format of CloudEvents":                     {byHTTP, whole, [][2]string{typed("application/cloudevents+avro")}, "content-type: \"application/cloudevents+avro\" is not taken", reason.MediaTypeUnsupported},
		"no format of CloudEvents":                          {byHTTP, whole, [][2]string{typed("application/cloudevents")}, "is not taken", reason.MediaTypeUnsupported},
		"binary mode":                                       {byHTTP, "{}", binary("ce-"), taken, ""},
		"names of headers are read in any case":             {byHTTP, "{}", binary("CE-"), taken, ""},
		"a type of content in a header of its own":          {byHTTP, "{}", binary("ce-", "datacontenttype", "application/json"), "datacontenttype: must not be sent", ""},
		"per cents are decoded once":                        {byHTTP, "{}", binary("ce-", "correlation", "Euro%20%E2%82%AC%20%f0%9f%98%80%2541"), taken, ""},
		"what needs no per cent may have one":               {byHTTP, "{}", binary("ce-", "id", "%31"), taken, ""},
		"per cents that are not UTF-8":                      {byHTTP, "{}", binary("ce-", "correlation", "%C0%A0"), "correlation: must be percent-encoded UTF-8", ""},
		"a per cent of nothing":                             {byHTTP, "{}", binary("ce-", "correlation", "100%"), "correlation: must be percent-encoded UTF-8", ""},
		"a string in double quotes":                         {byHTTP, "{}", binary("ce-", "id", `"1"`), taken, ""},
		"a string in double quotes with escapes":            {byHTTP, "{}", binary("ce-", "correlation", `"a \"b\" \\ %20"`), taken, ""},
		"a header that is there twice":                      {byHTTP, "{}", append(binary("ce-"), [2]string{"ce-id", "2"}), "id: must not be there twice", ""},
		"data in an unknown format":                         {byHTTP, "a,b", binary("ce-", ":content-type", "text/csv"), "is not taken", reason.MediaTypeUnsupported},
		"data as Protobuf by its older names":               {byHTTP, "", binary("ce-", ":content-type", "application/x-protobuf"), taken, ""},
		"data as Protobuf by Google's name":                 {byHTTP, "", binary("ce-", ":content-type", "application/vnd.google.protobuf"), taken, ""},
		"a whole CloudEvent as plain JSON":                  {byHTTP, whole, [][2]string{typed("application/json")}, "content-type: must be application/cloudevents+json", ""},
		"a whole CloudEvent of no type":                     {byHTTP, " \r\n" + whole, nil, "content-type: must be application/cloudevents+json", ""},
		"a batch as plain JSON":                             {byHTTP, "[" + whole + "]", [][2]string{typed("application/json")}, "content-type: must be application/cloudevents-batch+json", ""},
		"a form":                                            {byHTTP, "a=b", [][2]string{typed("application/x-www-form-urlencoded")}, "is not taken", reason.MediaTypeUnsupported},
		"attributes as Kafka spells them":                   {byHTTP, "{}", binary("ce_"), "begin with ce-, not with ce_", ""},
		"nothing at all":                                    {byHTTP, "", nil, "must be a CloudEvent", ""},
		// Kafka binding.
		"kafka: structured mode is known by its type":         {byKafka, whole, [][2]string{typed("APPLICATION/cloudevents+json")}, taken, ""},
		"kafka: another format of CloudEvents":                {byKafka, whole, [][2]string{typed("application/cloudevents+avro")}, "is not taken", reason.MediaTypeUnsupported},
		"kafka: a batch, which the binding does not have":     {byKafka, "[" + whole + "]", [][2]string{typed(event.ContentTypeBatch)}, "must be one CloudEvent", ""},
		"kafka: binary mode":                                  {byKafka, "{}", binary("ce_"), taken, ""},
		"kafka: no data is no value":                          {byKafka, "", binary("ce_"), "data: is required", reason.EventInvalid},
		"kafka: no data in Protobuf is an empty message":      {byKafka, "", binary("ce_", ":content-type", "application/protobuf"), taken, ""},
		"kafka: data as Protobuf by its older name":           {byKafka, "", binary("ce_", ":content-type", "application/x-protobuf"), taken, ""},
		"kafka: data as Protobuf by Google's name":            {byKafka, "", binary("ce_", ":content-type", "application/vnd.google.protobuf"), taken, ""},
		"kafka: an Event by the older name":                   {byKafka, inProtobuf, [][2]string{typed("application/x-protobuf")}, taken, ""},
		"kafka: an Event by Google's name":                    {byKafka, inProtobuf, [][2]string{typed("application/vnd.google.protobuf")}, taken, ""},
		"kafka: a header that is not UTF-8":                   {byKafka, "{}", binary("ce_", "correlation", "\xff"), "correlation: must be UTF-8", reason.EventInvalid},
		"kafka: per cents are not decoded":                    {byKafka, "{}", binary("ce_", "id", "100%"), taken, ""},
		"kafka: a header that is there twice":                 {byKafka, "{}", append(binary("ce_"), [2]string{"ce_id", "2"}), "id: must not be there twice", ""},
		"kafka: a whole CloudEvent of no type":                {byKafka, whole, nil, "content-type: must be application/cloudevents+json", ""},
		"kafka: a whole CloudEvent behind a byte-order mark":  {byKafka, "\xef\xbb\xbf" + whole, nil, "content-type: must be application/cloudevents+json", ""},
		"kafka: a whole CloudEvent as plain JSON":             {byKafka, whole, [][2]string{typed("application/json")}, "content-type: must be application/cloudevents+json", ""},
		"kafka: a batch of no type":                           {byKafka, "[" + whole + "]", nil, "must be one CloudEvent", ""},
		"kafka: contentType":                                  {byKafka, inProtobuf, [][2]string{{"contentType", "application/protobuf"}}, `content-type: must be spelt so, is "contentType"`, ""},
		"kafka: Content-Type":                                 {byKafka, inProtobuf, [][2]string{{"Content-Type", "application/protobuf"}}, `content-type: must be spelt so, is "Content-Type"`, ""},
		"kafka: contentType beside the right one":             {byKafka, whole, [][2]string{typed(event.ContentTypeCloudEvent), {"contentType", "text/plain"}}, taken, ""},
		"kafka: contentType in binary mode":                   {byKafka, "{}", binary("ce_", ":content-type", "", ":contentType", "application/json"), `content-type: must be spelt so, is "contentType"`, ""},
		"kafka: ce_datacontenttype":                           {byKafka, "{}", binary("ce_", ":content-type", "", "datacontenttype", "application/json"), "content-type: must be spelt so", ""},
		"kafka: one attribute as HTTP spells it":              {byKafka, "{}", binary("ce_", "correlation", "", ":ce-correlation", "c"), `ce_correlation: must be spelt so, is "ce-correlation"`, ""},
		"kafka: an Event framed by a schema registry":         {byKafka, framed + "\x00" + inProtobuf, nil, "as what a serializer of a schema registry writes", ""},
		"kafka: data framed by a schema registry":             {byKafka, framed + "{}", binary("ce_"), "as what a serializer of a schema registry writes", ""},
		"kafka: data in Protobuf framed by a schema registry": {byKafka, framed + "\x00", binary("ce_", ":content-type", "application/protobuf"), "as what a serializer of a schema registry writes", ""},
		"kafka: a CloudEvent framed by a schema registry":     {byKafka, framed + whole, [][2]string{typed(event.ContentTypeCloudEvent)}, "as what a serializer of a schema registry writes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tc.parse(tc.value, tc.with...)
			if tc.want == taken {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want := tc.reason
			if want == "" {
				want = reason.Undecodable
			}
			if got := fault.ViolationsOf(err); len(got) != 1 || !strings.Contains(got[0].String(), tc.want) || fault.ReasonOf(err) != want {
				t.Errorf("want %q, got %v", tc.want, err)
			}
		})
	}
}

func TestParseKafka_NamesEachAttributeSpeltAsInHTTP(t *testing.T) {
	_, err := byKafka("{}", binary("ce-")...)
	if got := fault.ViolationsOf(err); len(got) != 7 || fault.ReasonOf(err) != reason.Undecodable || !strings.Contains(err.Error(), "headers that begin with ce_") {
		t.Errorf("%v", err)
	}
}

func TestParseHTTP_DecodesHeadersOnce(t *testing.T) {
	for sent, want := range map[string]string{
		`Euro%20%E2%82%AC%20%f0%9f%98%80%2541`: "Euro € 😀%41", `"a \"b\" \\ %20"`: `a "b" \  `, `"`: `"`, `a "b"`: `a "b"`, `""`: "",
	} {
		e, err := byHTTP("{}", binary("ce-", "correlation", sent)...)
		if err != nil || e.Correlation != want {
			t.Errorf("%s: %v %q", sent, err, e.Correlation)
		}
	}
}

// A record of a million headers was compared with itself.
func TestParseKafka_ReadsManyHeadersOnce(t *testing.T) {
	r := stream.Record{Value: []byte("{}")}
	for range 200_000 {
		r.Headers = append(r.Headers, stream.Header{Key: "ce_id", Value: []byte("1")}, stream.Header{Key: "ce-id", Value: []byte("1")})
	}
	if _, err := event.ParseKafka(r); len(fault.ViolationsOf(err)) > 10 {
		t.Errorf("%d violations", len(fault.ViolationsOf(err)))
	}
}

func TestParseKafka_EventThatBeginsLikeJSONIsAnEvent(t *testing.T) {
	for n := 1; n <= event.MaxID; n++ {
		e := usage()
		e.ID = strings.Repeat("{", n)
		if got, err := byKafka(string(marshalled(t, e.Proto()))); err != nil || got.ID != e.ID {
			t.Errorf("an id of %d bytes: %v", n, err)
		}
	}
}
