package event_test

import (
	"fmt"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// An event in JSON is parsed once: its data is the message of its type.
func ExampleParseJSON() {
	e, err := event.ParseJSON([]byte(`{
		"specversion": "1.0",
		"id": "cdr-8f14e45f",
		"source": "mediation",
		"type": "usage.charged",
		"tenant": "acme",
		"subject": "+447700900001",
		"time": "2026-03-01T10:00:00.250+01:00",
		"data": {"net": {"currencyCode": "EUR", "units": "1", "nanos": 500000000}}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	usage := e.Data.(*eventv1.UsageCharged)
	fmt.Println(e.Key(), e.Type, e.Time.Format(event.TimeLayout))
	fmt.Println(usage.GetNet().GetUnits(), usage.GetNet().GetNanos(), usage.GetNet().GetCurrencyCode())
	// Output:
	// acme/447700900001 usage.charged 2026-03-01T09:00:00.250Z
	// 1 500000000 EUR
}

// The error of an invalid event has all its violations, and the event comes with it as far as it could be read.
func ExampleParseJSON_invalid() {
	e, err := event.ParseJSON([]byte(`{
		"specversion": "1.0",
		"id": "cdr-8f14e45f",
		"type": "usage.charged",
		"tenant": "acme/west",
		"subject": "447700900001",
		"time": "yesterday",
		"data": {"net": {"currencyCode": "EURO", "units": "1"}}
	}`))
	fmt.Println(fault.ReasonOf(err), "of", e.ID)
	for _, v := range fault.ViolationsOf(err) {
		fmt.Printf("%s: %s\n", v.Field, v.Description)
	}
	// Output:
	// EVENT_INVALID of cdr-8f14e45f
	// time: must be a time as of RFC 3339, such as 2026-11-29T03:18:16Z, is "yesterday"
	// source: is required
	// tenant: must not contain a slash
	// data.net.currency_code: must be a currency of ISO 4217, three capital letters such as EUR, is "EURO"
}

// An event becomes a record with its attributes in headers, and is read back from the record's value.
func ExampleEvent_Record() {
	e, err := event.ParseJSON([]byte(`{"specversion":"1.0","id":"run-7","source":"billing","type":"billrun.failed","tenant":"acme",
		"time":"2026-03-01T10:00:00Z","data":{}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	record, err := e.Record("tollgate.events.unordered")
	if err != nil {
		fmt.Println(err)
		return
	}
	id, _ := record.Header(event.HeaderID)
	back, err := event.Decode(record.Value)
	fmt.Println(string(id), back.Type, err)
	// Output:
	// run-7 billrun.failed <nil>
}
