package subscriberimport

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

var begin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func form() Form { return Form{Tenant: "acme", Separator: ',', ActivatedAt: begin} }

// read gives every row, and "line: fault" of each that has some.
func read(t *testing.T, text string, f Form, classes Classes) (rows []*subscriber, faults []string) {
	t.Helper()
	r, err := newReader(strings.NewReader(text), f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		s, err := r.next()
		if errors.Is(err, io.EOF) {
			return rows, faults
		}
		if err != nil {
			t.Fatal(err)
		}
		if classes != nil {
			classes.validate(s)
		}
		rows = append(rows, s)
		for _, v := range fault.ViolationsOf(s.faults.Err("X")) {
			faults = append(faults, string(rune('0'+r.line))+": "+v.String())
		}
	}
}

func TestReader_RowBecomesAnActivation(t *testing.T) {
	rows, faults := read(t, "\xef\xbb\xbfclass_of_service;msisdn;imsi;language;contact_name;contact_email;contact_phone;currency;activated_at;"+
		"data_state;data_renewal_day;data_spent;overspend_state;overspend_current_limit;overspend_next_limit;payment_spent\n"+
		"gold; 491511234567 ;262011234567890;de;\"Ann \"\"A\"\"; B\";ann@example.com;+491517654321;EUR;2026-11-02T10:00:00+02:00;"+
		"temporarily-inactive;15;12.34;active;20;30 GBP;0\n"+
		"gold;+491511234568;;;;;;;;;;;;;;\n", Form{Tenant: "acme", Separator: ';', ActivatedAt: begin}, nil)
	if len(faults) > 0 || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), faults)
	}
	if rows[1].msisdn != "491511234568" {
		t.Errorf("a leading + is not dropped: %s", rows[1].msisdn)
	}
	p, err := rows[0].event("acme")
	if err != nil {
		t.Fatal(err)
	}
	e, err := event.FromProto(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	eur := func(units int64, nanos int32) *money.Money {
		return &money.Money{CurrencyCode: "EUR", Units: units, Nanos: nanos}
	}
	want := &eventv1.SubscriberActivated{
		ClassOfService: "gold", Imsi: "262011234567890", Language: "de",
		Contact: &eventv1.Contact{Name: `Ann "A"; B`, Email: "ann@example.com", Phone: "491517654321"},
		Options: []*eventv1.InitialOption{
			{Option: eventv1.Safeguard_OPTION_DATA, State: eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE, RenewalDay: 15, Spent: eur(12, 340_000_000)},
			{Option: eventv1.Safeguard_OPTION_OVERSPEND, State: eventv1.Safeguard_STATE_ACTIVE, CurrentLimit: eur(20, 0), NextLimit: &money.Money{CurrencyCode: "GBP", Units: 30}},
			{Option: eventv1.Safeguard_OPTION_PAYMENT, Spent: eur(0, 0)},
		},
	}
	if diff := cmp.Diff(want, e.Data, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if e.Type != "subscriber.activated" || e.Subject != "491511234567" || e.Tenant != "acme" || !e.Time.Equal(begin.Add(32*time.Hour)) {
		t.Errorf("%+v", e)
	}
	if !rows[1].at.Equal(begin) || len(rows[1].data.GetOptions()) != 0 || rows[1].data.Contact != nil {
		t.Errorf("what is empty must not be there: %v at %s", rows[1].data, rows[1].at)
	}
}

func TestEvent_IDDerivesFromContent(t *testing.T) {
	id := func(text string, f Form) string {
		rows, faults := read(t, text, f, nil)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		e, err := rows[0].event(f.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		return e.GetId()
	}
	const text = "msisdn,class_of_service,data_spent\n49151,gold,1 EUR\n"
	base := id(text, form())
	other, later := form(), form()
	other.Tenant, later.ActivatedAt = "other", begin.Add(time.Millisecond)
	for name, tt := range map[string]struct {
		text string
		form Form
		same bool
	}{
		"the same again":                    {text, form(), true},
		"columns in another order":          {"data_spent,class_of_service,msisdn\n1.00 EUR,gold,49151\n", form(), true},
		"a column more that is not known":   {"msisdn,class_of_service,data_spent,imsi\n49151,gold,1 EUR,\n", form(), true},
		"the time in its row":               {"msisdn,class_of_service,data_spent,activated_at\n49151,gold,1 EUR,2026-11-01T01:00:00+01:00\n", form(), true},
		"another number":                    {"msisdn,class_of_service,data_spent\n49152,gold,1 EUR\n", form(), false},
		"another amount":                    {"msisdn,class_of_service,data_spent\n49151,gold,1.01 EUR\n", form(), false},
		"another tenant":                    {text, other, false},
		"another time":                      {text, later, false},
		"spent 0, which is given, and none": {"msisdn,class_of_service,data_spent\n49151,gold,0 EUR\n", form(), false},
	} {
		if got := id(tt.text, tt.form); (got == base) != tt.same {
			t.Errorf("%s: %s, first %s", name, got, base)
		}
	}
}

func TestReader_ReportsEveryViolationOfEveryRow(t *testing.T) {
	unsaid := form()
	unsaid.ActivatedAt = time.Time{}
	_, got := read(t, strings.Join([]string{
		"msisdn,class_of_service,activated_at,imsi,language,contact_email,data_state,data_renewal_day,overspend_current_limit,payment_spent",
		"+0049151,,2026-11-01,12,de_DE,nobody,inactive,29,-1 EUR,1.2.3 EUR",
		"0049151,gold,2026-11-01T00:00:00Z,,,,,,,",
		"49151,gold",
		`49152,gold,2026-11-01T00:00:00Z,"un"closed,,,,,,`,
		"49153,gold,,,,,,0,10,1 ABC",
		"49154,g\xffld,2026-11-01T00:00:00Z,,,,,,,",
		"",
	}, "\n"), unsaid, nil)
	want := []string{
		`2: msisdn: must be 5 to 15 digits, country code first, without + or 00`,
		`2: class_of_service: is required`,
		`2: activated_at: must be a time as of RFC 3339, such as 2026-11-29T03:18:16Z, is "2026-11-01"`,
		`2: imsi: must be 6 to 15 digits, not "12"`,
		`2: language: must be a language such as de or pt-BR, not "de_DE"`,
		`2: contact_email: must be an e-mail address, not "nobody"`,
		`2: data_state: must be active or temporarily-inactive or permanently-inactive, not "inactive"`,
		`2: data_renewal_day: must be a day from 1 to 28, not "29"`,
		`2: overspend_current_limit: must not be below 0, is -1 EUR`,
		`2: payment_spent: must be a number such as 12.50, not "1.2.3"`,
		`3: msisdn: must be 5 to 15 digits, country code first, without + or 00`,
		`4: has 2 cells, the header 10`,
		`5: column 36: extraneous or missing " in quoted-field`,
		`6: data_renewal_day: must be a day from 1 to 28, not "0"`,
		`6: overspend_current_limit: must name its currency, such as 12.50 EUR, not only "10"`,
		`6: payment_spent: must be an amount and a currency of ISO 4217, such as 12.50 EUR, not "1" in "ABC"`,
		`6: activated_at: is required, here or for all rows (--activated-at)`,
		`7: class_of_service: must be UTF-8`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestClasses_ValidateRows(t *testing.T) {
	eur := func(units int64) *money.Money { return &money.Money{CurrencyCode: "EUR", Units: units} }
	classes := Classes{
		"gold": {
			DataSafeguard: &configv1.DataSafeguardOption{
				Limit: eur(50), States: []eventv1.Safeguard_State{eventv1.Safeguard_STATE_ACTIVE, eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE},
			},
			OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "EUR"},
		},
		"silver": {OverspendSafeguard: &configv1.OverspendSafeguardOption{
			CurrencyCode: "EUR", DefaultLimit: eur(10), DefaultState: eventv1.Safeguard_STATE_ACTIVE,
		}},
	}
	_, got := read(t, strings.Join([]string{
		"msisdn,class_of_service,data_state,data_spent,overspend_state,overspend_current_limit,payment_state",
		"49151,gold,permanently-inactive,1 EUR,active,5 EUR,",
		"49152,gold,temporarily-inactive,1 GBP,active,,",
		"49153,gold,,,,5 USD,inactive",
		"49154,silver,,,active,,",
		"49155,silver,active,,,,",
		"49156,copper,,,,,",
		"",
	}, "\n"), form(), classes)
	want := []string{
		"3: data_state: class of service gold does not offer temporarily-inactive",
		"3: data_spent: must be in EUR, the currency of class of service gold, not in GBP",
		"3: overspend_current_limit: is required while active: class of service gold has no default",
		"4: overspend_current_limit: must be in EUR, the currency of class of service gold, not in USD",
		"4: payment_*: class of service gold does not offer the payment safeguard",
		"6: data_*: class of service silver does not offer the data safeguard",
		`7: class_of_service: the tenant has no class of service "copper"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHeader_ReportsEveryViolation(t *testing.T) {
	_, err := newReader(strings.NewReader("msisdn,MSISDN,imsi,imsi\n"), form())
	var got []string
	for _, v := range fault.ViolationsOf(err) {
		got = append(got, v.String())
	}
	if len(got) != 3 || !strings.HasPrefix(got[0], `"MSISDN" is not a column; the columns are msisdn, class_of_service, `) ||
		got[1] != "imsi: occurs twice" || got[2] != "class_of_service: is missing" {
		t.Errorf("%q", got)
	}
	if _, err := newReader(strings.NewReader(""), form()); err == nil || !strings.Contains(err.Error(), "the file is empty") {
		t.Error(err)
	}
}

func TestReader_UnclosedQuoteIsBounded(t *testing.T) {
	text := "msisdn,class_of_service\n49151,gold\n49152,\"gold\n" + strings.Repeat("49153,gold\n", 1<<18)
	r, err := newReader(strings.NewReader(text), form())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.next(); err != nil {
		t.Fatal(err)
	}
	_, err = r.next()
	if !errors.Is(err, errRowTooLong) || !strings.Contains(err.Error(), "the row after line 2") {
		t.Errorf("%v", err)
	}
}

func TestSample_IsValid(t *testing.T) {
	var text strings.Builder
	n, err := Sample{Rows: 1000, Class: "gold", ActivatedAt: begin}.WriteTo(&text)
	if err != nil || int(n) != text.Len() {
		t.Fatal(n, err)
	}
	rows, faults := read(t, text.String(), form(), nil)
	if len(rows) != 1000 || len(faults) > 0 || rows[999].msisdn != (Sample{}).MSISDN(999) {
		t.Errorf("%d rows, %v", len(rows), faults)
	}
}

func BenchmarkRow(b *testing.B) {
	var text strings.Builder
	if _, err := (Sample{Rows: 10_000, Class: "gold", ActivatedAt: begin}).WriteTo(&text); err != nil {
		b.Fatal(err)
	}
	for _, send := range []bool{false, true} {
		name := map[bool]string{false: "validated", true: "made an event"}[send]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var r *reader
			for range b.N {
				var s *subscriber
				err := io.EOF
				if r != nil {
					s, err = r.next()
				}
				if errors.Is(err, io.EOF) {
					if r, err = newReader(strings.NewReader(text.String()), form()); err != nil {
						b.Fatal(err)
					}
					s, err = r.next()
				}
				if err != nil {
					b.Fatal(err)
				}
				if send {
					if _, err := s.event("acme"); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
