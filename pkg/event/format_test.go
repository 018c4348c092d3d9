package event_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Fields of data in io.cloudevents.v1.CloudEvent.
const (
	formatBinary protowire.Number = 6
	formatText   protowire.Number = 7
	formatProto  protowire.Number = 8
)

func field(b []byte, n protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(slices.Clip(b), n, protowire.BytesType), value)
}

// attributeOf is an entry of the map of attributes, whose value is field n.
func attributeOf(b []byte, name string, n protowire.Number, value string) []byte {
	return field(b, 5, string(field(field(nil, 1, name), 2, string(field(nil, n, value)))))
}

// inFormat is usage() in the Protobuf format of CloudEvents, with data of another type where one is given.
func inFormat(typ, datacontenttype string, kind protowire.Number, data []byte) stream.Record {
	e := usage()
	b := field(field(field(field(nil, 1, e.ID), 2, e.Source), 3, "1.0"), 4, typ)
	at, _ := protowireTime(e.Time)
	b = attributeOf(b, "time", 7, at)
	for name, value := range map[string]string{
		"subject": e.Subject, "tenant": e.Tenant, "correlation": e.Correlation, "traceparent": traceparent, "datacontenttype": datacontenttype,
	} {
		if value != "" {
			b = attributeOf(b, name, 3, value)
		}
	}
	b = attributeOf(b, "dataschema", 5, "https://example.org")
	b = field(b, kind, string(data))
	return stream.Record{Value: b, Headers: []stream.Header{{Key: "content-type", Value: []byte("application/cloudevents+protobuf")}}}
}

func protowireTime(at time.Time) (string, error) {
	p := timestamppb.New(at)
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(p.GetSeconds()))
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(p.GetNanos()))
	return string(b), nil
}

func TestParse_ProtobufFormatGivesTheSameEvent(t *testing.T) {
	want := usage()
	inJSON, err := protojson.Marshal(want.Data)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := anypb.New(want.Data)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]stream.Record{
		"data as JSON in bytes":              inFormat(want.Type, "application/json", formatBinary, inJSON),
		"data as JSON in a text":             inFormat(want.Type, "application/json", formatText, inJSON),
		"data as JSON in a text of no type":  inFormat(want.Type, "", formatText, inJSON),
		"data as Protobuf in bytes":          inFormat(want.Type, "application/protobuf", formatBinary, marshalled(t, want.Data)),
		"data as Protobuf by an older name":  inFormat(want.Type, "application/x-protobuf", formatBinary, marshalled(t, want.Data)),
		"data as a message":                  inFormat(want.Type, "", formatProto, marshalled(t, packed)),
		"data as a message that declares it": inFormat(want.Type, "application/protobuf", formatProto, marshalled(t, packed)),
	} {
		byKafka, err := event.ParseKafka(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		byHTTP, err := event.ParseHTTP(valuesOf(map[string]string{"content-type": "Application/CloudEvents+Protobuf; charset=x"}), r.Value)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, got := range []*event.Event{byKafka, byHTTP} {
			if got.Trace != traceparent {
				t.Errorf("%s: trace %q", name, got.Trace)
			}
			got.ReceivedAt = received
			if diff := cmp.Diff(want, got); diff != "" || got.Content() != want.Content() {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

func TestParse_ListsViolationsOfTheProtobufFormat(t *testing.T) {
	good := inFormat("usage.charged", "application/protobuf", formatBinary, marshalled(t, usage().Data)).Value
	packed := marshalled(t, &anypb.Any{TypeUrl: "type.googleapis.com/a.B"})
	for name, tc := range map[string]struct {
		value  []byte
		reason string
		fields []string
	}{
		"bytes of something else":     {[]byte("hello"), reason.Undecodable, []string{""}},
		"cut off":                     {good[:len(good)-1], reason.Undecodable, []string{""}},
		"an id that is not UTF-8":     {field(nil, 1, "\xff"), reason.Undecodable, []string{""}},
		"nothing":                     {nil, reason.EventInvalid, []string{"specversion", "id", "source", "tenant", "time", "data", "type"}},
		"an attribute twice":          {attributeOf(good, "tenant", 3, "b"), reason.Undecodable, []string{"tenant"}},
		"an id as an attribute too":   {attributeOf(good, "id", 3, "b"), reason.Undecodable, []string{"id"}},
		"a correlation that is bytes": {attributeOf(withoutCorrelation(good), "correlation", 4, "b"), reason.Undecodable, []string{"correlation"}},
		"bytes of no type":            {inFormat("usage.charged", "", formatBinary, nil).Value, reason.Undecodable, []string{"datacontenttype"}},
		"a text declared as bytes":    {inFormat("usage.charged", "application/protobuf", formatText, nil).Value, reason.Undecodable, []string{"data"}},
		"an unknown message":          {inFormat("usage.charged", "", formatProto, packed).Value, reason.UnknownData, []string{"data"}},
		"a message of another type":   {inFormat("subscriber.terminated", "", formatProto, marshalled(t, anyOf(t))).Value, reason.EventInvalid, []string{"data"}},
		"data in an unknown format":   {inFormat("usage.charged", "text/csv", formatBinary, []byte("a,b")).Value, reason.MediaTypeUnsupported, []string{"data"}},
	} {
		_, err := event.ParseKafka(stream.Record{Value: tc.value, Headers: []stream.Header{{Key: "content-type", Value: []byte("application/cloudevents+protobuf")}}})
		var fields []string
		for _, v := range fault.ViolationsOf(err) {
			fields = append(fields, v.Field)
		}
		if diff := cmp.Diff(tc.fields, fields); diff != "" || fault.ReasonOf(err) != tc.reason {
			t.Errorf("%s: %v%s", name, err, diff)
		}
	}
}

func anyOf(t *testing.T) *anypb.Any {
	t.Helper()
	packed, err := anypb.New(usage().Data)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// withoutCorrelation renames the attribute, to one of the same length that is not read.
func withoutCorrelation(value []byte) []byte {
	return []byte(strings.Replace(string(value), "correlation", "xorrelation", 1))
}

func TestParseTime_IsRFC3339(t *testing.T) {
	at := time.Date(2026, 11, 29, 3, 18, 16, 0, time.UTC)
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	for text, want := range map[string]time.Time{
		"2026-11-29T03:18:16Z": at, "2026-11-29t03:18:16z": at, "2026-11-29T03:18:16z": at, "2026-11-29t03:18:16Z": at,
		"2026-11-29T04:18:16+01:00": at, "2026-11-28t21:48:16-05:30": at, "2026-11-29T03:18:16+00:00": at, "2026-11-29T03:18:16-00:00": at,
		"2026-11-29T03:18:16.5Z": ms(500), "2026-11-29T03:18:16.123456789123456789z": ms(123), "2026-11-29T03:18:16.000Z": at,
		"2016-12-31T23:59:60Z": time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC), "2017-01-01T00:59:60.7+01:00": time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC),
		"1990-12-31T15:59:60-08:00": time.Date(1991, 1, 1, 0, 0, 0, 0, time.UTC), "2024-02-29T00:00:00Z": time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		"2026-11-29T03:18:16+23:59": at.Add(-23*time.Hour - 59*time.Minute),
	} {
		got, err := event.ParseTime(text)
		if err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		e, err := event.ParseJSON(structured(t, map[string]string{"time": `"` + text + `"`}))
		if err != nil || !e.Time.Equal(want) {
			t.Errorf("%s in a CloudEvent: %v", text, err)
		}
	}
	const example, offset = "such as 2026-11-29T03:18:16Z", "without one the time is not known"
	for text, want := range map[string]string{
		"2026-11-29T03:18:16": offset, "2026-11-29t03:18:16.5": offset,
		"1795922296": example, "yesterday": example, "2026-11-29": example, "2026-11-29 03:18:16Z": example, "2026-11-29T03:18:16 Z": example,
		"2026-11-29T03:18:16,5Z": example, "2026-11-29T03:18:16.Z": example, "2026-11-29T3:18:16Z": example, "2026-11-29T03:18Z": example,
		"2026-11-29T24:00:00Z": example, "2026-11-29T03:60:16Z": example, "2026-11-29T03:18:61Z": example, "2026-02-29T00:00:00Z": example,
		"2026-13-01T00:00:00Z": example, "2026-11-29T03:18:16+24:00": example, "2026-11-29T03:18:16+01:60": example, "2026-11-29T03:18:16+0100": example,
		"2026-11-29T03:18:60Z": example, "2026-11-29T23:59:60Z": example, "+2026-11-29T03:18:16Z": example, "20261129T031816Z": example,
		"2026-W48-7T03:18:16Z": example, "2026-11-29T03:18:16Z ": example, "２026-11-29T03:18:16Z": example,
	} {
		if got, err := event.ParseTime(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
