package display

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cut marks omitted text.
const cut = "…"

// Text is s on one line, at most max bytes of it: control characters, marks that change the direction of text,
// characters without width and bytes that are not UTF-8 become escapes of Go. A rune is never cut in two.
func Text(s string, max int) string {
	if len(s) <= max && plain(s) {
		return s
	}
	b := make([]byte, 0, min(len(s), max)+len(cut))
	// kept is how much stays where the rest does not fit.
	kept := 0
	for at := 0; at < len(s); {
		r, size := utf8.DecodeRuneInString(s[at:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, `\x`...)
			b = append(b, hex[s[at]>>4], hex[s[at]&15])
		} else if hasEffect(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b = append(b, quoted[1:len(quoted)-1]...)
		} else {
			b = append(b, s[at:at+size]...)
		}
		if len(b) > max {
			return string(b[:kept]) + cut
		}
		if len(b) <= max-len(cut) {
			kept = len(b)
		}
		at += size
	}
	return string(b)
}

const hex = "0123456789abcdef"

// plain reports that s is shown as it is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return utf8.ValidString(s) && strings.IndexFunc(s, hasEffect) < 0
		}
	}
	return true
}

// hasEffect reports runes that do something instead of being shown: control characters, formats such as U+202E, line
// separators, variation selectors and the like, private or unassigned runes.
func hasEffect(r rune) bool {
	return !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r)
}

// Lines is Text of each line of s, at most count of them; the last line is the number of omitted ones.
func Lines(s string, max, count int) []string {
	var out []string
	n := 0
	for line := range strings.Lines(s) {
		if n++; n <= count {
			out = append(out, Text(strings.TrimRight(line, "\r\n"), max))
		}
	}
	if n > count {
		out = append(out, "and "+strconv.Itoa(n-count)+" lines more")
	}
	return out
}
