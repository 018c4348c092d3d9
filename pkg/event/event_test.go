package event_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func init() {
	event.RegisterControl(&controlv1.Tick{}, &controlv1.ChargeCommand{}, &controlv1.ChangeCommand{})
}

var (
	happened = time.Date(2026, 3, 1, 10, 0, 0, 123e6, time.UTC)
	received = time.Date(2026, 3, 1, 10, 0, 1, 456e6, time.UTC)
)

func usage() *event.Event {
	return &event.Event{
		ID: "cdr-0001", Source: "mediation/1", Type: "usage.charged", Tenant: "acme", Subject: "447700900001",
		Time: happened, ReceivedAt: received, Correlation: "tx-7",
		Data: &eventv1.UsageCharged{
			Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true,
			Net:      &money.Money{CurrencyCode: "EUR", Units: 1, Nanos: 250_000_000},
			Gross:    &money.Money{CurrencyCode: "EUR", Units: 1, Nanos: 500_000_000},
			Quantity: 1 << 20, Unit: "byte", VisitedCountry: "FR",
		},
	}
}

func TestEncode_IsDecodedToTheSame(t *testing.T) {
	custom, err := structpb.NewStruct(map[string]any{"b": 1.0, "a": []any{"x", true}})
	if err != nil {
		t.Fatal(err)
	}
	events := map[string]*event.Event{
		"usage":                  usage(),
		"the smallest":           {ID: "1", Source: "s", Type: "subscriber.terminated", Tenant: "t", Data: &eventv1.SubscriberTerminated{}},
		"a custom type's Struct": {ID: "1", Source: "s", Type: "weather.changed", Tenant: "t", Subject: "x", Time: happened, Data: custom},
		"before 1970":            {ID: "1", Source: "s", Type: "usage.charged", Tenant: "t", Subject: "x", Time: time.UnixMilli(-1).UTC(), Data: &eventv1.UsageCharged{}},
		"the epoch":              {ID: "1", Source: "s", Type: "usage.charged", Tenant: "t", Subject: "x", Time: time.UnixMilli(0).UTC(), Data: &eventv1.UsageCharged{}},
		"longer than a scratch":  {ID: string(make([]byte, 300)), Source: "s", Type: "x", Tenant: "t", Time: happened, Data: &controlv1.Tick{Time: timestamppb.New(happened)}},
	}
	for name, e := range events {
		t.Run(name, func(t *testing.T) {
			b, err := e.Encode([]byte("before"))
			if err != nil {
				t.Fatal(err)
			}
			if string(b[:6]) != "before" {
				t.Error("Encode has changed what was there")
			}
			b = b[6:]
			got, err := event.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, got); diff != "" {
				t.Error(diff)
			}
			if got.Content() != e.Content() || got.Identity() != e.Identity() || got.Key() != e.Key() {
				t.Error("content, identity or key differ after the way over the wire")
			}
			if !got.Time.Equal(e.Time) || !got.ReceivedAt.Equal(e.ReceivedAt) {
				t.Errorf("times %v %v", got.Time, got.ReceivedAt)
			}

			// The same bytes that proto.Marshal makes of the generated message.
			want, err := proto.MarshalOptions{Deterministic: true}.Marshal(e.Proto())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, b); diff != "" {
				t.Error("not what proto.Marshal makes:", diff)
			}
		})
	}
}

func TestEncode_CutsTimesToMilliseconds(t *testing.T) {
	e := usage()
	e.Time = e.Time.Add(999_999)
	b, err := e.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := event.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Time.Equal(happened) || got.Content() != usage().Content() {
		t.Errorf("%v", got.Time)
	}
}

func TestEncode_RefusesAnEventWithoutData(t *testing.T) {
	e := usage()
	e.Data = nil
	if _, err := e.Encode(nil); err == nil {
		t.Error("no error")
	}
}

func TestContent_DistinguishesARepeatFromAReusedID(t *testing.T) {
	base := usage()
	again := usage()
	again.ReceivedAt = again.ReceivedAt.Add(time.Hour)
	again.Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if base.Content() != again.Content() {
		t.Error("received again later, the content is another")
	}
	if d := decoded(t, again); d.Content() != base.Content() {
		t.Error("decoded, the content is another")
	}
	for name, change := range map[string]func(*event.Event){
		"time":        func(e *event.Event) { e.Time = e.Time.Add(time.Millisecond) },
		"subject":     func(e *event.Event) { e.Subject = "447700900002" },
		"correlation": func(e *event.Event) { e.Correlation = "tx-8" },
		"type":        func(e *event.Event) { e.Type = "usage.threshold_exceeded" },
		"amount":      func(e *event.Event) { e.Data.(*eventv1.UsageCharged).Net.Nanos++ },
	} {
		other := usage()
		change(other)
		if other.Content() == base.Content() || decoded(t, other).Content() == base.Content() {
			t.Errorf("another %s, the same content", name)
		}
	}
}

// A repeat is the same event in every field that a producer sends. The same id with other content is a fault of the
// producer's, but not where it is of another tenant, source or subject: each of those numbers as it likes.
func TestContent_TwoEventsOfOneID(t *testing.T) {
	type pair struct{ event, content bool }
	repeat, reused, another := pair{true, true}, pair{true, false}, pair{false, false}
	base := usage()
	for name, row := range map[string]struct {
		change func(*event.Event)
		want   pair
	}{
		"the same":         {func(*event.Event) {}, repeat},
		"received later":   {func(e *event.Event) { e.ReceivedAt = e.ReceivedAt.Add(time.Hour) }, repeat},
		"traced otherwise": {func(e *event.Event) { e.Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" }, repeat},
		"another time":     {func(e *event.Event) { e.Time = e.Time.Add(time.Millisecond) }, reused},
		"another type":     {func(e *event.Event) { e.Type = "usage.threshold_exceeded" }, reused},
		"other data":       {func(e *event.Event) { e.Data.(*eventv1.UsageCharged).Net.Nanos++ }, reused},
		"another cause":    {func(e *event.Event) { e.Correlation = "tx-8" }, reused},
		"another tenant":   {func(e *event.Event) { e.Tenant = "umbrella" }, another},
		"another source":   {func(e *event.Event) { e.Source = "mediation/2" }, another},
		"another subject":  {func(e *event.Event) { e.Subject = "447700900002" }, another},
	} {
		e := usage()
		row.change(e)
		for _, got := range []*event.Event{e, decoded(t, e)} {
			same := pair{got.Identity() == base.Identity(), got.Content() == base.Content()}
			if name == "another tenant" || name == "another source" { // the content of another event is not compared
				same.content = false
			}
			if same != row.want {
				t.Errorf("%s: %+v, want %+v", name, same, row.want)
			}
			if d := event.Derive(got.Identity(), "data", "alert", "40") == event.Derive(base.Identity(), "data",
				"alert", "40"); d != row.want.event {
				t.Errorf("%s: what follows has the same id: %t", name, d)
			}
		}
	}
}

func TestContent_OfACommandIsTypeAndData(t *testing.T) {
	charge := func(change func(*event.Event)) *event.Event {
		e := &event.Event{
			ID: "ref-1", Source: "tollgate/safeguard", Type: "command.charge", Tenant: "acme", Subject: "447700900001",
			Time: happened, ReceivedAt: received, Correlation: "ref-1",
			Data: &controlv1.ChargeCommand{Amount: &money.Money{CurrencyCode: "GBP", Units: 5},
				Description: "a ticket"},
		}
		if change != nil {
			change(e)
		}
		return e
	}
	base := charge(nil)
	again := charge(func(e *event.Event) {
		e.Time, e.ReceivedAt, e.Correlation, e.Subject = e.Time.Add(time.Second), received.Add(time.Hour), "", "447700900002"
	})
	for _, e := range []*event.Event{again, decoded(t, base), decoded(t, again)} {
		if e.Content() != base.Content() {
			t.Error("asked again later, the content is another")
		}
	}
	for name, change := range map[string]func(*event.Event){
		"type":   func(e *event.Event) { e.Type = "command.change" },
		"amount": func(e *event.Event) { e.Data = &controlv1.ChargeCommand{Description: "a ticket"} },
		"data":   func(e *event.Event) { e.Data = &controlv1.ChangeCommand{} },
	} {
		other := charge(change)
		if other.Content() == base.Content() || decoded(t, other).Content() == base.Content() {
			t.Errorf("another %s, the same content", name)
		}
	}
}

func TestIdentity_DependsOnTenantSourceSubjectAndIDAlone(t *testing.T) {
	seen := map[event.Identity]string{}
	for name, e := range map[string]*event.Event{
		"plain":                       {Tenant: "a", Source: "b", ID: "c"},
		"a byte moved to the source":  {Tenant: "a", Source: "bc", ID: ""},
		"a byte moved to the tenant":  {Tenant: "ab", Source: "", ID: "c"},
		"a length inside a field":     {Tenant: "a", Source: "b\x01c", ID: ""},
		"another tenant":              {Tenant: "x", Source: "b", ID: "c"},
		"another subject":             {Tenant: "a", Source: "b", Subject: "d", ID: "c"},
		"a byte moved to the subject": {Tenant: "a", Source: "", Subject: "b", ID: "c"},
		"longer than the scratch":     {Tenant: "a", Source: string(make([]byte, 600)), ID: "c"},
		"longer, another id after it": {Tenant: "a", Source: string(make([]byte, 600)), ID: "d"},
	} {
		if other, taken := seen[e.Identity()]; taken {
			t.Errorf("%q and %q have the same identity", name, other)
		}
		seen[e.Identity()] = name
	}
	id := usage().Identity()
	parts := map[event.Identity]bool{
		id: true, event.Reference("acme", "mediation/1", "cdr-0001"): true, event.Derive(id): true,
		event.Derive(id, "a", "b"): true, event.Derive(id, "ab"): true,
		event.Derive(id, "a", "b", ""): true, event.TimerIdentity("acme", "447700900001", "renewal", happened): true,
		event.TimerIdentity("acme", "447700900001", "renewal", received): true,
	}
	if len(parts) != 8 {
		t.Error("two derived identities are the same")
	}
}

// What is in records of state and in ids of outcomes must never change.
func TestIdentity_NeverChanges(t *testing.T) {
	id := usage().Identity()
	got := []string{id.String(), event.Derive(id, "data", "alert", "40").String(),
		event.TimerIdentity("acme", "447700900001", "data", happened).String(), event.Reference("acme", "mediation/1",
			"cdr-0001").String()}
	want := []string{"5a7cfbaa86fea07fa7c44d043bddcc1c", "7812c37bcc4b08cc587e85ce3ed9af3d",
		"1c1fd35cd624e96dd510871c2380e14b", "e3d420ab1192b1a52bf7fd83f6a31bc4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func decoded(t *testing.T, e *event.Event) *event.Event {
	t.Helper()
	b, err := e.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := event.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
