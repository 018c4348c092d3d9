package webhook

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Canonical JSON has the same content as what it was made of, and nothing depends on the spaces there.
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

// Whatever an id holds, a request can carry it, and whoever decodes it has it back.
func TestHeaderValue_IsDecodedToWhatItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		value := headerValue(text)
		if strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '"' }) {
			t.Fatalf("%q became %q", text, value)
		}
		if back, err := url.PathUnescape(value); err != nil || back != text {
			t.Fatalf("%q became %q, and %q (%v)", text, value, back, err)
		}
	})
}
