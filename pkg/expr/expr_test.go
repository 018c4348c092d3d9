package expr

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"google.golang.org/protobuf/types/known/structpb"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func env(t testing.TB) *cel.Env {
	t.Helper()
	made, err := NewEnv(
		cel.Types(&eventv1.DocumentChanged{}, &eventv1.ClientCustomFieldsUpdated{}),
		cel.Variable("time", cel.TimestampType),
		cel.Variable("doc", cel.ObjectType("tollgate.event.v1.DocumentChanged")),
		cel.Variable("client", cel.ObjectType("tollgate.event.v1.ClientCustomFieldsUpdated")),
	)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// An expression that is too expensive on an ordinary event is rejected when it is saved, with its position and a
// remedy.
func TestCompile_RejectsExpensiveExpressions(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 500), ",") + "]"
	for name, tc := range map[string]struct{ text, want string }{
		"a pattern that repeats by count":         {`doc.document.id.matches('` + strings.Repeat("a{0,1000}", 100) + `')`, "the pattern takes up to 200001 steps for a character, at most 1000: repeat less, a{0,1000} counts a thousand times (line 1, column 25)"},
		"counts within counts":                    {`doc.document.id.matches('((a{0,9}b{0,3}){0,20}){0,5}')`, "steps for a character"},
		"several patterns, each small enough":     {strings.TrimSuffix(strings.Repeat(`doc.document.id.matches('a{0,400}b') || `, 4), " || "), "costs too much"},
		"a pattern that is no constant":           {`doc.document.id.matches(doc.document.number)`, "the pattern of matches must be a constant text, so that what it costs is known (line 1, column 37)"},
		"a pattern put together":                  {`doc.document.id.matches('a' + 'b')`, "must be a constant text"},
		"the pattern of the function":             {`matches(doc.document.id, doc.document.number)`, "must be a constant text"},
		"a pattern for each element":              {`doc.document.payment_references.exists(r, r.matches('(a|b){0,100}c'))`, "costs too much"},
		"a loop within a loop":                    {list + ".all(x, " + list + ".all(y, x == y))", "costs too much"},
		"a list within a list of the event":       {`doc.document.payment_references.all(a, doc.document.payment_references.all(b, size(a) + size(b) > 0 && a.contains(b)))`, "loop over one list instead of one within another"},
		"three loops":                             {`[1].all(x, [1].all(y, [1].all(z, true)))`, "nesting"},
		"a zone looked up for each element twice": {`doc.document.payment_references.all(a, time.getHours('Europe/Berlin') > 1)`, "costs too much"},
		"a broken pattern":                        {`doc.document.id.matches('(')`, "invalid matches argument"},
		"too long a text":                         {strings.Repeat(" ", MaxText) + "true", "must be at most 4096 bytes, has 4100"},
		"no answer":                               {`doc.document.id`, "must be true or false, not string"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, faults := Compile(env(t), tc.text)
			if !strings.Contains(strings.Join(faults, "\n"), tc.want) {
				t.Errorf("faults %q, want %q", faults, tc.want)
			}
		})
	}
}

func TestCompile_AcceptsCommonExpressions(t *testing.T) {
	for text, counted := range map[string]bool{
		`doc.document.total.units > 100 && doc.document.currency == 'EUR'`:                                                                                           false,
		`doc.document.id.startsWith('44') && time < timestamp('2026-01-01T00:00:00Z')`:                                                                               false,
		`doc.document.due_kind == Document.DueKind.DUE_KIND_RECEIVABLE`:                                                                                              false,
		`doc.document.id in ['a', 'b', 'c']`:                                                                                                                         false,
		`doc.document.number.matches('^[A-Z]{2}-[0-9]{4,10}$')`:                                                                                                      true,
		`doc.document.payment_references.exists(r, r.startsWith('RF') || r.contains('x'))`:                                                                           true,
		`doc.document.payment_references.exists(a, doc.document.payment_references.exists(b, b == 'x'))`:                                                             true,
		`has(client.custom_fields.plan) && client.custom_fields.plan == 'gold' && has(client.custom_fields.tags) && client.custom_fields.tags.exists(t, t == 'vip')`: true,
		`string(time).contains('2026') && size(doc.document.id) > 3 && int(doc.document.cycle) > 3 || 1 > 2`:                                                         true,
		`time.getHours('Europe/Berlin') >= 8`:                                                                                                                        true,
	} {
		p, _, faults := Compile(env(t), strings.ReplaceAll(text, "doc.document.cycle", "doc.document.number"))
		if faults != nil {
			t.Errorf("%s: %q", text, faults)
			continue
		}
		if p.counted != counted {
			t.Errorf("%s: counted %t, costs up to %d", text, p.counted, p.most)
		}
	}
}

// What may not be there is read only where it is known to be.
func TestCompile_DemandsHasOfWhatMayNotBeThere(t *testing.T) {
	const plan, refused = `client.custom_fields.plan == 'gold'`, "client.custom_fields.plan may not be there: write has(client.custom_fields.plan) && before it (line 1, column "
	for text, want := range map[string]string{
		plan: refused + "21)",
		`has(client.custom_fields.plan) && ` + plan:                                                           "",
		plan + ` && has(client.custom_fields.plan)`:                                                           "", // false absorbs an error
		`client.id == 'x' && (has(client.custom_fields.plan) && client.id != '') && ` + plan:                  "",
		`has(client.custom_fields.plan) || ` + plan:                                                           refused,
		`!has(client.custom_fields.plan) || ` + plan:                                                          "",
		`!has(client.custom_fields.plan) && ` + plan:                                                          refused,
		`!(has(client.custom_fields.plan) && ` + plan + `)`:                                                   "",
		`has(client.custom_fields.plan) ? ` + plan + ` : false`:                                               "",
		`has(client.custom_fields.plan) ? false : ` + plan:                                                    refused,
		`has(client.custom_fields.other) && ` + plan:                                                          refused,
		`has(client.custom_fields.plan.name) && ` + plan:                                                      refused, // has fails itself
		`has(client.custom_fields.a) && has(client.custom_fields.a.b) && client.custom_fields.a.b == 1`:       "",
		`client.custom_fields['plan'] == 'gold'`:                                                              "client.custom_fields.plan may not be there: write 'plan' in client.custom_fields && before it",
		`'plan' in client.custom_fields && client.custom_fields['plan'] == 'gold'`:                            "",
		`'plan' in client.custom_fields && ` + plan:                                                           "",
		`client.custom_fields.plan in ['gold']`:                                                               refused,
		`has(client.custom_fields.tags) && client.custom_fields.tags.exists(t, t.name == 'x')`:                "t.name may not be there",
		`has(client.custom_fields.tags) && client.custom_fields.tags.exists(t, has(t.name) && t.name == 'x')`: "",
		`doc.document.total.units > 3 && doc.document.payment_references[0] == 'x'`:                           "", // a message reads as its defaults, a list has no names
	} {
		_, _, faults := Compile(env(t), text)
		if got := strings.Join(faults, "; "); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// hostile are expressions that an ordinary event is nothing to, on events as large as there are.
func expensiveExpressions() map[string]any {
	long := strings.Repeat("a", 1<<20-100)
	many := make([]string, 200_000)
	for i := range many {
		many[i] = "ab"
	}
	nested, _ := structpb.NewStruct(map[string]any{"a": long[:1<<19], "b": long[:1<<19]})
	return map[string]any{
		"time":   time.Unix(0, 0),
		"doc":    &eventv1.DocumentChanged{Document: &eventv1.Document{Id: long, Number: long[1:], PaymentReferences: many}},
		"client": &eventv1.ClientCustomFieldsUpdated{Id: "1", CustomFields: nested},
	}
}

func TestHolds_CostIsBoundedForEveryEvent(t *testing.T) {
	event := expensiveExpressions()
	repeat := func(n int, text string) string { return strings.TrimSuffix(strings.Repeat(text+" || ", n), " || ") }
	for name, text := range map[string]string{
		"a pattern on a long text":      `doc.document.id.matches('(a|b|c|d)*x')`,
		"many patterns":                 repeat(60, `doc.document.id.matches('(a*)*b')`),
		"length of a text, many times":  repeat(100, `size(doc.document.id) < 0`),
		"a text in another":             repeat(60, `doc.document.id.contains('b')`),
		"texts put together":            repeat(40, `doc.document.id + doc.document.number == 'x'`),
		"each of many elements":         `doc.document.payment_references.all(r, r.startsWith('a'))`,
		"many of many":                  `doc.document.payment_references.all(a, doc.document.payment_references.all(b, b != 'x'))`,
		"a long text for each element":  `doc.document.payment_references.all(a, size(doc.document.id) > 1)`,
		"a message for each element":    `doc.document.payment_references.all(a, doc == doc)`,
		"custom fields for each":        `doc.document.payment_references.all(a, client.custom_fields == client.custom_fields)`,
		"custom fields in a list":       `doc.document.payment_references.all(a, client.custom_fields in [client.custom_fields])`,
		"a number read from a long one": repeat(60, `double(doc.document.id) > 1.0`),
		"a list made of many":           `size(doc.document.payment_references.map(a, a + 'x')) > 0`,
	} {
		t.Run(name, func(t *testing.T) {
			p, _, faults := Compile(env(t), text)
			if faults != nil {
				t.Fatalf("is refused: %q", faults)
			}
			holds, cost, err := p.Holds(activationOf(t, event))
			again, costAgain, errAgain := p.Holds(activationOf(t, event))
			if holds != again || cost != costAgain || fmt.Sprint(err) != fmt.Sprint(errAgain) {
				t.Errorf("decides %t, %d, %v and then %t, %d, %v", holds, cost, err, again, costAgain, errAgain)
			}
			if cost > Limit {
				t.Errorf("cost %d", cost)
			}
		})
	}
}

func activationOf(t testing.TB, vars map[string]any) cel.Activation {
	t.Helper()
	a, err := cel.NewActivation(vars)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The figures that the documents have.
func TestBounds_AreThoseOfTheDocuments(t *testing.T) {
	page, err := os.ReadFile("../../deploy/docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	row := fmt.Sprintf("| a filter or scope | %d KiB, and %d,%03d steps on an event with texts of %d KiB and lists of %d |\n",
		MaxText>>10, Limit/1000, Limit%1000, ordinaryString>>10, ordinaryList)
	if !strings.Contains(string(page), row) {
		t.Errorf("notifications.md does not have %q", row)
	}
}
