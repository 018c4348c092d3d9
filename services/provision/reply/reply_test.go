package reply_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/hook"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/provision/reply"
)

// nord is what the handlers are sent.
func nord() *eventv1.ClientChanged {
	return &eventv1.ClientChanged{Client: &eventv1.Account{
		Id: "7401", DisplayName: "Nord", BillDay: 3, CompanyAddress: &eventv1.PostalAddress{},
	}}
}

func rules(t testing.TB, mayChange ...string) reply.Rules {
	t.Helper()
	paths, err := hook.ParsePaths(mayChange, nord().ProtoReflect().Descriptor())
	if err != nil {
		t.Fatal(err)
	}
	return reply.Rules{MayChange: paths, Check: func(m proto.Message) error {
		if c, ok := m.(*eventv1.ClientChanged); ok && c.GetClient().GetBillDay() > 28 {
			return errors.New("client.bill_day must be 1 to 28")
		}
		return nil
	}}
}

func TestHTTP_WhatHandlersAnswer(t *testing.T) {
	unchanged := func(c *eventv1.ClientChanged) {}
	for _, row := range []struct {
		name   string
		status int
		body   string
		want   func(*eventv1.ClientChanged) // of an allow
		forbid string                       // the reason, of a forbid
		fault  string                       // a part of it
	}{
		{name: "the whole request comes back", status: 200, body: `{"event":{"id":1,"dt":"x"},"data":{"client":{"id":"7401","displayName":"Nord","billDay":3,"companyAddress":{}}}}`, want: unchanged},
		{name: "through associative arrays of PHP", status: 200, body: `{"event":{},"data":{"client":{"id":"7401","display_name":"N\u006frd","bill_day":3,"company_address":[]}}}`, want: unchanged},
		{name: "without event", status: 200, body: `{"data":{"client":{"id":"7401","display_name":"Nord","bill_day":3,"company_address":{}}}}`, want: unchanged},
		{name: "without a member that was sent", status: 200, body: `{"data":{"client":{"bill_day":3,"id":"7401"}}}`, want: unchanged},
		{name: "a number with a fraction of zero", status: 200, body: `{"data":{"client":{"bill_day":3.0}}}`, want: unchanged},
		{name: "a number as a text", status: 200, body: `{"data":{"client":{"bill_day":"3"}}}`, want: unchanged},
		{name: "204", status: 204, want: unchanged},
		{name: "200 without a body", status: 200, want: unchanged},
		{name: "202 without a body", status: 202, want: unchanged},
		{name: "blanks and a line end", status: 200, body: " \t\r\n", want: unchanged},
		{name: "a mark before JSON in UTF-8", status: 200, body: "\ufeff" + `{"decision":"allow"}`, want: unchanged},

		{name: "an empty object", status: 200, body: `{}`, fault: "neither empty"},
		{name: "null", status: 200, body: `null`, fault: "not a JSON object"},
		{name: "true", status: 200, body: `true`, fault: "no JSON object"},
		{name: "a text", status: 200, body: `"ok"`, fault: "no JSON object"},
		{name: "an empty list", status: 200, body: `[]`, fault: "no JSON object"},
		{name: "a word", status: 200, body: `OK`, fault: "no JSON object"},
		{name: "a status of their own", status: 200, body: `{"status":"ok"}`, fault: "neither empty"},
		{name: "no data", status: 200, body: `{"data":null}`, fault: "data must not be null"},
		{name: "data that is a list", status: 200, body: `{"data":[]}`, fault: "data must be an object"},
		{name: "an event alone", status: 200, body: `{"event":{}}`, fault: "neither empty"},
		{name: "allowed", status: 200, body: `{"allowed":false}`, fault: "neither empty"},
		{name: "an error", status: 200, body: `{"error":"no"}`, fault: "neither empty"},
		{name: "a name twice", status: 200, body: `{"data":{},"data":{}}`, fault: "no JSON object"},

		{name: "a value that the schema does not allow", status: 200, body: `{"data":{"client":{"bill_day":29}}}`, fault: "client.bill_day must be 1 to 28"},
		{name: "a field that it may not change", status: 200, body: `{"data":{"client":{"status":"vip"}}}`, fault: "client.status is changed"},
		{name: "a member that there is not", status: 200, body: `{"data":{"client":{"vip":true}}}`, fault: "client.vip is no field of Account"},
		{name: "a value of another kind", status: 200, body: `{"data":{"client":{"bill_day":{}}}}`, fault: "client.bill_day must be a int32"},
		{name: "every fault at once", status: 200, body: `{"data":{"client":{"vip":true,"bill_day":"x"},"other":1}}`, fault: "data.other is no field"},
		{name: "an empty list where a message with content was sent", status: 200, body: `{"data":{"client":[]}}`, fault: "client must be an object"},

		{name: "a decision with a part of the data", status: 200, body: `{"decision":"allow","data":{"client":{"bill_day":5}}}`, want: func(c *eventv1.ClientChanged) { c.Client.BillDay = 5 }},
		{name: "data alone with a change", status: 200, body: `{"data":{"client":{"display_name":"Süd"}}}`, want: func(c *eventv1.ClientChanged) { c.Client.DisplayName = "Süd" }},
		{name: "null clears", status: 200, body: `{"data":{"client":{"bill_day":null}}}`, want: func(c *eventv1.ClientChanged) { c.Client.BillDay = 0 }},
		{name: "a decision in capitals", status: 200, body: `{"decision":"Allow"}`, fault: `"Allow"`},
		{name: "a word that is no decision", status: 200, body: `{"decision":"deny"}`, fault: `"deny"`},
		{name: "a decision with a member that contradicts it", status: 200, body: `{"decision":"allow","allowed":false}`, fault: "neither empty"},
		{name: "a decision that is no text", status: 200, body: `{"decision":true}`, fault: "decision must be a text"},
		{name: "a decision without data", status: 200, body: `{"decision":"allow","data":null}`, fault: "data must not be null"},

		{name: "a forbid in 200", status: 200, body: `{"decision":"forbid","reason":"fraud"}`, forbid: "fraud"},
		{name: "403 with a reason", status: 403, body: `{"reason":"blacklisted"}`, forbid: "blacklisted"},
		{name: "409 with a reason and more", status: 409, body: `{"reason":"exists","code":7}`, forbid: "exists"},
		{name: "403 of a proxy", status: 403, body: `<html>Forbidden</html>`, fault: "no refusal"},
		{name: "409 without a body", status: 409, fault: "no refusal"},
		{name: "403 with an empty reason", status: 403, body: `{"reason":" "}`, fault: "no reason"},
		{name: "422 with an error", status: 422, body: `{"error":"…"}`, fault: "no reason"},
		{name: "403 with a reason that is no text", status: 403, body: `{"reason":1}`, fault: "reason must be a text"},

		{name: "401", status: 401, body: `{"reason":"no"}`, fault: "the status is 401"},
		{name: "404", status: 404, fault: "the status is 404"},
		{name: "410", status: 410, fault: "the status is 410"},
		{name: "429", status: 429, fault: "the status is 429"},
		{name: "500", status: 500, body: `{"decision":"allow"}`, fault: "the status is 500"},
		{name: "a redirect", status: 301, fault: "the status is 301"},
		{name: "UTF-16", status: 200, body: "\xff\xfe{\x00}\x00", fault: "no JSON object"},
		{name: "not UTF-8 within", status: 200, body: "{\"data\":{\"client\":{\"display_name\":\"\xff\"}}}", fault: "no JSON object"},
	} {
		t.Run(row.name, func(t *testing.T) {
			sent := nord()
			got, err := reply.HTTP(row.status, []byte(row.body), sent, rules(t, "client.display_name", "client.billDay"))
			if !proto.Equal(sent, nord()) {
				t.Fatal("what was sent is changed")
			}
			switch {
			case row.fault != "":
				if err == nil || !strings.Contains(err.Error(), row.fault) {
					t.Fatalf("got %v, %v; want a fault with %q", got, err, row.fault)
				}
			case err != nil:
				t.Fatal(err)
			case row.forbid != "":
				if !got.Forbidden || got.Reason != row.forbid {
					t.Fatalf("got %+v, want a forbid for %q", got, row.forbid)
				}
			default:
				want := nord()
				row.want(want)
				if got.Forbidden || !proto.Equal(got.Data, want) {
					t.Fatalf("got %v, want %v", got.Data, want)
				}
				if wantChange := !proto.Equal(want, sent); wantChange != (len(got.Changes) > 0) {
					t.Fatalf("changes are %v", got.Changes)
				}
			}
		})
	}
}

func TestHTTP_MembersWithoutASchema(t *testing.T) {
	sent := &eventv1.ClientCustomFieldsUpdated{Id: "7", CustomFields: custom(t, `{"a":{"b":1,"c":null},"empty":{},"list":[{},{"x":1}],"text":"3"}`)}
	for _, row := range []struct{ name, answer, want string }{
		{"what was sent, through PHP", `{"a":{"b":1.0,"c":null},"empty":[],"list":[[],{"x":1}],"text":"3"}`, `{"a":{"b":1,"c":null},"empty":{},"list":[{},{"x":1}],"text":"3"}`},
		{"a member changes, the others stay", `{"a":{"b":2}}`, `{"a":{"b":2,"c":null},"empty":{},"list":[{},{"x":1}],"text":"3"}`},
		{"null clears", `{"a":null,"text":null}`, `{"empty":{},"list":[{},{"x":1}]}`},
		{"a list is replaced", `{"list":[1]}`, `{"a":{"b":1,"c":null},"empty":{},"list":[1],"text":"3"}`},
		{"an object in place of a text", `{"text":{"y":[]}}`, `{"a":{"b":1,"c":null},"empty":{},"list":[{},{"x":1}],"text":{"y":[]}}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := reply.Script([]byte(`{"data":{"custom_fields":`+row.answer+`}}`), sent, reply.Rules{})
			if err != nil {
				t.Fatal(err)
			}
			want := &eventv1.ClientCustomFieldsUpdated{Id: "7", CustomFields: custom(t, row.want)}
			if !proto.Equal(got.Data, want) {
				t.Fatalf("got %v\nwant %v", got.Data, want)
			}
		})
	}
}

func custom(t testing.TB, text string) *structpb.Struct {
	t.Helper()
	s := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(text), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCompare_NamesEveryField(t *testing.T) {
	before := nord()
	after := nord()
	after.Client.BillDay, after.Client.DisplayName, after.Client.CompanyAddress = 5, "Süd", &eventv1.PostalAddress{City: "Bern"}
	after.ChangedFields = []string{"bill_day"}
	var got []string
	for _, c := range reply.Compare(before, after) {
		line := c.Path + " " + string(c.Before) + " " + string(c.After)
		if c.Personal {
			line += " personal"
		}
		got = append(got, line)
	}
	want := []string{`client.display_name "Nord" "Süd" personal`, "client.bill_day 3 5", `client.company_address.city  "Bern" personal`, `changed_fields  ["bill_day"]`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if gone := reply.Compare(before, &eventv1.ClientChanged{Client: &eventv1.Account{Id: "7401", DisplayName: "Nord", BillDay: 3}}); len(gone) != 1 || gone[0].Path != "client.company_address" {
		t.Fatalf("an empty message that is gone is %v", gone)
	}
}

// FuzzScript holds that no output is more than a fault, and that a reply without changes is what was sent.
func FuzzScript(f *testing.F) {
	for _, seed := range []string{`{"data":{"client":{"company_address":[]}}}`, `{"decision":"allow","data":{"client":{"bill_day":5}}}`, `{"data":{"contact":{"emails":[{}]}}}`, "[", `{"data":{"client":{"balance":{"units":"1"}}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, output []byte) {
		sent := nord()
		got, err := reply.Script(output, sent, reply.Rules{})
		if !proto.Equal(sent, nord()) {
			t.Fatal("what was sent is changed")
		}
		if err != nil || got.Forbidden {
			return
		}
		if len(got.Changes) == 0 && !proto.Equal(got.Data, sent) {
			t.Fatalf("no change is named of %v", got.Data)
		}
		if _, err := proto.Marshal(got.Data); err != nil {
			t.Fatal(err)
		}
	})
}
