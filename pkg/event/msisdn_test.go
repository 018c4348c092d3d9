package event_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestMSISDN_HasOneSpelling(t *testing.T) {
	for text, want := range map[string]string{
		"34600100200": "34600100200", "+34600100200": "34600100200", "12345": "12345", "+12345": "12345", "123456789012345": "123456789012345",
		"": "", "+": "", "++34600100200": "", "1234": "", "1234567890123456": "", "0034600100200": "", "+0034600100200": "", "034600100": "",
		"tel:+34600100200": "", "34600100200 ": "", " 34600100200": "", "34 600 100 200": "", "346-001-002": "", "٣٤٦٠٠١٠٠٢٠٠": "", "3460010020a": "",
	} {
		if got, ok := event.MSISDN(text); got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v", text, got, ok)
		}
	}
}

// Two spellings were two subscribers: one counted to the limit, the other asked about and let through.
func TestParse_NormalizesTheMSISDNOfTheSubject(t *testing.T) {
	plain, plus := named(t, "34600100200"), named(t, "+34600100200")
	for typ, data := range ofSubscribers {
		for source, parse := range sources(t, typ, data) {
			a, err := parse(plain)
			if err != nil {
				t.Fatalf("%s by %s: %v", typ, source, err)
			}
			b, err := parse(plus)
			if err != nil {
				t.Errorf("%s by %s: %v", typ, source, err)
				continue
			}
			if a.Key() != b.Key() || b.Subject != "34600100200" || a.Identity() != b.Identity() ||
				a.Content() != b.Content() {
				t.Errorf("%s by %s: %q and %q", typ, source, a.Key(), b.Key())
			}
			for _, wrong := range []string{"0034600100200", "tel:+34600100200", "34600100200 ", "123", "client/42"} {
				e, err := parse(named(t, wrong))
				if typ == "usage.threshold_exceeded" {
					if err != nil || e.Subject != wrong {
						t.Errorf("%s by %s, which may be an account's: %v", typ, source, err)
					}
					continue
				}
				if got := fault.ViolationsOf(err); len(got) != 1 || got[0].Field != "subject" ||
					got[0].Description != event.FormMSISDN {
					t.Errorf("%s by %s of %q: %v", typ, source, wrong, err)
				}
			}
		}
	}
}

// ofSubscribers are types whose subject is a subscriber, with data in JSON.
var ofSubscribers = map[string]string{
	"usage.charged": `{"net":{"currencyCode":"EUR","units":"1"}}`, "usage.threshold_exceeded": `{}`,
	"subscriber.activated": `{"class_of_service":"roamer"}`, "subscriber.terminated": `{}`, "subscriber.suspended": `{}`, "subscriber.resumed": `{}`,
	"subscriber.msisdn_changed": `{"new_msisdn":"34600100201"}`, "subscriber.sim_swapped": `{}`, "subscriber.cos_changed": `{"class_of_service":"x"}`,
	"subscriber.roaming_changed": `{}`,
}

func named(t *testing.T, subject string) func(typ, data string) []byte {
	t.Helper()
	return func(typ, data string) []byte {
		return structured(t, map[string]string{"type": `"` + typ + `"`, "subject": `"` + subject + `"`, "data": data})
	}
}

// sources are ways of one event into ParseJSON, ParseKafka and ParseProto.
func sources(t *testing.T, typ, data string) map[string]func(make func(typ, data string) []byte) (*event.Event, error) {
	t.Helper()
	object := func(make func(typ, data string) []byte) []byte { return make(typ, data) }
	asProto := func(make func(typ, data string) []byte) *eventv1.Event {
		var fields struct{ Subject string }
		unmarshal(t, object(make), &fields)
		known, ok := event.Lookup(typ)
		if !ok {
			t.Fatal(typ)
		}
		e := usage()
		e.Type, e.Subject, e.Data = typ, fields.Subject, known.Data.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal([]byte(data), e.Data); err != nil {
			t.Fatal(err)
		}
		return e.Proto()
	}
	return map[string]func(make func(typ, data string) []byte) (*event.Event, error){
		"JSON": func(make func(typ, data string) []byte) (*event.Event, error) { return event.ParseJSON(object(make)) },
		"Kafka": func(make func(typ, data string) []byte) (*event.Event, error) {
			return event.ParseKafka(stream.Record{Value: marshalled(t, asProto(make))})
		},
		"gRPC": func(make func(typ, data string) []byte) (*event.Event, error) { return event.ParseProto(asProto(make)) },
	}
}

func TestParse_NormalizesTheNewMSISDN(t *testing.T) {
	parse := func(number string) (*event.Event, error) {
		return event.ParseJSON(structured(t, map[string]string{"type": `"subscriber.msisdn_changed"`,
			"data": `{"new_msisdn":"` + number + `"}`}))
	}
	e, err := parse("+34600100201")
	if err != nil || e.Data.(*eventv1.SubscriberMsisdnChanged).GetNewMsisdn() != "34600100201" {
		t.Errorf("%v %v", err, e)
	}
	for _, wrong := range []string{"", "0034600100201", "123", "x"} {
		_, err := parse(wrong)
		if got := fault.ViolationsOf(err); len(got) != 1 || got[0].Field != "data.new_msisdn" ||
			got[0].Description != event.FormMSISDN {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestIsCurrency_ISO4217(t *testing.T) {
	for code, want := range map[string]bool{
		"EUR": true, "GBP": true, "JPY": true, "VES": true, "MRU": true, "SLE": true, "XAF": true, "XDR": true,
		"": false, "eur": false, "EU": false, "EURO": false, "ABC": false, "DEM": false, "XXX": false, "XTS": false,
	} {
		if event.IsCurrency(code) != want {
			t.Errorf("%q", code)
		}
		_, err := event.ParseJSON(structured(t,
			map[string]string{"data": `{"net":{"currencyCode":"` + code + `","units":"1"}}`}))
		if (err == nil) != want || err != nil && (fault.ReasonOf(err) != reason.AmountInvalid ||
			!strings.Contains(err.Error(), "ISO 4217")) {
			t.Errorf("an amount in %q: %v", code, err)
		}
		if code == "" {
			continue
		}
		_, err = event.ParseJSON(structured(t, map[string]string{
			"type": `"invoice.posted"`, "subject": `"client/1"`, "data": `{"document":{"currency":"` + code + `"}}`,
		}))
		if (err == nil) != want {
			t.Errorf("a document in %q: %v", code, err)
		}
	}
}

// A producer could publish that a limit was lifted, or that an endpoint is dead.
func TestParse_RefusesReservedTypesAndSources(t *testing.T) {
	for _, typ := range event.Types() {
		switch typ.Entity {
		case "safeguard", "sms", "endpoint", "delivery", "hook", "notification":
			if !typ.Reserved {
				t.Errorf("%s may be published by producers", typ.Name)
			}
		default:
			if typ.Reserved {
				t.Errorf("%s may not be published by producers", typ.Name)
			}
		}
		p := usage().Proto()
		p.Type = typ.Name
		refused := func(err error) bool {
			for _, v := range fault.ViolationsOf(err) {
				if v.Field == "type" {
					return true
				}
			}
			return false
		}
		_, byProto := event.ParseProto(p)
		_, byKafka := event.ParseKafka(stream.Record{Value: marshalled(t, p)})
		_, byJSON := event.ParseJSON(structured(t, map[string]string{"type": `"` + typ.Name + `"`}))
		if refused(byProto) != typ.Reserved || refused(byKafka) != typ.Reserved || refused(byJSON) != typ.Reserved {
			t.Errorf("%s: %v, %v, %v", typ.Name, byProto, byKafka, byJSON)
		}
	}
	for source, reserved := range map[string]bool{
		"tollgate/safeguard": true, "tollgate/charge": true, "tollgate": true, "Tollgate/charge": true, "tollgate/": true,
		"tollgates": false, "my/tollgate": false, "urn:tollgate:x": false,
	} {
		_, err := event.ParseJSON(structured(t, map[string]string{"source": `"` + source + `"`}))
		if (err != nil) != reserved || reserved && fault.ReasonOf(err) != reason.TypeReserved {
			t.Errorf("source %q: %v", source, err)
		}
	}
}
