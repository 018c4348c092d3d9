package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/channel/channeltest"
	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// withoutTerms is the index of the same rules, all of which are tried on every event.
func withoutTerms(x *Index) *Index {
	all := &Index{byType: map[address]*candidates{}, stateful: x.stateful}
	for at, c := range x.byType {
		whole := *c
		whole.finder = finder{}
		for i := range c.rules {
			whole.finder.always = append(whole.finder.always, i)
		}
		all.byType[at] = &whole
	}
	return all
}

// A filter is a tree of conditions, some of which are terms and some of which fail on some events.
func drawFilter(t *rapid.T, depth int) string {
	text := func() string {
		return "'" + rapid.SampledFrom([]string{"", "a", "ab", "b", "44", "447"}).Draw(t, "text") + "'"
	}
	texts := func() string {
		return rapid.SampledFrom([]string{"data.service", "subject", "id", "data.net.currency_code", "source", "type"}).Draw(t, "field")
	}
	kinds := []func() string{
		func() string { return texts() + " == " + text() },
		func() string { return text() + " == " + texts() },
		func() string { return texts() + ".startsWith(" + text() + ")" },
		func() string { return texts() + " in [" + text() + ", " + text() + ", " + text() + "]" },
		func() string { return texts() + " != " + text() },
		func() string {
			return "data.category == " + rapid.SampledFrom([]string{"UsageCharged.Category.CATEGORY_DATA", "0", "1"}).Draw(t, "category")
		},
		func() string { return fmt.Sprintf("data.quantity in [%d, 1]", rapid.IntRange(0, 2).Draw(t, "number")) },
		func() string { return fmt.Sprintf("data.net.units == %d", rapid.IntRange(-1, 2).Draw(t, "units")) },
		func() string {
			return "data.roaming == " + rapid.SampledFrom([]string{"true", "false"}).Draw(t, "truth")
		},
		func() string { return "data.roaming" },
		func() string { return "has(data.net)" },
		// Fails on units of 0, and on a text that is no number.
		func() string { return "10 / data.net.units > 3" },
		func() string { return "int(data.service) > 0" },
		// Cost too much on a long text, which no false absorbs.
		func() string { return strings.Repeat("data.service.matches('(a|b)*c') || ", 5) + "false" },
		func() string { return fmt.Sprint(rapid.Bool().Draw(t, "constant")) },
	}
	if depth > 0 && rapid.IntRange(0, 2).Draw(t, "node") > 0 {
		op := rapid.SampledFrom([]string{" && ", " && ", " && ", " || "}).Draw(t, "op")
		left, right := drawFilter(t, depth-1), drawFilter(t, depth-1)
		if rapid.IntRange(0, 9).Draw(t, "not") == 0 {
			left = "!" + left
		}
		return "(" + left + op + right + ")"
	}
	return "(" + rapid.SampledFrom(kinds).Draw(t, "kind")() + ")"
}

func drawUsage(t *rapid.T) *event.Event {
	text := func(label string) string {
		return rapid.SampledFrom([]string{"", "a", "ab", "abc", "b", "44", "4477", "7", "0", strings.Repeat("ab", 40_000)}).Draw(t, label)
	}
	data := &eventv1.UsageCharged{Service: text("service"), Roaming: rapid.Bool().Draw(t, "roaming"), Quantity: rapid.Int64Range(0, 2).Draw(t, "quantity")}
	data.Category = eventv1.UsageCharged_Category(rapid.Int32Range(0, 2).Draw(t, "category"))
	if rapid.Bool().Draw(t, "has net") {
		data.Net = channeltest.EUR(rapid.Int64Range(-1, 2).Draw(t, "net"), 0)
		data.Net.CurrencyCode = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "currency")
	}
	return &event.Event{
		Type: "usage.charged", Tenant: "acme", ID: text("id"), Subject: text("subject"), Source: text("source"), Time: channeltest.Noon, ReceivedAt: channeltest.Noon, Data: data,
	}
}

// What is found by terms is what is found by trying every rule: the same rules in the same order, and the same of them fail.
func TestTerms_FindWhatTryingEveryRuleFinds(t *testing.T) {
	failed, skipped := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var rules []*Rule
		for i := range rapid.IntRange(1, 12).Draw(t, "rules") {
			filter := drawFilter(t, 3)
			r, err := Compile(notification(func(n *Notification) {
				n.Code, n.Trigger = fmt.Sprintf("r%02d", i), Trigger{EventTypes: []string{"usage.charged"}, Filter: filter}
			}))
			if err != nil {
				t.Fatalf("%s: %v", filter, err)
			}
			rules = append(rules, r)
		}
		x := NewIndex(rules)
		all := withoutTerms(x)
		for range 8 {
			e := drawUsage(t)
			got, _, left := x.Match(e)
			want, _, _ := all.Match(e)
			if fmt.Sprint(described(got)) != fmt.Sprint(described(want)) || left != 0 {
				t.Fatalf("found %v, want %v", described(got), described(want))
			}
			for _, m := range want {
				if m.Err != nil {
					failed++
				}
			}
			skipped += len(rules) - len(x.byType[address{"acme", "usage.charged"}].finder.find(e, nil))
		}
	})
	if failed == 0 || skipped == 0 {
		t.Errorf("%d filters failed and %d were not tried: the property was not tested", failed, skipped)
	}
}

func described(matches []Match) (all []string) {
	for _, m := range matches {
		all = append(all, fmt.Sprint(m.Rule.Code, m.Fires, m.States, m.Err))
	}
	return all
}

func TestTerms_AreConditionsThatMustHold(t *testing.T) {
	for filter, want := range map[string]string{
		"subject == '44'":                                                        "subject=44",
		"'44' == subject && data.roaming":                                        "subject=44",
		"data.roaming && data.service == ''":                                     "data.service=",
		"data.service in ['a', 'b', 'a']":                                        "data.service=a data.service=b",
		"subject.startsWith('44')":                                               "subject^44",
		"data.category == UsageCharged.Category.CATEGORY_DATA":                   "data.category=1",
		"data.roaming == true && data.blocked == false":                          "data.roaming=1 data.blocked=0",
		"data.net.currency_code == 'EUR' && 1 / data.net.units > 0 && id == 'x'": "data.net.currency_code=EUR id=x",
		// No conjunct, no constant, or no field that is a text or a number.
		"subject == '44' || data.roaming":           "",
		"!(subject == '44')":                        "",
		"subject == data.service":                   "",
		"subject in ['a', data.service]":            "",
		"'a'.startsWith(subject)":                   "",
		"time == timestamp('2026-01-01T00:00:00Z')": "",
		"has(data.net)":                             "",
		"data.roaming":                              "",
		"(data.roaming ? subject : id) == '44'":     "",
		// Where evaluating what stands before may exceed the limit, and fail.
		"data.service.matches('(a|b)*c') && subject == '44'": "",
		"subject == '44' && data.service.matches('(a|b)*c')": "subject=44",
	} {
		r, err := Compile(notification(func(n *Notification) { n.Trigger = Trigger{EventTypes: []string{"usage.charged"}, Filter: filter} }))
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		var got []string
		for _, term := range termsOf(candidate{rule: r, triggers: true}, (&eventv1.UsageCharged{}).ProtoReflect().Descriptor()) {
			for _, b := range term.buckets() {
				sign, text := "=", b.text
				if len(term.Numbers) > 0 {
					text = fmt.Sprint(b.number)
				}
				if b.prefix {
					sign = "^"
				}
				got = append(got, b.path+sign+text)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: terms %v, want %q", filter, got, want)
		}
	}
}

// A term that all rules share finds nothing: the one that is shared with the fewest is looked up.
func TestTerms_TheOneSharedWithTheFewestIsLookedUp(t *testing.T) {
	x := index(t, manyRules(1000)...)
	c := x.byType[address{"acme", manyTypes[0]}]
	if n := len(c.rules); n != 100 {
		t.Fatalf("%d rules of the type", n)
	}
	if found := c.finder.find(manyEvent(), nil); len(found) > 2 {
		t.Errorf("%d rules are tried: %v", len(found), found)
	}
	if len(c.finder.fields) > 3 || len(c.finder.always) > 0 {
		t.Errorf("%d fields are looked up, %d rules always tried", len(c.finder.fields), len(c.finder.always))
	}
}

var manyTypes = []string{
	"usage.charged", "safeguard.alert", "safeguard.reached", "safeguard.released", "safeguard.renewed", "subscriber.activated", "subscriber.suspended",
	"subscriber.terminated", "invoice.posted", "client.updated",
}

// manyRules are n rules of one tenant on ten types, each with a term.
func manyRules(n int) []Notification {
	var all []Notification
	for i := range n {
		typ := manyTypes[i%len(manyTypes)]
		filter := fmt.Sprintf("type == '%s' && subject == '44%07d'", typ, i)
		if i/10%2 == 1 {
			filter = fmt.Sprintf("source == 'rating' && id.startsWith('order-%d-')", i)
		}
		all = append(all, notification(func(n *Notification) {
			n.Code, n.Trigger = fmt.Sprintf("n%05d", i), Trigger{EventTypes: []string{typ}, Filter: filter}
		}))
	}
	return all
}

func manyEvent() *event.Event {
	return &event.Event{
		ID: "order-20-7", Source: "rating", Type: manyTypes[0], Tenant: "acme", Subject: "440000010", Time: channeltest.Noon, ReceivedAt: channeltest.Noon,
		Data: &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: channeltest.EUR(1, 0)},
	}
}

// Ten thousand rules of a tenant on ten types, each with a term, beside one: an event costs about the same.
func BenchmarkTerms(b *testing.B) {
	e := manyEvent()
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("%d rules", n), func(b *testing.B) {
			x := index(b, manyRules(n)...)
			b.ReportAllocs()
			for b.Loop() {
				x.Match(e)
			}
		})
	}
}

func TestFinder_PlacesAscendAndAreThereOnce(t *testing.T) {
	x := index(t, manyRules(200)...)
	for at, c := range x.byType {
		e := manyEvent()
		e.Type = at.name
		places := c.finder.find(e, nil)
		if !slices.IsSorted(places) || len(slices.Compact(slices.Clone(places))) != len(places) {
			t.Errorf("%s: places %v", at.name, places)
		}
	}
}

// FuzzFilter: whatever compiles ends within its bound, the same twice, and finds by terms what trying every rule finds.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		"data.net.units > 3 && subject == '44'", "data.custom_fields.a == 1", "has(data.custom_fields.a) ? data.custom_fields.a.b > 1 : id in ['x', '']", "type.startsWith('usage')",
		"data.service.matches('(a|b){0,9}')", "[1, 2].exists(x, x == int(id))", "time.getHours('Europe/Berlin') == 3", "data.category == UsageCharged.Category.CATEGORY_DATA",
		"!(source == 'a' || 1 / size(id) > 0)", "data.spend == 1", "string(data.net) == ''", "{'a': data}['a'] == data", "data == UsageCharged{service: 'x'}",
	} {
		f.Add(s, "44", "ab")
	}
	f.Fuzz(func(t *testing.T, filter, subject, service string) {
		if len(subject)+len(service) > 1<<16 {
			return
		}
		events := []*event.Event{
			{Type: "usage.charged", Data: &eventv1.UsageCharged{Service: service, Net: channeltest.EUR(int64(len(subject)), 0)}},
			{Type: "client.custom_fields_updated", Data: &eventv1.ClientCustomFieldsUpdated{Id: service}},
		}
		for _, e := range events {
			r, err := Compile(notification(func(n *Notification) { n.Trigger = Trigger{EventTypes: []string{e.Type}, Filter: filter} }))
			if err != nil {
				continue
			}
			e.Tenant, e.ID, e.Source, e.Subject, e.Time, e.ReceivedAt = "acme", service, subject, subject, channeltest.Noon, channeltest.Noon
			x := NewIndex([]*Rule{r})
			first, _, _ := x.Match(e)
			for _, again := range []*Index{x, withoutTerms(x)} {
				if got, _, _ := again.Match(e); fmt.Sprint(described(got)) != fmt.Sprint(described(first)) {
					t.Fatalf("%q: %v, then %v", filter, described(first), described(got))
				}
			}
		}
	})
}
