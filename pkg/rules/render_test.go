package rules

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 14, 12, 0, 0, 123_000_000, time.UTC)

func eur(units int64, nanos int32) *money.Money {
	return &money.Money{CurrencyCode: "EUR", Units: units, Nanos: nanos}
}

// alert is a safeguard.alert as the safeguard says it.
func alert() *event.Event {
	return &event.Event{
		ID: "9f2c4d5e6f708192a3b4c5d6e7f80910", Source: "tollgate/safeguard", Type: "safeguard.alert", Tenant: "acme",
		Subject: "447700900123", Time: noon, ReceivedAt: noon, Correlation: "c-1",
		Data: &eventv1.Safeguard{
			Option: eventv1.Safeguard_OPTION_DATA, State: eventv1.Safeguard_STATE_ACTIVE, Spent: eur(40, 50_000_000), Limit: eur(50, 0),
			PeriodStart: timestamppb.New(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)),
			PeriodEnd:   timestamppb.New(time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)), RenewalDay: 1,
			Cause:  &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Source: "rating", Id: "u-1", Type: "usage.charged"}}},
			Reason: "USAGE", Sequence: 1_773_489_600_123, PreviousSequence: 1_773_489_500_000,
			Threshold:      &eventv1.Threshold{Percent: 80, Amount: eur(40, 0)},
			ClassOfService: "gold", Imsi: "234150000000001", Language: "en-GB",
		},
	}
}

// charged is a safeguard.reached of a payment by call, told with all that such an event carries, contact included.
func charged() *event.Event {
	e := alert()
	e.Type = "safeguard.reached"
	s := e.Data.(*eventv1.Safeguard)
	s.Option, s.Spent, s.Limit, s.PerPaymentLimit, s.Blocked = eventv1.Safeguard_OPTION_PAYMENT, eur(300, 0), eur(300, 0), eur(50, 0), true
	s.Threshold, s.Reason, s.TransactionReference = nil, "CHARGE", "shop-17"
	s.AlertThresholds = []*eventv1.Threshold{{Percent: 80, Amount: eur(240, 0)}, {Amount: eur(290, 500_000_000)}}
	s.Contact = &eventv1.Contact{Name: "Zoë", Email: "zoe@example.com", Phone: "447700900123"}
	return e
}

// noticed is a second notice of an overspend safeguard that is inactive and has no limit.
func noticed() *event.Event {
	e := charged()
	e.Type = "safeguard.alert"
	s := e.Data.(*eventv1.Safeguard)
	s.Option, s.State, s.Limit, s.PerPaymentLimit, s.Blocked = eventv1.Safeguard_OPTION_OVERSPEND, eventv1.Safeguard_STATE_INACTIVE, nil, nil, false
	s.Spent, s.NextLimit, s.Reason, s.TransactionReference = eur(120, 0), eur(25, 0), "USAGE", ""
	s.Threshold = &eventv1.Threshold{Amount: eur(100, 0), SecondNotice: true}
	return e
}

func activated() *event.Event {
	return &event.Event{
		ID: "a-1", Source: "crm/<main>", Type: "subscriber.activated", Tenant: "acme", Subject: "447700900123", Time: noon, ReceivedAt: noon,
		Data: &eventv1.SubscriberActivated{
			ClassOfService: "gold", Imsi: "234150000000001", Language: "en-GB",
			Contact: &eventv1.Contact{Name: "Zoë", Email: "zoe@example.com", Phone: "447700900123"},
		},
	}
}

func TestBodiesAreTheseBytes(t *testing.T) {
	said := []Parameter{
		{"message", `You used {{.Option.Spent}} of {{.Option.Limit}} {{.Option.Currency}}{{with .Option.Forecast}}, the rest lasts until {{.}}{{end}}. "<Zoë>"`},
		{"at", "{{.Core.CurrentDateTime}} {{.Core.CurrentDate}} {{.Core.CurrentTime}}"},
		{"who", "{{.Subscriber.Msisdn}}/{{.Subscriber.Imsi}}/{{.Core.Tenant}}"},
		{"what", "{{.Core.EventName}} {{.Option.Name}} {{.Option.State}} {{.Option.ThresholdPercent}}"},
		{"empty", ""},
	}
	of := []Parameter{
		{"option", "{{.Option.Name}} {{.Option.State}} {{.Option.Spent}}/{{.Option.Limit}} {{.Option.Currency}}, next {{.Option.NextLimit}}, each {{.Option.PerPaymentLimit}}"},
		{"told", "{{range .Option.AlertThresholds}}{{.}} {{end}}now {{.Option.Threshold}}{{if .Option.SecondNotice}} again{{end}}{{if .Option.Blocked}} blocked{{end}}"},
		{"why", "{{.Option.Reason}} {{.Option.TransactionReference}}"},
	}
	tests := map[string]struct {
		event  *event.Event
		to     Endpoint
		at     Lane
		params []Parameter
		want   string // content type
	}{
		"tollgate-alert":              {alert(), Endpoint{}, Lane{2, "dlv_06eaih8afco4kfkf2nc8j8cvio"}, nil, "application/cloudevents+json"},
		"tollgate-alert-personal":     {alert(), Endpoint{PersonalData: true}, Lane{1, ""}, nil, "application/cloudevents+json"},
		"tollgate-activated":          {activated(), Endpoint{}, Lane{1, ""}, nil, "application/cloudevents+json"},
		"tollgate-activated-personal": {activated(), Endpoint{PersonalData: true}, Lane{}, nil, "application/cloudevents+json"},
		"parameters-alert":            {alert(), Endpoint{Profile: Parameters}, Lane{2, "dlv_x"}, said, "application/json; charset=utf-8"},
		"parameters-alert-personal":   {alert(), Endpoint{Profile: Parameters, PersonalData: true}, Lane{}, said, "application/json; charset=utf-8"},
		"tollgate-charged":            {charged(), Endpoint{}, Lane{1, ""}, nil, "application/cloudevents+json"},
		"tollgate-charged-personal":   {charged(), Endpoint{PersonalData: true}, Lane{1, ""}, nil, "application/cloudevents+json"},
		"parameters-charged":          {charged(), Endpoint{Profile: Parameters, PersonalData: true}, Lane{}, of, "application/json; charset=utf-8"},
		"parameters-noticed":          {noticed(), Endpoint{Profile: Parameters}, Lane{}, of, "application/json; charset=utf-8"},
		"parameters-none":             {alert(), Endpoint{Profile: Parameters}, Lane{}, nil, "application/json; charset=utf-8"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := Compile(notification(func(n *Notification) {
				n.Trigger.EventTypes = []string{tc.event.Type}
				n.Actions[0].Parameters = tc.params
			}))
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Render(r.Actions[0], &Occasion{Event: tc.event, Now: noon.Add(time.Second), TenantName: "Acme Mobile"}, tc.to, tc.at)
			if err != nil {
				t.Fatal(err)
			}
			if got.ContentType != tc.want {
				t.Errorf("content type %q, want %q", got.ContentType, tc.want)
			}
			if !json.Valid(got.Bytes) {
				t.Errorf("not JSON: %s", got.Bytes)
			}
			golden(t, name+".json", got.Bytes)
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("bodies that were planned before would change:\n got %s\nwant %s", got, want)
	}
}

func TestProfileTollgateIsACloudEventToOthers(t *testing.T) {
	r, err := Compile(notification(func(n *Notification) { n.Trigger.EventTypes = []string{"safeguard.*"} }))
	if err != nil {
		t.Fatal(err)
	}
	e := alert()
	body, err := r.Render(r.Actions[0], &Occasion{Event: e, Now: noon}, Endpoint{PersonalData: true}, Lane{7, "dlv_p"})
	if err != nil {
		t.Fatal(err)
	}
	var ce cloudevents.Event
	if err := json.Unmarshal(body.Bytes, &ce); err != nil {
		t.Fatal(err)
	}
	if err := ce.Validate(); err != nil {
		t.Error(err)
	}
	ext := ce.Extensions()
	if ce.ID() != e.ID || ce.Source() != e.Source || !ce.Time().Equal(noon) || ext["sequence"] != "0000000000000000007" || ext["previous"] != "dlv_p" || ext["notification"] != "reached" || ext["tenant"] != "acme" {
		t.Errorf("%s", ce)
	}
	var data eventv1.Safeguard
	if err := protojson.Unmarshal(ce.Data(), &data); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(&data, e.Data) {
		t.Errorf("data %v, want %v", &data, e.Data)
	}
}

// What leaves by a webhook holds no contact ever, and nothing personal unless the endpoint may have it.
func TestNothingPrivateLeaves(t *testing.T) {
	for _, typ := range event.Types() {
		full := proto.Clone(typ.Data)
		fill(full.ProtoReflect())
		personalWords, contactWords := marks(full.ProtoReflect())
		e := &event.Event{ID: "1", Source: "s", Type: typ.Name, Tenant: "acme", Time: noon, Data: full}
		r, err := Compile(notification(func(n *Notification) { n.Trigger.EventTypes = []string{typ.Name} }))
		if err != nil {
			t.Fatal(err)
		}
		for _, allowed := range []bool{false, true} {
			body, err := r.Render(r.Actions[0], &Occasion{Event: e}, Endpoint{PersonalData: allowed}, Lane{})
			if err != nil {
				t.Fatal(err)
			}
			var parsed struct{ Data map[string]any }
			if err := json.Unmarshal(body.Bytes, &parsed); err != nil {
				t.Fatal(err)
			}
			for _, key := range contactWords {
				if _, ok := parsed.Data[key]; ok {
					t.Errorf("%s: %s leaves", typ.Name, key)
				}
			}
			for _, key := range personalWords {
				if _, ok := parsed.Data[key]; ok != allowed {
					t.Errorf("%s: %s leaves: %v, want %v", typ.Name, key, ok, allowed)
				}
			}
		}
	}
}

func TestABodyHasItsBound(t *testing.T) {
	long := strings.Repeat("x", MaxBody/2)
	e := alert()
	e.Data.(*eventv1.Safeguard).ClassOfService = long
	for name, params := range map[string][]Parameter{
		"one text":         {{"a", "{{.Subscriber.ClassOfService}}{{.Subscriber.ClassOfService}}{{.Subscriber.ClassOfService}}"}},
		"all texts in all": {{"a", "{{.Subscriber.ClassOfService}}"}, {"b", "{{.Subscriber.ClassOfService}}"}, {"c", "{{.Subscriber.ClassOfService}}"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Compile(notification(func(n *Notification) {
				n.Trigger.EventTypes = []string{e.Type}
				n.Actions[0].Parameters = params
			}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Render(r.Actions[0], &Occasion{Event: e}, Endpoint{Profile: Parameters}, Lane{}); !errors.Is(err, ErrTooLarge) {
				t.Errorf("error %v", err)
			}
			if _, err := r.Render(r.Actions[0], &Occasion{Event: e}, Endpoint{}, Lane{}); err != nil {
				t.Error(err)
			}
			e := alert()
			e.Data.(*eventv1.Safeguard).ClassOfService = long + long
			if _, err := r.Render(r.Actions[0], &Occasion{Event: e}, Endpoint{}, Lane{}); !errors.Is(err, ErrTooLarge) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A text stops where it grows too large, before it has grown.
func TestATextStopsAtTheBound(t *testing.T) {
	text, err := template.New("").Parse(`{{range .}}{{.}}{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	parts := func(yield func(string) bool) {
		for range 100 {
			written++
			if !yield(strings.Repeat("x", MaxBody/10)) {
				return
			}
		}
	}
	var out bounded
	if err := text.Execute(&out, parts); !errors.Is(err, ErrTooLarge) || written != 11 || out.Len() > MaxBody {
		t.Errorf("error %v after %d parts", err, written)
	}
}

func TestMoneyIsADecimalWithTheDigitsOfItsCurrency(t *testing.T) {
	for name, tc := range map[string]struct {
		currency string
		units    int64
		nanos    int32
		want     string
	}{
		"two digits":                    {"EUR", 50, 0, "50.00"},
		"a half":                        {"EUR", 0, 500_000_000, "0.50"},
		"more where it needs more":      {"EUR", 1, 1, "1.000000001"},
		"none for the yen":              {"JPY", 500, 0, "500"},
		"three for the dinar":           {"KWD", 1, 500_000_000, "1.500"},
		"below zero":                    {"EUR", -3, -250_000_000, "-3.25"},
		"below zero by less than one":   {"EUR", 0, -250_000_000, "-0.25"},
		"a code that nobody has seen":   {"QQQ", 1, 0, "1.00"},
		"what is no money says nothing": {"EUR", 1, -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decimal(&money.Money{CurrencyCode: tc.currency, Units: tc.units, Nanos: tc.nanos}); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// Canonical JSON says the same as what it was made of, and nothing depends on the spaces there.
func TestCanonicalJSONKeepsItsMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := anyJSON(3).Draw(t, "value")
		compact, err := json.Marshal(value)
		if err != nil {
			t.Skip("not JSON")
		}
		spaced, err := json.MarshalIndent(value, " ", "\t")
		if err != nil {
			t.Fatal(err)
		}
		a, err := canonical(compact)
		if err != nil {
			t.Fatal(err)
		}
		b, err := canonical(spaced)
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Fatalf("%s and %s", a, b)
		}
		var back any
		if err := json.Unmarshal(a, &back); err != nil {
			t.Fatalf("%v: %s", err, a)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(compact) {
			t.Fatalf("%s became %s", compact, again)
		}
	})
}

func anyJSON(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.String().AsAny(), rapid.Bool().AsAny(), rapid.Float64Range(-1e9, 1e9).AsAny(), rapid.Just[any](nil),
	}
	if depth > 0 {
		leaves = append(leaves,
			rapid.MapOfN(rapid.String(), rapid.Deferred(func() *rapid.Generator[any] { return anyJSON(depth - 1) }), 0, 4).AsAny(),
			rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[any] { return anyJSON(depth - 1) }), 0, 4).AsAny())
	}
	return rapid.OneOf(leaves...)
}

func TestStringsAreEscapedOnlyWhereJSONDemands(t *testing.T) {
	got := string(appendString(nil, "<a&b>\u2028é\x00\x1f\b\f\n\r\t\"\\/\x7f\xff"))
	if want := "\"<a&b>\u2028é\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\x7f\uFFFD\""; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
