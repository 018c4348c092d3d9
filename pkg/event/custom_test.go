package event_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/event/eventtest"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

const (
	aText      = configv1.FieldKind_FIELD_KIND_TEXT
	anInteger  = configv1.FieldKind_FIELD_KIND_INTEGER
	aNumber    = configv1.FieldKind_FIELD_KIND_NUMBER
	aBoolean   = configv1.FieldKind_FIELD_KIND_BOOLEAN
	aTimestamp = configv1.FieldKind_FIELD_KIND_TIMESTAMP
	aDate      = configv1.FieldKind_FIELD_KIND_DATE
	anAmount   = configv1.FieldKind_FIELD_KIND_MONEY
	anObject   = configv1.FieldKind_FIELD_KIND_OBJECT
)

// order is a declared type with a field of every kind.
func order() *configv1.EventType {
	return &configv1.EventType{
		Operation: configv1.EventOperation_EVENT_OPERATION_CREATE,
		Fields: []*configv1.EventField{
			{Name: "id", Kind: aText, Required: true, MaxLength: 8},
			{Name: "status", Kind: aText, Values: []string{"open", "closed"}},
			{Name: "quantity", Kind: anInteger, Minimum: proto.Float64(1), Maximum: proto.Float64(1e18)},
			{Name: "weight", Kind: aNumber, Maximum: proto.Float64(100)},
			{Name: "express", Kind: aBoolean},
			{Name: "placed", Kind: aTimestamp},
			{Name: "due", Kind: aDate},
			{Name: "total", Kind: anAmount, Required: true},
			{Name: "tags", Kind: aText, Repeated: true, MaxItems: 3},
			{Name: "customer", Kind: anObject, Fields: []*configv1.EventField{
				{Name: "name", Kind: aText, Required: true, Personal: true}, {Name: "email", Kind: aText, Contact: true},
			}},
			{Name: "lines", Kind: anObject, Repeated: true, Fields: []*configv1.EventField{{Name: "sku", Kind: aText, Required: true}}},
		},
	}
}

const orderType = "acme_order.placed"

// tenants declare order for acme.
type tenants struct {
	types map[string]*event.Type
	keep  bool
}

func (d tenants) Declared(tenant, name string) *event.Type { return d.types[tenant+"/"+name] }
func (d tenants) KeepsUnknown(string) bool                 { return d.keep }

func declaring(t testing.TB, name string, written *configv1.EventType) *event.Type {
	t.Helper()
	var f fault.Violations
	made := event.Declare(name, written, &f)
	if made == nil {
		t.Fatal(f.Err(reason.ConfigInvalid))
	}
	return made
}

func acme(t testing.TB, keep bool) event.Parser {
	return event.Parser{Tenants: tenants{map[string]*event.Type{"acme/" + orderType: declaring(t, orderType, order())}, keep}}
}

// ordered is an event of the declared type with data in JSON.
func ordered(t testing.TB, data string) *event.Event {
	t.Helper()
	e := usage()
	e.Type, e.Tenant, e.Subject = orderType, "acme", "order/7"
	s := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(data), s); err != nil {
		t.Fatal(err)
	}
	e.Data = s
	return e
}

const wholeOrder = `{"id":"7","status":"open","quantity":"3","weight":1.5,"express":false,"placed":"2026-03-14t13:00:00.1234+01:00",
	"due":"2026-04-14T00:00:00Z","total":{"currency_code":"EUR","units":12,"nanos":5e8},"tags":["a"],"customer":{"name":"Jo","email":null},"lines":[{"sku":"x"}]}`

func TestDeclared_HasOneFormInEveryEncoding(t *testing.T) {
	sent := ordered(t, wholeOrder)
	encodings, err := eventtest.Encodings(sent, []byte(wholeOrder))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"customer":{"name":"Jo"},"due":"2026-04-14T00:00:00Z","express":false,"id":"7","lines":[{"sku":"x"}],"placed":"2026-03-14T12:00:00.123Z",` +
		`"quantity":3,"status":"open","tags":["a"],"total":{"currencyCode":"EUR","nanos":500000000,"units":"12"},"weight":1.5}`
	var first []byte
	for _, encoding := range encodings {
		e, err := encoding.Parse(acme(t, false))
		if err != nil {
			t.Errorf("%s: %v", encoding.Name, err)
			continue
		}
		if got := compact(t, e.Data); got != want {
			t.Errorf("%s: %s", encoding.Name, got)
		}
		record, err := e.Record("t")
		if err != nil || string(record.Key) != "acme/order/7" {
			t.Errorf("%s: key %q, %v", encoding.Name, record.Key, err)
		}
		if first == nil {
			first = record.Value
		}
		if !bytes.Equal(first, record.Value) {
			t.Errorf("%s has other bytes", encoding.Name)
		}
	}
}

// compact is JSON without the spaces that Protobuf varies.
func compact(t testing.TB, m proto.Message) string {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(strings.NewReplacer(`, "`, `,"`, `: `, `:`).Replace(string(text))), " ")
}

func TestDeclared_EveryFaultIsFoundInEveryEncoding(t *testing.T) {
	const data = `{"id":"123456789","status":"lost","quantity":0,"weight":101,"express":"yes","placed":"yesterday","due":7,"total":{"units":"x","currencyCode":"EUR"},
		"tags":["a","b","c","d"],"customer":{"email":1},"lines":[{"sku":null},7,null]}`
	want := []string{
		"data.id", "data.status", "data.quantity", "data.weight", "data.express", "data.placed", "data.due", "data.total.units", "data.tags",
		"data.customer.name", "data.customer.email", "data.lines[0].sku", "data.lines[1]", "data.lines[2]",
	}
	encodings, err := eventtest.Encodings(ordered(t, data), []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, encoding := range encodings {
		_, err := encoding.Parse(acme(t, false))
		var got []string
		for _, v := range fault.ViolationsOf(err) {
			got = append(got, v.Field)
		}
		if diff := cmp.Diff(want, got); diff != "" || fault.ReasonOf(err) != reason.EventInvalid {
			t.Errorf("%s: %v%s", encoding.Name, err, diff)
		}
	}
}

func TestDeclared_OneFault(t *testing.T) {
	with := func(more string) string { return `{"id":"7","total":{"currencyCode":"EUR","units":"1"}` + more + `}` }
	for name, tc := range map[string]struct{ data, field, reason string }{
		"nothing is wrong":                           {with(""), "", ""},
		"null is not there":                          {with(`,"status":null`), "", ""},
		"a required field is missing":                {`{"id":"7"}`, "data.total", reason.EventInvalid},
		"a required field is null":                   {`{"id":null,"total":{"currencyCode":"EUR"}}`, "data.id", reason.EventInvalid},
		"a whole number past 2^53 as a number":       {with(`,"quantity":9007199254740993`), "data.quantity", reason.EventInvalid},
		"a whole number past 2^53 as a text":         {with(`,"quantity":"9007199254740993"`), "", ""},
		"a fraction":                                 {with(`,"quantity":1.5`), "data.quantity", reason.EventInvalid},
		"a whole number past 64 bits":                {with(`,"quantity":"9223372036854775808"`), "data.quantity", reason.EventInvalid},
		"a currency that is none":                    {`{"id":"7","total":{"currencyCode":"EUX","units":"1"}}`, "data.total.currency_code", reason.AmountInvalid},
		"a currency in both spellings":               {`{"id":"7","total":{"currencyCode":"EUR","currency_code":"EUR"}}`, "data.total.currencyCode", reason.AmountInvalid},
		"nanos of the other sign":                    {`{"id":"7","total":{"currencyCode":"EUR","units":1,"nanos":-1}}`, "data.total.nanos", reason.AmountInvalid},
		"an amount as a number":                      {`{"id":"7","total":12.5}`, "data.total", reason.AmountInvalid},
		"a field that is not declared":               {with(`,"colour":"red"`), "data.colour", reason.UnknownField},
		"one in an object":                           {with(`,"customer":{"name":"Jo","age":7}`), "data.customer.age", reason.UnknownField},
		"one in an element":                          {with(`,"lines":[{"sku":"x","price":1}]`), "data.lines[0].price", reason.UnknownField},
		"one in an amount":                           {`{"id":"7","total":{"currencyCode":"EUR","vat":1}}`, "data.total.vat", reason.UnknownField},
		"names are compared to the letter":           {with(`,"Status":"open"`), "data.Status", reason.UnknownField},
		"a list where one value belongs":             {with(`,"status":["open"]`), "data.status", reason.EventInvalid},
		"one value where a list belongs":             {with(`,"tags":"a"`), "data.tags", reason.EventInvalid},
		"more elements than a list without a bound":  {with(`,"lines":[` + strings.Repeat(`{"sku":"x"},`, 1000) + `{"sku":"x"}]`), "data.lines", reason.EventInvalid},
		"what nobody declared and nests without end": {with(`,"x":` + strings.Repeat(`{"x":`, 40) + `1` + strings.Repeat(`}`, 40)), "data.x", reason.EventInvalid},
	} {
		_, err := acme(t, tc.field == "data.x").Proto(ordered(t, tc.data).Proto())
		got := fault.ViolationsOf(err)
		if tc.field == "" && err == nil {
			continue
		}
		if len(got) != 1 || got[0].Field != tc.field || fault.ReasonOf(err) != tc.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeclared_OnlyByItsTenantAndAsAStruct(t *testing.T) {
	e := ordered(t, wholeOrder)
	e.Tenant = "other"
	if _, err := acme(t, false).Proto(e.Proto()); fault.ReasonOf(err) != reason.UnknownType {
		t.Errorf("another tenant's type: %v", err)
	}
	e = ordered(t, wholeOrder)
	e.Data = &eventv1.UsageCharged{}
	if _, err := acme(t, false).Proto(e.Proto()); fault.ReasonOf(err) != reason.UnknownData {
		t.Errorf("data of a built-in type: %v", err)
	}
	if e, err := (event.Parser{Tenants: event.Unchecked}).Proto(ordered(t, `{"anything":1}`).Proto()); err != nil || e.Type != orderType {
		t.Errorf("what others validate: %v", err)
	}
}

// Fields that a type does not have: each encoding rejects them by name, or keeps them, as the tenant decides.
func TestUnknownFields_OfBuiltInTypesInEveryEncoding(t *testing.T) {
	e := usage()
	e.Type, e.Subject = "account.created", "account/7"
	data := &eventv1.AccountChanged{Account: &eventv1.Account{Id: "7"}}
	data.GetAccount().ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
	e.Data = data
	encodings, err := eventtest.Encodings(e, []byte(`{"account":{"id":"7","colour":{"deep":"red"}},"tier":9}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, encoding := range encodings {
		want := []string{"data.account.colour", "data.tier"}
		if encoding.Protobuf {
			want = []string{"data.account.999"}
		}
		_, err := encoding.Parse(event.Parser{Tenants: tenants{}})
		var got []string
		for _, v := range fault.ViolationsOf(err) {
			got = append(got, v.Field)
		}
		if !slices.Equal(got, want) || fault.ReasonOf(err) != reason.UnknownField {
			t.Errorf("%s, rejected: %v", encoding.Name, err)
		}
		kept, err := encoding.Parse(event.Parser{Tenants: tenants{keep: true}})
		if err != nil {
			t.Errorf("%s, kept: %v", encoding.Name, err)
			continue
		}
		record, err := kept.Record("t")
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.Decode(record.Value)
		if err != nil || !back.Equal(kept) {
			t.Errorf("%s: does not come back: %v", encoding.Name, err)
			continue
		}
		account := back.Data.(*eventv1.AccountChanged).GetAccount()
		if encoding.Protobuf {
			if len(account.ProtoReflect().GetUnknown()) == 0 || back.Unknown != nil {
				t.Errorf("%s: %v is not kept", encoding.Name, account)
			}
		} else if got := compact(t, back.Unknown); got != `{"account":{"colour":{"deep":"red"}},"tier":9}` || account.GetId() != "7" {
			t.Errorf("%s: %s is kept beside %v", encoding.Name, got, account)
		}
	}
}

// A value that is wrong is found whether unknown fields are kept or not: keeping them skips nothing.
func TestUnknownFields_HideNoOtherFault(t *testing.T) {
	for _, keep := range []bool{false, true} {
		_, err := event.Parser{Tenants: tenants{keep: keep}}.JSON(structured(t, map[string]string{"data": `{"category":"CATEGORY_TELEPATHY","colour":1}`}))
		if !strings.Contains(fmt.Sprint(err), "CATEGORY_TELEPATHY") {
			t.Errorf("keep %t: %v", keep, err)
		}
	}
}

// An event stands in the log and the declaration changes: what is required or bounded by now is no matter, what is of
// another kind is an error.
func TestView_ReadsWhatWasAcceptedBefore(t *testing.T) {
	e := ordered(t, `{"id":"123456789","gone":1,"status":"lost"}`)
	kept := proto.Clone(e.Data)
	view, err := declaring(t, orderType, order()).View(e)
	if err != nil {
		t.Fatal(err)
	}
	if got := compact(t, view.Fields()); got != `{"id":"123456789","status":"lost"}` {
		t.Errorf("%s", got)
	}
	if !proto.Equal(e.Data, kept) || view.Data != e.Data || view.Content() != e.Content() {
		t.Error("the event was changed")
	}
	other := order()
	other.Fields[0] = &configv1.EventField{Name: "id", Kind: aBoolean}
	if _, err := declaring(t, orderType, other).View(e); err == nil || !strings.Contains(err.Error(), "data.id") {
		t.Errorf("of another kind: %v", err)
	}
}

func TestDeclare_ListsEveryViolation(t *testing.T) {
	deep := &configv1.EventField{Name: "x", Kind: aText}
	for range 6 {
		deep = &configv1.EventField{Name: "x", Kind: anObject, Fields: []*configv1.EventField{deep}}
	}
	many := make([]*configv1.EventField, 10_000)
	for i := range many {
		many[i] = &configv1.EventField{Name: fmt.Sprintf("f%d", i), Kind: aText}
	}
	for name, tc := range map[string]struct {
		typ    string
		fields []*configv1.EventField
		want   string
	}{
		"a name of one word":                      {"orders", nil, "name"},
		"capitals in a name":                      {"Acme.placed", nil, "name"},
		"an entity of ours":                       {"usage.strange", nil, "name"},
		"control records":                         {"system.tick", nil, "name"},
		"a field without a kind":                  {orderType, []*configv1.EventField{{Name: "a"}}, "fields[0].kind"},
		"a kind of built-in types alone":          {orderType, []*configv1.EventField{{Name: "a", Kind: configv1.FieldKind_FIELD_KIND_MAP}}, "fields[0].kind"},
		"a kind that nobody knows":                {orderType, []*configv1.EventField{{Name: "a", Kind: 99}}, "fields[0].kind"},
		"a name with a dash":                      {orderType, []*configv1.EventField{{Name: "a-b", Kind: aText}}, "fields[0].name"},
		"a word of filters":                       {orderType, []*configv1.EventField{{Name: "in", Kind: aText}}, "fields[0].name"},
		"a name twice":                            {orderType, []*configv1.EventField{{Name: "a", Kind: aText}, {Name: "a", Kind: aText}}, "fields[1].name"},
		"names that differ by capitals":           {orderType, []*configv1.EventField{{Name: "a_b", Kind: aText}, {Name: "aB", Kind: aText}}, "fields[1].name"},
		"an object without fields":                {orderType, []*configv1.EventField{{Name: "a", Kind: anObject}}, "fields[0].fields"},
		"fields of a text":                        {orderType, []*configv1.EventField{{Name: "a", Kind: aText, Fields: []*configv1.EventField{{Name: "b", Kind: aText}}}}, "fields[0].fields"},
		"a list of amounts":                       {orderType, []*configv1.EventField{{Name: "a", Kind: anAmount, Repeated: true}}, "fields[0].repeated"},
		"a bound of elements of one value":        {orderType, []*configv1.EventField{{Name: "a", Kind: aText, MaxItems: 3}}, "fields[0].max_items"},
		"a bound of characters of a number":       {orderType, []*configv1.EventField{{Name: "a", Kind: aNumber, MaxLength: 3}}, "fields[0].max_length"},
		"least above greatest":                    {orderType, []*configv1.EventField{{Name: "a", Kind: aNumber, Minimum: proto.Float64(2), Maximum: proto.Float64(1)}}, "fields[0].minimum"},
		"values of a number":                      {orderType, []*configv1.EventField{{Name: "a", Kind: aNumber, Values: []string{"1"}}}, "fields[0].values"},
		"a value twice":                           {orderType, []*configv1.EventField{{Name: "a", Kind: aText, Values: []string{"x", "x"}}}, "fields[0].values[1]"},
		"objects that nest too deep":              {orderType, []*configv1.EventField{deep}, "fields[0].fields[0].fields[0].fields[0].fields[0].kind"},
		"ten thousand fields":                     {orderType, many, "fields"},
		"a hundred objects of a hundred fields":   {orderType, objects(100, many[:100]), "fields"},
		"exactly as many as there may be is fine": {orderType, many[:300], ""},
	} {
		var f fault.Violations
		made := event.Declare(tc.typ, &configv1.EventType{Fields: tc.fields}, &f)
		got := fault.ViolationsOf(f.Err("X"))
		if tc.want == "" && made != nil && len(got) == 0 {
			continue
		}
		if made != nil || len(got) != 1 || got[0].Field != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func objects(n int, fields []*configv1.EventField) (all []*configv1.EventField) {
	for i := range n {
		all = append(all, &configv1.EventField{Name: fmt.Sprintf("o%d", i), Kind: anObject, Fields: fields})
	}
	return all
}

func TestSample_OfADeclaredTypeIsValid(t *testing.T) {
	made := declaring(t, orderType, order())
	e := made.Sample("acme", "sample-1", usage().Time)
	e.Source, e.Declared = "s", nil
	if _, err := acme(t, false).Proto(e.Proto()); err != nil {
		t.Error(err)
	}
}

// Whatever a producer sends as data of a declared type is accepted in a form that is stored, read back as the same and
// seen by rules, or refused with its faults; and what was accepted is accepted again, unchanged.
func FuzzDeclared(f *testing.F) {
	parser := acme(f, false)
	keeping := acme(f, true)
	made := declaring(f, orderType, order())
	f.Add([]byte(wholeOrder), true)
	f.Add([]byte(`{"id":"7","total":{"currencyCode":"EUR"},"lines":[{"sku":"x","y":{"z":[1,null]}}]}`), true)
	if s, err := proto.Marshal(ordered(f, wholeOrder).Data); err == nil {
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, inJSON bool) {
		s := &structpb.Struct{}
		if inJSON && protojson.Unmarshal(data, s) != nil || !inJSON && proto.Unmarshal(data, s) != nil {
			return
		}
		for _, p := range []event.Parser{parser, keeping} {
			sent := usage()
			sent.Type, sent.Tenant, sent.Subject, sent.Data = orderType, "acme", "order/7", proto.Clone(s)
			e, err := p.Proto(sent.Proto())
			if err != nil {
				if fault.KindOf(err) != fault.Invalid || len(fault.ViolationsOf(err)) == 0 {
					t.Fatalf("an error without its reason: %v", err)
				}
				continue
			}
			record, err := e.Record("t")
			if err != nil {
				if fault.ReasonOf(err) != reason.TooLarge {
					t.Fatal(err)
				}
				continue
			}
			back, err := event.Decode(record.Value)
			if err != nil || !back.Equal(e) || back.Content() != e.Content() {
				t.Fatalf("%+v comes back as %+v: %v", e, back, err)
			}
			if _, err := made.View(back); err != nil {
				t.Fatalf("what was accepted has no view: %v", err)
			}
			again, err := p.Proto(back.Proto())
			if err != nil || !again.Equal(back) {
				t.Fatalf("sent again it is %+v: %v", again, err)
			}
		}
	})
}
