package event_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

var at = time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)

// inbound is a record as a producer sent it, which was at an offset.
func inbound(value string) stream.Record {
	return stream.Record{
		Topic: "t.events.inbound", Partition: 3, Offset: 77, Key: []byte("acme/34600100200"), Value: []byte(value),
		Headers: []stream.Header{{Key: "ce_id", Value: []byte("u-1")},
			{Key: "content-type", Value: []byte("application/json")}},
	}
}

func parseRejected(t *testing.T, r stream.Record) event.Rejection {
	t.Helper()
	j, err := event.ParseRejected(r)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestResend_GivesTheRecordAsReceived(t *testing.T) {
	sent := inbound(`{"net":{}}`)
	j := parseRejected(t, event.Rejected("t.events.rejected", sent, event.Identity{}, "AMOUNT_MISSING",
		"net: is required", at))
	if j.Reason != "AMOUNT_MISSING" || j.Detail != "net: is required" || j.Topic != sent.Topic || j.Partition != 3 ||
		j.Offset != 77 || j.EventID != "u-1" {
		t.Errorf("read as %+v", j)
	}
	again, err := j.Resend("t.events.inbound", nil)
	want := stream.Record{Topic: "t.events.inbound", Partition: stream.AnyPartition, Key: sent.Key, Value: sent.Value,
		Headers: sent.Headers}
	if err != nil || !cmp.Equal(again, want) {
		t.Errorf("%v, %s", err, cmp.Diff(want, again))
	}
}

func TestResend_ReadsAnOversizedRecordFromItsTopic(t *testing.T) {
	sent := inbound(strings.Repeat("x", event.RejectedMax+1))
	j := parseRejected(t, event.Rejected("t.events.rejected", sent, event.Identity{}, "TOO_LARGE", "", at))
	if !j.Cut() {
		t.Fatal("it holds all of a value that is larger than the topic takes")
	}
	if _, err := j.Resend("t.events.inbound", nil); err == nil {
		t.Error("its beginning was sent as if it were all")
	}
	other := inbound("another record of a topic that was made anew")
	if _, err := j.Resend("t.events.inbound", &other); err == nil {
		t.Error("another record was sent under its name")
	}
	again, err := j.Resend("t.events.inbound", &sent)
	if err != nil || !bytes.Equal(again.Value, sent.Value) || len(again.Headers) != len(sent.Headers) {
		t.Errorf("%v, %d bytes", err, len(again.Value))
	}
}

func TestResend_RefusesReservedTypes(t *testing.T) {
	r := inbound("")
	r.Headers = []stream.Header{{Key: "ce_type", Value: []byte(event.TypeTransfer)}}
	j := parseRejected(t, event.Rejected("t.events.rejected", r, event.Identity{}, "TARGET_ACTIVE", "", at))
	if _, err := j.Resend("t.events.inbound", nil); err == nil {
		t.Error("a control record was sent to where ingest refuses it")
	}
}

func TestParseRejected_RefusesOtherRecords(t *testing.T) {
	if _, err := event.ParseRejected(inbound("{}")); err == nil {
		t.Error("a record without a reason was read as a rejection")
	}
}
