package display

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText_EscapesWhatAffectsATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                      "plain",
		"Grüße, 世界 🙂":                "Grüße, 世界 🙂",
		"a\x1b[2Jb":                  `a\x1b[2Jb`,
		"a\nb\rc\td\x00":             `a\nb\rc\td\x00`,
		"\u202egnp.exe":              `\u202egnp.exe`,
		"a\u2066b\u2069\u200b\ufeff": `a\u2066b\u2069\u200b\ufeff`,
		"line\u2028sep":              `line\u2028sep`,
		"c1 \u009b31m":               `c1 \u009b31m`,
		"bad \xff\xc3":               `bad \xff\xc3`,
		"tag \U000e0041":             `tag \U000e0041`,
		"\u00a0":                     "\u00a0",
	} {
		if got := Text(in, 100); got != want {
			t.Errorf("%q is shown as %q, not %q", in, got, want)
		}
	}
}

func TestText_CutsBetweenRunes(t *testing.T) {
	for in, want := range map[string]string{
		"12345678":     "12345678",
		"123456789":    "12345…",
		"éééé":         "éééé",
		"ééééé":        "éé…",
		"世界世":          "世…",
		"1234\x1b[2J":  "1234…",
		"\x1b\x1b\x1b": `\x1b…`,
		"\xff\xff":     `\xff\xff`,
		"\U0001F642🙂🙂": "🙂…",
	} {
		got := Text(in, 8)
		if got != want || len(got) > 8 || !utf8.ValidString(got) {
			t.Errorf("%q is cut to %q, not %q", in, got, want)
		}
	}
	for n := range 40 {
		if got := Text(strings.Repeat("世\x00é", 20), n+3); len(got) > n+3 || !utf8.ValidString(got) {
			t.Errorf("%d bytes: %q", n+3, got)
		}
	}
}

func TestLines_CountsOmittedLines(t *testing.T) {
	got := Lines("a\r\nb\x1b\nc\nd", 20, 2)
	if want := []string{"a", `b\x1b`, "and 2 lines more"}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q", got)
	}
}

func TestSubject_MasksItself(t *testing.T) {
	for in, want := range map[Subject]string{
		"447700900012":      "4477••••••12",
		"14155550123":       "1415••••••23",
		"4477009":           "••••••09",
		"44770":             "••••••",
		"":                  "",
		"account/äöüßé":     "••••••ßé",
		"customer/\x1b\x1b": `••••••\x1b\x1b`,
	} {
		if got := in.String(); got != want {
			t.Errorf("%q is shown as %q, not %q", string(in), got, want)
		}
	}
	whole, err := json.Marshal(map[string]any{"subject": Subject("447700900012")})
	if err != nil {
		t.Fatal(err)
	}
	s := Subject("447700900012")
	for _, text := range []string{string(whole), fmt.Sprintf("%v %s %q %#v %+v", s, s, s, s, s)} {
		if strings.Contains(text, "7700900012") {
			t.Errorf("a subject shows in %s", text)
		}
	}
}

func TestNumbers_MasksSubscriberNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"tenants/acme/subscribers/447700900012/options/x": "tenants/acme/subscribers/4477••••••12/options/x",
		"no subscriber 447700900012, nor +14155550123.":   "no subscriber 4477••••••12, nor +1415••••••23.",
		"offset 123456 of 3":                              "offset 123456 of 3",
		"1234567890123456":                                "1234567890123456",
		// The shortest subscriber number, and figures of as many digits.
		"no subscriber 49151: \"49151\" of cdr-49151/1":              "no subscriber ••••••: \"••••••\" of cdr-••••••/1",
		"subscriber 49151 to 491522":                                 "subscriber •••••• to ••••••",
		"49151.49152, a.49153":                                       "••••••.••••••, a.••••••",
		"offsets 41 to 123456 of 8 x/3 can't be read":                "offsets 41 to 123456 of 8 x/3 can't be read",
		"offset=123456, revision 1234567 at 123456":                  "offset=123456, revision 1234567 at 123456",
		"is 33554433 bytes, more than 33554432 or 12.345678s":        "is 33554433 bytes, more than 33554432 or 12.345678s",
		"dial tcp 127.0.0.1:19092 or [::1]:41234 or localhost:16379": "dial tcp 127.0.0.1:19092 or [::1]:41234 or localhost:16379",
		"at 10:00:00.123456Z of history 00ab12345678cdef":            "at 10:00:00.123456Z of history 00ab12345678cdef",
		"offset 491511234567":                                        "offset 4915••••••67",
		"4477009":                                                    "••••••09",
		"":                                                           "",
	} {
		if got := Numbers(in); got != want {
			t.Errorf("%q is %q, not %q", in, got, want)
		}
	}
}
