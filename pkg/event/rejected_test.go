package event_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

func headersOf(r stream.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		if _, twice := m[h.Key]; twice {
			m[h.Key] = "twice!"
			continue
		}
		m[h.Key] = string(h.Value)
	}
	return m
}

func TestRejected_KeepsTheRecordAsReceived(t *testing.T) {
	in := stream.Record{Topic: "in", Partition: 3, Offset: 7, Key: []byte("k"), Value: []byte("v"),
		Headers: []stream.Header{
			{Key: "ce_id", Value: []byte("1")}, {Key: "tollgate-reason", Value: []byte("EARLIER")},
		}}
	out := event.Rejected("rejected", in, usage().Identity(), "BAD", "all of it", received)
	if out.Topic != "rejected" || string(out.Key) != "k" || string(out.Value) != "v" || !out.Time.Equal(received) {
		t.Errorf("%+v", out)
	}
	want := map[string]string{
		"ce_id": "1", "tollgate-reason": "BAD", "tollgate-detail": "all of it", "tollgate-topic": "in",
		"tollgate-partition": "3", "tollgate-offset": "7",
		"tollgate-rejected-id": event.Derive(usage().Identity(), "rejected", "in", "3", "7").String(),
	}
	if diff := cmp.Diff(want, headersOf(out)); diff != "" {
		t.Error(diff)
	}
}

func TestRejected_OversizedKeepsHash(t *testing.T) {
	long := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	for name, tc := range map[string]struct {
		in   stream.Record
		cut  bool
		rest int
	}{
		"as much as there may be": {stream.Record{Value: long(event.RejectedMax), Key: long(event.RejectedMaxRest)}, false, event.RejectedMaxRest},
		"a byte more of value":    {stream.Record{Value: long(event.RejectedMax + 1), Key: []byte("k")}, true, 1},
		"too long a header":       {stream.Record{Value: []byte("v"), Key: []byte("k"), Headers: []stream.Header{{Key: "h", Value: long(event.RejectedMaxRest)}}}, true, 1},
		"too long a key":          {stream.Record{Value: []byte("v"), Key: long(event.RejectedMaxRest + 1)}, true, event.RejectedMaxRest},
	} {
		out := event.Rejected("rejected", tc.in, event.Identity{}, "TOO_LARGE", strings.Repeat("y", 1<<20), received)
		h := headersOf(out)
		sum := sha256.Sum256(tc.in.Value)
		if _, cut := h[event.HeaderSHA256]; cut != tc.cut || cut &&
			h[event.HeaderSHA256] != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: cut %v", name, cut)
		}
		if tc.cut && (len(out.Value) != min(len(tc.in.Value), event.RejectedKept) || len(out.Key) != tc.rest) {
			t.Errorf("%s: value of %d, key of %d", name, len(out.Value), len(out.Key))
		}
		if len(h[event.HeaderDetail]) > 9<<10 {
			t.Errorf("%s: detail of %d", name, len(h[event.HeaderDetail]))
		}
	}
}

func TestRecord_CarriesAttributesInHeaders(t *testing.T) {
	e := usage()
	e.Trace = traceparent
	r, err := e.Record("tollgate.events.ordered")
	if err != nil {
		t.Fatal(err)
	}
	if r.Topic != "tollgate.events.ordered" || r.Partition != stream.AnyPartition ||
		string(r.Key) != "acme/447700900001" || !r.Time.Equal(received) {
		t.Errorf("%+v", r)
	}
	want := map[string]string{
		"ce_specversion": "1.0", "ce_id": "cdr-0001", "ce_type": "usage.charged", "ce_source": "mediation/1", "ce_subject": "447700900001", "ce_tenant": "acme", "ce_correlation": "tx-7",
		"ce_time": "2026-03-01T10:00:00.123Z", "ce_dataschema": "https://type.googleapis.com/tollgate.event.v1.Event",
		"content-type": "application/protobuf", "traceparent": traceparent,
	}
	if diff := cmp.Diff(want, headersOf(r)); diff != "" {
		t.Error(diff)
	}
	e.Type = "hook.failed"
	if r, err := e.Record("t"); err != nil || r.Key != nil {
		t.Errorf("unordered with the key %q: %v", r.Key, err)
	}
}

// CloudEvents' own SDK refuses a dataschema without a scheme.
func TestRecord_SchemaIsTakenByCloudEvents(t *testing.T) {
	e := usage()
	r, err := e.Record("tollgate.events.ordered")
	if err != nil {
		t.Fatal(err)
	}
	var ce cloudevents.EventContextV1
	if err := ce.SetDataSchema(headersOf(r)[event.HeaderDataSchema]); err != nil {
		t.Error(err)
	}
	if u := ce.DataSchema; u == nil || !u.IsAbs() {
		t.Errorf("%v is no absolute URI", u)
	}
	// A record of ours that comes in again, as it is written now and as it was.
	for _, schema := range []string{event.SchemaEvent, "type.googleapis.com/tollgate.event.v1.Event"} {
		for i := range r.Headers {
			if r.Headers[i].Key == event.HeaderDataSchema {
				r.Headers[i].Value = []byte(schema)
			}
		}
		if got, err := event.ParseKafka(r); err != nil || got.ID != e.ID {
			t.Errorf("mirrored with %s: %v", schema, err)
		}
	}
}

func TestRejectedBatch_KeepsItsOffsets(t *testing.T) {
	d := &stream.DamagedError{Topic: "in", Partition: 3, First: 17, Next: 57, Reason: reason.BatchTooLarge,
		Detail: "too much", Raw: bytes.Repeat([]byte("x"), event.RejectedKept+1)}
	out := event.RejectedBatch("rejected", d, received)
	got := map[string]string{}
	for _, h := range out.Headers {
		got[h.Key] = string(h.Value)
	}
	if len(out.Value) != event.RejectedKept || got[event.HeaderOffset] != "17" || got[event.HeaderLastOffset] != "56" ||
		got[event.HeaderPartition] != "3" ||
		got[event.HeaderTopic] != "in" || got[event.HeaderReason] != reason.BatchTooLarge ||
		got[event.HeaderSize] != "65537" || len(got[event.HeaderSHA256]) != 64 {
		t.Errorf("%d bytes, %v", len(out.Value), got)
	}
}
