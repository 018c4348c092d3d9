package rules

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	"github.com/tollgate/tollgate/pkg/template"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const orderPlaced = "acme_order.placed"

// declaredOrder is a type with a field of every kind that rules read.
func declaredOrder(t testing.TB, edit func(*configv1.EventType)) *event.Type {
	t.Helper()
	const text = configv1.FieldKind_FIELD_KIND_TEXT
	d := &configv1.EventType{Fields: []*configv1.EventField{
		{Name: "id", Kind: text}, {Name: "language", Kind: text},
		{Name: "quantity", Kind: configv1.FieldKind_FIELD_KIND_INTEGER},
		{Name: "weight", Kind: configv1.FieldKind_FIELD_KIND_NUMBER},
		{Name: "express", Kind: configv1.FieldKind_FIELD_KIND_BOOLEAN},
		{Name: "placed", Kind: configv1.FieldKind_FIELD_KIND_TIMESTAMP},
		{Name: "due", Kind: configv1.FieldKind_FIELD_KIND_DATE},
		{Name: "total", Kind: configv1.FieldKind_FIELD_KIND_MONEY},
		{Name: "tags", Kind: text, Repeated: true},
		{Name: "customer", Kind: configv1.FieldKind_FIELD_KIND_OBJECT, Fields: []*configv1.EventField{
			{Name: "name", Kind: text, Personal: true}, {Name: "email", Kind: text, Contact: true},
		}},
		{Name: "lines", Kind: configv1.FieldKind_FIELD_KIND_OBJECT, Repeated: true, Fields: []*configv1.EventField{{Name: "sku", Kind: text}}},
	}}
	if edit != nil {
		edit(d)
	}
	var f fault.Violations
	made := event.Declare(orderPlaced, d, &f)
	if made == nil {
		t.Fatal(f.Err("X"))
	}
	return made
}

func orderOf(t testing.TB, data string) *event.Event {
	t.Helper()
	s := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(data), s); err != nil {
		t.Fatal(err)
	}
	return of(orderPlaced, event.Event{ID: "o", Data: s})
}

const wholeOrder = `{"id":"7","language":"de","quantity":3,"weight":1.5,"express":true,"placed":"2026-03-14T12:00:00Z","due":"2026-04-14T00:00:00Z",
	"total":{"currencyCode":"EUR","units":"12","nanos":500000000},"tags":["a","b"],"customer":{"name":"Jo","email":"jo@example.org"},"lines":[{"sku":"x"}],"secret":"undeclared"}`

func onOrders(types *Types, edit func(*Notification)) Notification {
	return notification(func(n *Notification) {
		n.Types, n.Trigger.EventTypes = types, []string{orderPlaced}
		if edit != nil {
			edit(n)
		}
	})
}

func TestDeclaredType_FiltersReadItsFields(t *testing.T) {
	types := NewTypes(declaredOrder(t, nil))
	for filter, want := range map[string]bool{
		`data.id == "7" && data.quantity > 2 && data.weight < 2.0 && data.express`: true,
		`data.total.units >= 12 && data.total.currency_code == "EUR"`:              true,
		`data.placed < timestamp("2026-03-15T00:00:00Z")`:                          true,
		`"a" in data.tags && data.lines.exists(l, l.sku == "x")`:                   true,
		`has(data.customer) && data.customer.name.startsWith("J")`:                 true,
		`type == "acme_order.placed" && tenant == "acme"`:                          true,
		`data.quantity == 4`:  false,
		`!has(data.customer)`: false,
	} {
		x := index(t, onOrders(types, func(n *Notification) { n.Trigger.Filter = filter }))
		matches, _, _ := x.Match(orderOf(t, wholeOrder))
		if got := len(matches) == 1 && matches[0].Fires; got != want || len(matches) == 1 && matches[0].Err != nil {
			t.Errorf("%s: %v", filter, matches)
		}
	}
	// What is not there reads as its default.
	x := index(t, onOrders(types, func(n *Notification) {
		n.Trigger.Filter = `data.quantity == 0 && data.customer.name == "" && !has(data.id)`
	}))
	if matches, _, _ := x.Match(orderOf(t, `{}`)); fired(matches) != "reached" {
		t.Errorf("an event without fields: %s", fired(matches))
	}
	other := orderOf(t, wholeOrder)
	if other.Tenant = "other"; len(firstOf(x.Match(other))) != 0 {
		t.Error("another tenant's event matches")
	}
}

func firstOf(matches []Match, _ *Rule, _ int) []Match { return matches }

func TestDeclaredType_TextsAndBodiesHaveItsFields(t *testing.T) {
	types := NewTypes(declaredOrder(t, nil))
	r, err := Compile(onOrders(types, func(n *Notification) {
		n.Actions[0].Parameters = []Parameter{{"p", `{{.Data.id}} {{.Data.quantity}} {{.Data.weight}} {{.Data.express}} {{.Data.total}} {{.Data.due}} {{range .Data.tags}}{{.}};{{end}} {{.Data.customer.name}}`}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	x := NewIndex([]*Rule{r})
	e := x.View(orderOf(t, wholeOrder))
	for name, tc := range map[string]struct {
		target webhook.Endpoint
		want   string
	}{
		"parameters":                    {webhook.Endpoint{Profile: webhook.Parameters}, `{"p":"7 3 1.5 true 12.50 2026-04-14T00:00:00Z a;b; "}`},
		"parameters with personal data": {webhook.Endpoint{Profile: webhook.Parameters, IncludePersonal: true}, `{"p":"7 3 1.5 true 12.50 2026-04-14T00:00:00Z a;b; Jo"}`},
		"binary": {webhook.Endpoint{Profile: webhook.CloudEventsBinary},
			`{"id":"7","language":"de","quantity":"3","weight":1.5,"express":true,"placed":"2026-03-14T12:00:00Z","due":"2026-04-14T00:00:00Z",` +
				`"total":{"currencyCode":"EUR","units":"12","nanos":500000000},"tags":["a","b"],"customer":{},"lines":[{"sku":"x"}]}`},
	} {
		target := tc.target
		target.Name = endpoint
		o := &Occasion{Event: e, Now: e.Time}
		m, err := r.Render(r.Actions[0], o, target.Planning(), r.Recipients(r.Actions[0], o, endpoint).To[0], channel.Position{})
		if err != nil || string(m.Body) != tc.want {
			t.Errorf("%s: %v\n%s, want\n%s", name, err, m.Body, tc.want)
		}
	}
	if o := (&Occasion{Event: e}); o.language() != "de" {
		t.Errorf("language %q", o.language())
	}
}

func TestDeclaredType_WhatIsWrongIsNamed(t *testing.T) {
	types := NewTypes(declaredOrder(t, nil))
	for name, tc := range map[string]struct {
		edit func(*Notification)
		want string
	}{
		"a field that is not declared":  {func(n *Notification) { n.Trigger.Filter = "data.colour == 1" }, "data has no field \"colour\", but customer, due, express"},
		"a text compared with a number": {func(n *Notification) { n.Trigger.Filter = "data.id == 1" }, "no matching overload"},
		"a token that is not declared":  {func(n *Notification) { n.Actions[0].Parameters = []Parameter{{"p", "{{.Data.colour}}"}} }, "INVALID_TOKEN: .Data.colour"},
		"a list of objects as a token":  {func(n *Notification) { n.Actions[0].Parameters = []Parameter{{"p", "{{.Data.lines}}"}} }, "INVALID_TOKEN: .Data.lines"},
		"contact in a webhook":          {func(n *Notification) { n.Actions[0].Parameters = []Parameter{{"p", "{{.Data.customer.email}}"}} }, "CONTACT_TOKEN"},
		"a type of nobody":              {func(n *Notification) { n.Types = nil }, `event type "acme_order.placed" is unknown`},
		"a wildcard of nobody":          {func(n *Notification) { n.Types, n.Trigger.EventTypes = nil, []string{"acme_order.*"} }, `no event type is of entity "acme_order"`},
	} {
		_, err := Compile(onOrders(types, tc.edit))
		if got := strings.Join(violations(t, err), "; "); !strings.Contains(got, tc.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Rules with a state are kept on declared types as on built-in ones, and a timer holds the event as it was sent.
func TestDeclaredType_RulesWithAState(t *testing.T) {
	types := NewTypes(declaredOrder(t, nil))
	written := func(kind *configv1.Trigger) Notification {
		kind.EventTypes, kind.Key = []string{orderPlaced}, "data.id"
		out := FromProto(&configv1.Notification{Name: "tenants/acme/notifications/x", Active: true, Trigger: kind, Actions: []*configv1.Action{{
			Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: endpoint}},
		}}}, table.Channels)
		out.Types = types
		return out
	}
	crossing, err := Compile(written(&configv1.Trigger{Kind: &configv1.Trigger_Crossing{Crossing: &configv1.Crossing{Field: "data.total", Up: &money.Money{CurrencyCode: "EUR", Units: 10}}}}))
	if err != nil {
		t.Fatal(err)
	}
	x := NewIndex([]*Rule{crossing})
	var state kind.State
	var fired []int
	for i, units := range []string{"9", "11", "12"} {
		e := x.View(orderOf(t, `{"id":"7","total":{"currencyCode":"EUR","units":"`+units+`"}}`))
		matches, _, _ := x.Match(e)
		var result kind.Result
		state, result = crossing.Apply(state, e, matches[0].States[0].Role, At{Now: march, Time: e.Time})
		if len(result.Firings) > 0 {
			fired = append(fired, i)
		}
	}
	if !slices.Equal(fired, []int{1}) {
		t.Errorf("it crossed at %v", fired)
	}

	delayed, err := Compile(written(&configv1.Trigger{Kind: &configv1.Trigger_Delayed{Delayed: &configv1.Delayed{Days: -1, From: "data.due"}}}))
	if err != nil {
		t.Fatal(err)
	}
	sent := orderOf(t, `{"id":"7","due":"2026-04-14T00:00:00Z","quantity":3}`)
	view := NewIndex([]*Rule{delayed}).View(sent)
	state, _ = delayed.Apply(kind.State{}, view, kind.Matches, At{Now: march, Time: view.Time})
	due, pending := state.Due()
	if !pending || due.Format("2006-01-02") != "2026-04-13" {
		t.Fatalf("due %v", due)
	}
	_, result := delayed.Fire(state, due, nil)
	held, err := Held(types, "acme", "account/1", result.Firings[0].Set, result.Firings[0].Event)
	if err != nil || !proto.Equal(held.Data, sent.Data) || held.Declared == nil {
		t.Errorf("%+v: %v", held, err)
	}
	// Its type has another kind of field when the timer fires, or is gone.
	other := NewTypes(declaredOrder(t, func(d *configv1.EventType) { d.Fields[0].Kind = configv1.FieldKind_FIELD_KIND_BOOLEAN }))
	if _, err := Held(other, "acme", "account/1", result.Firings[0].Set, result.Firings[0].Event); err == nil || !strings.Contains(err.Error(), "data.id") {
		t.Errorf("%v", err)
	}
	if _, err := Held(nil, "acme", "account/1", result.Firings[0].Set, result.Firings[0].Event); err == nil {
		t.Error("the event of a type that is gone is read")
	}
}

// An event was accepted by another declaration: it fires nothing, and its rules report why.
func TestDeclaredType_AnEventOfAnotherDeclarationMatchesNothing(t *testing.T) {
	x := index(t, onOrders(NewTypes(declaredOrder(t, func(d *configv1.EventType) { d.Fields[0].Kind = configv1.FieldKind_FIELD_KIND_BOOLEAN })), nil))
	e := orderOf(t, wholeOrder)
	if x.View(e) != e {
		t.Error("it has a view")
	}
	matches, _, _ := x.Match(e)
	if len(matches) != 1 || matches[0].Fires || matches[0].Err == nil || !strings.Contains(matches[0].Err.Error(), "data.id: must be true or false") {
		t.Errorf("%+v", matches)
	}
	more := index(t, onOrders(NewTypes(declaredOrder(t, func(d *configv1.EventType) {
		d.Fields = append(d.Fields, &configv1.EventField{Name: "colour", Kind: configv1.FieldKind_FIELD_KIND_TEXT, Required: true})
	})), func(n *Notification) { n.Trigger.Filter = `data.colour == ""` }))
	if matches, _, _ := more.Match(e); fired(matches) != "reached" {
		t.Errorf("a field is required by now: %v", matches)
	}
}

func TestTokens_OfADeclaredType(t *testing.T) {
	got := map[string]Token{}
	for _, token := range Tokens(*declaredOrder(t, nil)) {
		got[token.Path] = token
	}
	if got[".Data.customer.email"].Contact != true || !got[".Data.customer.name"].Personal || got[".Data.total"].Kind != template.Money || got[".Data.due"].Kind != template.Date {
		t.Errorf("%v", got)
	}
	if _, there := got[".Data.lines"]; there {
		t.Error("a list of objects has a token")
	}
}

func TestUnchanged_ComparesTheTypesThatANotificationIsOn(t *testing.T) {
	one := declaredOrder(t, nil)
	same, other := NewTypes(one), NewTypes(declaredOrder(t, nil))
	for pattern, want := range map[string]bool{"usage.charged": true, "safeguard.*": true, orderPlaced: false, "acme_order.*": false} {
		n := &configv1.Notification{Trigger: &configv1.Trigger{EventTypes: []string{pattern}}}
		if got := Unchanged(n, same, other); got != want {
			t.Errorf("%s, declared anew: %t", pattern, got)
		}
		if !Unchanged(n, same, NewTypes(one)) {
			t.Errorf("%s, the same: it changed", pattern)
		}
	}
}
