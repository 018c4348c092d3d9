package rules

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/channeltest"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/expr"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/template"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const endpoint = "tenants/acme/endpoints/crm"

// notification is a valid one, changed by edit.
func notification(edit func(*Notification)) Notification {
	n := Notification{
		Tenant: "acme", Code: "reached", Version: 3, Active: true,
		Trigger: Trigger{EventTypes: []string{"safeguard.reached"}},
		Actions: []Action{webhookTo("notify", endpoint)},
	}
	if edit != nil {
		edit(&n)
	}
	return n
}

// webhookTo is an action that sends a webhook.
func webhookTo(name, endpoint string) Action {
	return Action{Name: name, Channel: webhook.Channel, Part: webhook.Action{Endpoint: endpoint}}
}

func violations(t *testing.T, err error) []string {
	t.Helper()
	if err != nil && fault.KindOf(err) != fault.Invalid {
		t.Fatalf("not an error of kind Invalid: %v", err)
	}
	var out []string
	for _, v := range fault.ViolationsOf(err) {
		out = append(out, v.String())
	}
	return out
}

func TestCompile_ListsEveryViolation(t *testing.T) {
	with := func(text string) func(*Notification) {
		return func(n *Notification) { n.Actions[0].Parameters = []Parameter{{"p", text}} }
	}
	types := func(names ...string) func(*Notification) {
		return func(n *Notification) { n.Trigger.EventTypes = names }
	}
	filter := func(text string, names ...string) func(*Notification) {
		return func(n *Notification) {
			n.Trigger.Filter = text
			if names != nil {
				n.Trigger.EventTypes = names
			}
		}
	}
	yes := true
	tests := map[string]struct {
		edit func(*Notification)
		want []string // each a part of one violation
	}{
		"the plain one is right":                         {nil, nil},
		"an entity with all its types is right":          {types("safeguard.*", "usage.charged"), nil},
		"an unknown type is named":                       {types("usage.charged", "usage.chraged"), []string{`trigger.event_types[1]: event type "usage.chraged" is unknown`}},
		"a wildcard stands for one entity":               {types("*", "safe*.reached", "x.*"), []string{`[0]: "*" must be a type`, `[1]: "safe*.reached" must be a type`, `[2]: no event type is of entity "x"`}},
		"control records are no events":                  {types("system.tick"), []string{"control record"}},
		"a trigger without types fires never":            {types(), []string{"trigger.event_types: must have at least one"}},
		"a notification has an action":                   {func(n *Notification) { n.Actions = nil }, []string{"actions: must have at least one"}},
		"a filter is CEL":                                {filter("data.spent.units >"), []string{"trigger.filter: Syntax error"}},
		"a filter names fields that exist":               {filter("data.spend.units > 3"), []string{`trigger.filter: undefined field 'spend' (line 1, column 5): data has no field "spend", but alert_thresholds, blocked, `}},
		"fields within fields, on any line":              {filter("data\n .spent.unit > 3"), []string{`undefined field 'unit' (line 2, column 8): data.spent has no field "unit", but currency_code, nanos, units`}},
		"a filter names values that exist":               {filter("data.option == Safeguard.Option.OPTION_X"), []string{"(line 1, column 25): Safeguard.Option has OPTION_UNSPECIFIED, OPTION_DATA, OPTION_OVERSPEND, OPTION_PAYMENT"}},
		"a filter reads the envelope and data":           {filter("tenants == 'acme'"), []string{"(line 1, column 1): there are data, id, source, type, tenant, subject, correlation, time, received_at"}},
		"what may not be there is asked for":             {filter("data.custom_fields.plan == 'gold'", "client.custom_fields_updated"), []string{"trigger.filter: data.custom_fields.plan may not be there: write has(data.custom_fields.plan) && before it (line 1, column 19)"}},
		"then it is read":                                {filter("has(data.custom_fields.plan) && data.custom_fields.plan == 'gold'", "client.custom_fields_updated"), nil},
		"a hundred actions are too many":                 {func(n *Notification) { n.Actions = slices.Repeat(n.Actions, 100) }, []string{"actions: must be at most 20, are 100"}},
		"a filter compares like with like":               {filter("data.spent.units > 'x'"), []string{"no matching overload"}},
		"a filter yields true or false":                  {filter("data.spent.units"), []string{"must be true or false, not int"}},
		"a filter has no clock":                          {filter("time < now()"), []string{"undeclared reference to 'now'"}},
		"a pattern that can't be compiled is found now":  {filter("data.reason.matches('(')"), []string{"invalid matches argument"}},
		"a filter over two messages holds for both":      {filter("data.reason == 'x'", "safeguard.reached", "subscriber.terminated"), nil},
		"a field of one message only names who lacks it": {filter("data.spent.units > 3", "safeguard.reached", "subscriber.terminated"), []string{"trigger.filter: for subscriber.terminated: undefined field 'spent'"}},
		"a syntax error is listed once":                  {filter("data.", "safeguard.reached", "subscriber.terminated"), []string{"Syntax error"}},
		"envelope and enums are known":                   {filter("subject.startsWith('44') && time < received_at && data.state == Safeguard.State.STATE_ACTIVE && type != '' && id+source+tenant+correlation != ''"), nil},
		"an action has a name of its own":                {func(n *Notification) { n.Actions = append(n.Actions, n.Actions[0]) }, []string{`actions[1].name: "notify" stands twice`}},
		"an endpoint is of the same tenant":              {func(n *Notification) { n.Actions[0].Part = webhook.Action{Endpoint: "tenants/other/endpoints/x"} }, []string{`actions[0].webhook.endpoint: must be an endpoint of tenant "acme"`}},
		"an action names its target":                     {func(n *Notification) { n.Actions[0].Part = webhook.Action{} }, []string{"actions[0].webhook.endpoint: must be"}},
		"an action without a channel is refused":         {func(n *Notification) { n.Actions[0].Channel = nil }, []string{"actions[0]: must have a channel that is known"}},
		"it would expire on the way":                     {func(n *Notification) { n.Actions[0].ExpiresAfter = time.Millisecond }, []string{"actions[0].expires_after: must be from 1s to 28h0m0s"}},
		"it would expire before it is planned":           {func(n *Notification) { n.Actions[0].ExpiresAfter = -1 }, []string{"actions[0].expires_after: must be from 1s to 28h0m0s"}},
		"it would expire after the last attempt":         {func(n *Notification) { n.Actions[0].ExpiresAfter = 28*time.Hour + 1 }, []string{"actions[0].expires_after: must be from 1s to 28h0m0s"}},
		"order is not there for types without":           {func(n *Notification) { n.Trigger.EventTypes = []string{"billrun.*"}; n.Actions[0].Ordered = &yes }, []string{"actions[0].ordered: must not be true: billrun.failed has no order"}},
		"parameters have names of their own":             {func(n *Notification) { n.Actions[0].Parameters = []Parameter{{"a", ""}, {"a", ""}, {"", ""}} }, []string{`parameters[1].name: "a" stands twice`, "parameters[2].name: must not be empty"}},
		"tokens, comparisons and functions are right":    {with(`{{with .Option}}{{.Spent}} of {{.Limit | default "?"}}{{if and (gt .ThresholdPercent 80) (not .Blocked)}}!{{else if eq .Name "data"}}.{{end}}{{$.Core.EventName | upper}}{{end}}`), nil},
		"a token that no type has is INVALID_TOKEN":      {with("{{.Account.Name}}"), []string{"actions[0].parameters[0].template: INVALID_TOKEN: .Account does not exist for safeguard.reached"}},
		"tokens inside with are named from the root":     {with("{{with .Option}}{{.Spend}}{{end}}"), []string{"INVALID_TOKEN: .Option.Spend does not exist for safeguard.reached, the nearest that exists is .Option.Spent"}},
		"a token that some types lack names them": {func(n *Notification) {
			n.Trigger.EventTypes = []string{"subscriber.*"}
			with("{{.Subscriber.Imsi}}{{.Subscriber.Msisdn}}")(n)
		}, []string{"INVALID_TOKEN: .Subscriber.Imsi does not exist for subscriber.cos_changed, subscriber.msisdn_changed, subscriber.resumed, subscriber.roaming_changed, subscriber.suspended, subscriber.terminated"}},
		"a bill run has no account": {func(n *Notification) {
			n.Trigger.EventTypes = []string{"billrun.*"}
			with("{{.BillRun.Total}} {{.AccountService.Name}}")(n)
		}, []string{"INVALID_TOKEN: .AccountService does not exist for billrun.completed, billrun.failed, billrun.started"}},
		"payment errors exist on failure only": {func(n *Notification) {
			n.Trigger.EventTypes = []string{"payment.*"}
			with("{{.PaymentError.Code}}")(n)
		}, []string{"INVALID_TOKEN: .PaymentError does not exist for payment.processed"}},
		"contact tokens never reach a webhook": {func(n *Notification) {
			n.Trigger.EventTypes = []string{"subscriber.activated"}
			with("{{.Contact.Email}}")(n)
		}, []string{"CONTACT_TOKEN: .Contact.Email"}},
		"nor do those of a safeguard": {with("{{.Option.Spent}} {{.Contact.Phone}}"), []string{"CONTACT_TOKEN: .Contact.Phone"}},
		"thresholds are ranged over":  {with("{{range .Option.AlertThresholds}}{{.}}{{end}}{{if .Option.SecondNotice}}!{{end}}"), nil},
		"contact tokens hide behind nothing": {func(n *Notification) {
			n.Trigger.EventTypes = []string{"subscriber.activated"}
			with("{{with .Contact}}{{if eq .Phone $.Contact.Name}}x{{end}}{{end}}")(n)
		}, []string{"CONTACT_TOKEN: .Contact.Phone", "CONTACT_TOKEN: .Contact.Name"}},
		"a list is ranged over": {func(n *Notification) {
			n.Trigger.EventTypes = []string{"invoice.posted"}
			with("{{range .Invoice.PaymentReferences}}{{. | lower}} {{else}}-{{end}}")(n)
		}, nil},
		"a number is not a list":                          {with("{{range 1000000000}}x{{end}}"), []string{"range over 1000000000: it is a number, not a list"}},
		"a text is not a list":                            {with("{{range .Option.Spent}}x{{end}}"), []string{"it is an amount, not a list"}},
		"a group can't be printed":                        {with("{{.Option}}"), []string{"is a group of tokens and can't be printed"}},
		"the whole can't be printed":                      {with("{{.}}"), []string{"is a group of tokens and can't be printed"}},
		"text/template's other functions are not allowed": {with(`{{printf "%1000000000d" 1}}{{len "x"}}{{html "x"}}{{index . "Option"}}{{call .}}`), []string{`"printf" is not allowed`, `"len" is not allowed`, `"html" is not allowed`, `"index" is not allowed`, `"call" is not allowed`}},
		"variables are not allowed":                       {with("{{$x := .Option.Spent}}{{$x}}"), []string{"$x := .Option.Spent: variables are not allowed", "$x: variables are not allowed"}},
		"templates of its own are not allowed":            {with(`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`), []string{"must not define templates", `{{template "x"}} is not allowed`}},
		"a list within a list has no bound":               {with("{{range .Option.AlertThresholds}}{{range $.Option.AlertThresholds}}x{{end}}{{end}}"), []string{"range within range is not allowed: $.Option.AlertThresholds"}},
		"a list may not be made much of":                  {with("{{range .Option.AlertThresholds}}" + strings.Repeat("{{.|lower}}", 40) + "{{end}}"), []string{"actions[0].parameters: cost too much, "}},
		"a pattern that repeats by count is refused":      {filter("data.reason.matches('" + strings.Repeat("a{0,1000}", 50) + "')"), []string{"trigger.filter: the pattern takes up to 100001 steps for a character, at most 1000"}},
		"a pattern is a constant":                         {filter("data.reason.matches(data.language)"), []string{"trigger.filter: the pattern of matches must be a constant text"}},
		"text is not compared as if it were a number":     {with("{{if gt .Option.Spent 5}}x{{end}}"), []string{"gt compares two numbers"}},
		"broken templates are listed with their position": {with("{{.Option.Spent"), []string{"text:1: unclosed action"}},
		"too much is refused": {func(n *Notification) {
			n.Trigger.Filter = strings.Repeat(" ", expr.MaxText) + "true"
			with(strings.Repeat("x", template.MaxSource+1))(n)
		}, []string{"trigger.filter: must be at most 4096 bytes", "must be at most 16384 bytes"}},
		"a name has its form": {func(n *Notification) { n.Tenant, n.Code = "", "" }, []string{"name: must be"}},
		"everything wrong is listed at once": {func(n *Notification) {
			n.Trigger = Trigger{EventTypes: []string{"nope", "safeguard.alert"}, Filter: "1"}
			n.Actions[0] = Action{Channel: webhook.Channel, Part: webhook.Action{}, Parameters: []Parameter{{"a", "{{.X.Y}}"}}}
		}, []string{`"nope" is unknown`, "trigger.filter: must be true or false", "actions[0].name", "actions[0].webhook.endpoint", "INVALID_TOKEN: .X does not exist for safeguard.alert"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(notification(tc.edit))
			got := violations(t, err)
			if len(got) != len(tc.want) {
				t.Fatalf("violations %q, want %q", got, tc.want)
			}
			for i, part := range tc.want {
				if !strings.Contains(got[i], part) {
					t.Errorf("violation %q lacks %q", got[i], part)
				}
			}
		})
	}
}

func TestTokens_ExistInTheirMessageAndRender(t *testing.T) {
	for _, typ := range event.Types() {
		for _, g := range contexts()[typ.Name] {
			var text strings.Builder
			names := map[string]bool{}
			for _, tok := range g.tokens {
				if names[tok.name] {
					t.Errorf("%s: .%s.%s stands twice", typ.Name, g.name, tok.name)
				}
				names[tok.name] = true
				if tok.audience == channel.Contact {
					continue
				}
				if tok.kind == template.List {
					text.WriteString("{{range ." + g.name + "." + tok.name + "}}{{.}}{{end}}")
				} else {
					text.WriteString("{{." + g.name + "." + tok.name + "}} ")
				}
			}
			r, err := Compile(notification(func(n *Notification) {
				n.Trigger.EventTypes = []string{typ.Name}
				n.Actions[0].Parameters = []Parameter{{"all", text.String()}}
			}))
			if err != nil {
				t.Fatal(err)
			}
			// An event without data, and one with data in every field.
			full := proto.Clone(typ.Data)
			channeltest.Fill(full.ProtoReflect())
			for _, data := range []proto.Message{typ.Data, full} {
				e := &event.Event{Type: typ.Name, Tenant: "acme", Data: data}
				o := &Occasion{Event: e}
				to := (&webhook.Endpoint{Profile: webhook.Parameters, IncludePersonal: true}).Planning()
				if _, err := r.Render(r.Actions[0], o, to, channel.Recipient{}, channel.Position{}); err != nil {
					t.Errorf("%s: %v", typ.Name, err)
				}
			}
		}
	}
}

func TestWildcard_MeansEveryTypeOfItsEntity(t *testing.T) {
	r, err := Compile(notification(func(n *Notification) { n.Trigger.EventTypes = []string{"client.*", "client.created"} }))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"client.archived", "client.balance.depleted", "client.balance.restored", "client.created",
		"client.custom_fields_updated", "client.deleted", "client.updated",
	}
	if diff := cmp.Diff(want, r.Types()); diff != "" {
		t.Error(diff)
	}
}

func TestActions_AreOrderedWhereAllTypesAre(t *testing.T) {
	no := false
	for name, tc := range map[string]struct {
		types []string
		asked *bool
		want  bool
	}{
		"all types are ordered":      {[]string{"usage.charged", "safeguard.*"}, nil, true},
		"one type is not":            {[]string{"usage.charged", "billrun.failed"}, nil, false},
		"the order is not wanted":    {[]string{"usage.charged"}, &no, false},
		"no order where none can be": {[]string{"hook.failed"}, &no, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Compile(notification(func(n *Notification) {
				n.Trigger.EventTypes = tc.types
				n.Actions[0].Ordered = tc.asked
			}))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Actions[0].Ordered; got != tc.want {
				t.Errorf("ordered %v, want %v", got, tc.want)
			}
		})
	}
}

func TestActions_AreInTheOrderOfTheirNames(t *testing.T) {
	r, err := Compile(notification(func(n *Notification) {
		n.Actions = []Action{webhookTo("b", endpoint), webhookTo("a", endpoint)}
	}))
	if err != nil || r.Actions[0].Name != "a" {
		t.Fatal(err, r.Actions)
	}
}

func TestValidate_ReadsTheMessage(t *testing.T) {
	n := &configv1.Notification{
		Name:    "tenants/acme/notifications/x",
		Trigger: &configv1.Trigger{EventTypes: []string{"safeguard.*"}, Filter: "data.blocked"},
		Actions: []*configv1.Action{{
			Name:       "notify",
			Action:     &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: endpoint}},
			Parameters: []*configv1.Parameter{{Name: "spent", Template: "{{.Option.Spent}}"}},
			Ordered:    proto.Bool(true),
		}},
	}
	if err := Validate(n, table.Channels, nil); err != nil {
		t.Fatal(err)
	}
	n.Name = "tenants/acme/endpoints/x"
	n.Actions[0].Parameters[0].Template = "{{.Option.Spend}}"
	if got := violations(t, Validate(n, table.Channels, nil)); len(got) != 2 {
		t.Errorf("violations %q", got)
	}
}

// What is written as 0 is not what is left out.
func TestFromProto_ExpiryOfNoTimeIsRefused(t *testing.T) {
	n := &configv1.Notification{Name: "tenants/a/notifications/n", Actions: []*configv1.Action{{Name: "x", ExpiresAfter: &durationpb.Duration{}}, {Name: "y"}}}
	got := FromProto(n, nil)
	if got.Actions[0].ExpiresAfter >= 0 || got.Actions[1].ExpiresAfter != 0 {
		t.Errorf("%v", got.Actions)
	}
}
