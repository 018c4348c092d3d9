package email

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseAddress_ReadsExactlyOne(t *testing.T) {
	for text, want := range map[string]struct{ mailbox, name, key string }{
		"ana@example.com":                            {"ana@example.com", "", "ana@example.com"},
		" Ana@EXAMPLE.com ":                          {"Ana@example.com", "", "ana@example.com"},
		"ana+billing@mail.example":                   {"ana+billing@mail.example", "", "ana+billing@mail.example"},
		"a/b@mail.example":                           {"a/b@mail.example", "", "a/b@mail.example"},
		`"john doe"@example.com`:                     {`"john doe"@example.com`, "", "john doe@example.com"},
		`"a@b"@example.com`:                          {`"a@b"@example.com`, "", "a@b@example.com"},
		"Ana Diaz <ana@example.com>":                 {"ana@example.com", "Ana Diaz", "ana@example.com"},
		`"Diaz, Ana" <ana@example.com>`:              {"ana@example.com", "Diaz, Ana", "ana@example.com"},
		"ana@example.com (Ana Diaz)":                 {"ana@example.com", "Ana Diaz", "ana@example.com"},
		"josé@mail.example":                          {"josé@mail.example", "", "josé@mail.example"},
		"jose\u0301@mail.example":                    {"josé@mail.example", "", "josé@mail.example"},
		"ana@bücher.example":                         {"ana@xn--bcher-kva.example", "", "ana@xn--bcher-kva.example"},
		"ana@BÜCHER.example":                         {"ana@xn--bcher-kva.example", "", "ana@xn--bcher-kva.example"},
		"ana@xn--bcher-kva.example":                  {"ana@xn--bcher-kva.example", "", "ana@xn--bcher-kva.example"},
		"=?utf-8?q?M=C3=BCller?= <m@example.com>":    {"m@example.com", "Müller", "m@example.com"},
		"root@localhost":                             {"root@localhost", "", "root@localhost"},
		strings.Repeat("a", 64) + "@example.com":     {strings.Repeat("a", 64) + "@example.com", "", strings.Repeat("a", 64) + "@example.com"},
		"\"very.(),:;<>[]\\\".unusual\"@example.com": {"\"very.(),:;<>[]\\\".unusual\"@example.com", "", "very.(),:;<>[]\".unusual@example.com"},
	} {
		a, err := ParseAddress(text)
		if err != nil || a.Mailbox() != want.mailbox || a.Name != want.name || a.Key() != want.key {
			t.Errorf("%q is %q, name %q, key %q, %v", text, a.Mailbox(), a.Name, a.Key(), err)
		}
		if again, err := ParseAddress(a.Mailbox()); err != nil || again.Key() != a.Key() {
			t.Errorf("%q is not read as it was written: %v", a.Mailbox(), err)
		}
		if again, err := ParseSuppressionID(a.SuppressionID()); err != nil || again.Key() != a.Key() || strings.ContainsAny(a.SuppressionID(), "/ \"") {
			t.Errorf("suppression %q: %v", a.SuppressionID(), err)
		}
		if shown := fmt.Sprintf("%v %+v %#v", a, a, a); strings.Contains(shown, a.Mailbox()) || a.Name != "" && strings.Contains(shown, a.Name) {
			t.Errorf("logs show %s", shown)
		}
	}
	for _, text := range []string{
		"", " ", "ana", "@example.com", "ana@", "ana@example.com, eva@example.com", "ana@example.com eva@example.com", "ana@example.com;eva@example.com",
		"undisclosed-recipients:;", "friends: ana@example.com, eva@example.com;", "ana@[192.0.2.1]", "ana@[IPv6:2001:db8::1]", "ana@exa mple.com", "ana@-example.com",
		"ana@exam_ple.com", "ana@example..com", "ana..b@example.com", "<ana@example.com", "ana@example.com>", "ana@example.com\r\nBcc: eva@example.com",
		"ana@example.com\nbcc: eva@example.com", "\"a\r\nb\"@example.com", "\"a\x00b\"@example.com", "ana\u2028@example.com", strings.Repeat("a", 65) + "@example.com", strings.Repeat("a", 64) + "@" + strings.Repeat("abcdefgh.", 21) + "example",
		"ana@" + strings.Repeat("a", 64) + ".example", "ana@" + strings.Repeat("abcdefgh.", 28) + "example", "ana@example.com\x00", "ana@exa\u200bmple.com.\xff",
	} {
		if a, err := ParseAddress(text); err == nil {
			t.Errorf("%q is %q", text, a.Mailbox())
		}
	}
}

// An address has one name among the suppressions.
func TestSuppressionID_IsWithoutAmbiguity(t *testing.T) {
	for text, want := range map[string]string{
		"ana+billing@mail.example": "ana%2Bbilling%40mail.example", "R01@MAIL.EXAMPLE": "r01%40mail.example", "a/b@mail.example": "a%2Fb%40mail.example",
		"a%2Fb@mail.example": "a%252fb%40mail.example", "josé@mail.example": "jos%C3%A9%40mail.example",
	} {
		if got := address(t, text).SuppressionID(); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for _, id := range []string{"R01%40mail.example", "r01@mail.example", "a/b%40mail.example", "a%2fb%40mail.example", "josé%40mail.example", "ana%2bbilling%40mail.example", "ana", "", "%zz%40mail.example"} {
		if _, err := ParseSuppressionID(id); err == nil {
			t.Errorf("%q is a second name", id)
		}
	}
}

func TestOneLine_BreaksBecomeOneBlank(t *testing.T) {
	for text, want := range map[string]string{
		"a\r\nb": "a b", "a\r\n\r\n  \t b": "a b", "a\x00b": "a b", "a\u2028b": "a b", "a\u2029b\u0085c": "a b c", "\r\na\n": "a", "a  b": "a  b", "a\xffb": "a\uFFFDb",
		"Subject\r\nBcc: eva@example.com": "Subject Bcc: eva@example.com", "a\x7fb\x1b[31mc": "a b [31mc", "\x00a\u2028\x00": "a",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
