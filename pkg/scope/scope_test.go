package scope

import (
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/type/money"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/fault"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

const (
	roamingData = "usage.category == DATA && usage.roaming"
	outOfBundle = "usage.out_of_bundle"
	thirdParty  = "usage.third_party"
)

func compiled(t testing.TB, text string) *Scope {
	t.Helper()
	s, err := Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHolds_CountsMatchingUsage(t *testing.T) {
	data := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, VisitedCountry: "CH"}
	voice := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_VOICE, Roaming: true, OutOfBundle: true}
	for _, test := range []struct {
		name, text string
		usage      *eventv1.UsageCharged
		want       bool
	}{
		{"roaming data counts", roamingData, data, true},
		{"roaming voice is no data", roamingData, voice, false},
		{"data at home does not count", roamingData, &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA}, false},
		{"what is out of the bundle counts", outOfBundle, voice, true},
		{"what is not marked as out of the bundle does not", outOfBundle, data, false},
		{"a payment to somebody else counts", thirdParty, &eventv1.UsageCharged{ThirdParty: true}, true},
		{"a country is read from the event", `usage.roaming && usage.visited_country == "CH"`, data, true},
		{"another country is another answer", `usage.roaming && usage.visited_country == "FR"`, data, false},
		{"the whole name of a category is understood", "usage.category == UsageCharged.Category.CATEGORY_VOICE", voice, true},
		{"a category of a newer schema is no error", roamingData, &eventv1.UsageCharged{Category: 17, Roaming: true}, false},
		{"what is always true needs no usage", "true", data, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := compiled(t, test.text).Holds(test.usage)
			if err != nil || got != test.want {
				t.Errorf("%t, %v; want %t", got, err, test.want)
			}
		})
	}
}

func TestCompile_RejectsInvalidScopes(t *testing.T) {
	for name, text := range map[string]string{
		"nothing at all":                  "",
		"a field that usage has not got":  "usage.colour == 1",
		"a number instead of a bool":      "usage.category",
		"a name that nobody knows":        "roaming",
		"half an expression":              "usage.roaming &&",
		"a pattern that repeats by count": `usage.service.matches("` + strings.Repeat("a{0,1000}", 100) + `")`,
		"a pattern out of the event":      "usage.service.matches(usage.unit)",
		"more than anybody needs":         strings.Repeat("usage.roaming || ", 400) + "true",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(text)
			if fault.ReasonOf(err) != "SCOPE_INVALID" || len(fault.ViolationsOf(err)) == 0 {
				t.Errorf("%q: %v", text, err)
			}
		})
	}
}

func TestHolds_ReturnsTheExpressionsError(t *testing.T) {
	s := compiled(t, "10 / usage.quantity > 1")
	if _, err := s.Holds(&eventv1.UsageCharged{}); err == nil {
		t.Error("a division by zero was no error")
	}
	if ok, err := s.Holds(&eventv1.UsageCharged{Quantity: 2}); err != nil || !ok {
		t.Errorf("%t, %v", ok, err)
	}
}

func TestCompile_TabulatesOnlyScopesOverMarks(t *testing.T) {
	for text, want := range map[string]bool{
		roamingData: true, outOfBundle: true, thirdParty: true, "true": true,
		"!usage.roaming || usage.category in [SMS, MMS]": true,
		"usage.roaming && usage.quantity > 5":            false,
		"usage == UsageCharged{roaming: true}":           false,
		"[usage].exists(u, u.roaming)":                   false,
		"has(usage.net)":                                 false,
		"1 / (usage.roaming ? 1 : 0) > 0":                false, // fails for some
	} {
		if s := compiled(t, text); s.tabular != want {
			t.Errorf("%q: tabular %t, want %t", text, s.tabular, want)
		}
	}
}

// The table is an evaluation done before.
func TestHolds_TableEqualsEvaluation(t *testing.T) {
	atoms := []string{"usage.roaming", "usage.out_of_bundle", "usage.third_party", "(usage.category == DATA)", "(usage.category == CONTENT)", "(usage.category >= SMS)"}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom(atoms).Draw(t, "first")
		for range rapid.IntRange(0, 4).Draw(t, "more") {
			text = "(" + text + rapid.SampledFrom([]string{" && ", " || ", " != "}).Draw(t, "operator") + rapid.SampledFrom(atoms).Draw(t, "atom") + ")"
		}
		s, err := Compile(text)
		if err != nil || !s.tabular {
			t.Fatalf("%q: %v", text, err)
		}
		u := &eventv1.UsageCharged{
			Category: eventv1.UsageCharged_Category(rapid.IntRange(0, 7).Draw(t, "category")),
			Roaming:  rapid.Bool().Draw(t, "roaming"), OutOfBundle: rapid.Bool().Draw(t, "out of bundle"),
			ThirdParty: rapid.Bool().Draw(t, "third party"), Net: &money.Money{Units: 1},
		}
		want, err := s.evaluate(u)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Holds(u); err != nil || got != want {
			t.Errorf("%q of %v: %t, %v; want %t", text, u, got, err, want)
		}
	})
}

func BenchmarkHolds(b *testing.B) {
	u := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, VisitedCountry: "CH"}
	s := compiled(b, roamingData)
	b.Run("table", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Holds(u)
		}
	})
	b.Run("evaluation", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.evaluate(u)
		}
	})
}
