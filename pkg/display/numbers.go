package display

import (
	"net/netip"
	"slices"
	"strings"
)

// What a subscriber number has of digits, and from how many on nothing before or behind a run excuses it.
const (
	leastDigits = 5
	mostDigits  = 15
	sureDigits  = 10
)

// Numbers is text in which each run of 5 to 15 digits, which could be a subscriber number, is masked. It is for logs, in
// whose sentences values from outside stand. A run of fewer than 10 stays where the sentence marks it as a figure: by
// the word before it or its unit behind it, as part of a time, a hash or an address.
func Numbers(text string) string {
	var out []byte
	from := 0
	// kept is the end of the last run that was a figure.
	kept := -1
	for at := 0; at < len(text); {
		end := at
		for end < len(text) && digit(text[end]) {
			end++
		}
		if n := end - at; n >= leastDigits && n <= mostDigits {
			if n < sureDigits && (figure(text, at, end) || kept >= 0 && ranges(text[kept:at])) {
				kept = end
			} else {
				out = append(out, text[from:at]...)
				out = append(out, Subject(text[at:end]).String()...)
				from = end
			}
		} else if n > 0 && figure(text, at, end) {
			kept = end
		}
		at = max(end, at+1)
	}
	if from == 0 {
		return text
	}
	return string(append(out, text[from:]...))
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// figures are the words behind which a figure stands, units those before which one does.
var (
	figures = []string{"offset", "offsets", "revision", "revisions", "position", "generation", "epoch", "line", "byte", "port", "limit", "most", "than",
		"at", "below", "above"}
	units = []string{"bytes", "byte", "KiB", "MiB", "records", "events", "offsets", "deliveries", "ms", "µs", "ns", "s"}
)

// figure reports that text[at:end] is a figure, by what stands around it.
func figure(text string, at, end int) bool {
	before, behind := text[:at], text[end:]
	if fraction(before) || hexadecimal(text, at, end) {
		return true
	}
	if port(before) {
		return true
	}
	// As Kafka's own logs and flags have it: offset=12, "offset":12.
	word := strings.TrimRight(before, " =:\"")
	if word != before && slices.Contains(figures, lastWord(word)) {
		return true
	}
	unit := strings.TrimPrefix(behind, " ")
	return slices.Contains(units, firstWord(unit))
}

// fraction reports that before ends with a time of day and a point.
func fraction(before string) bool {
	n := len(before)
	return n >= 4 && before[n-1] == '.' && digit(before[n-2]) && digit(before[n-3]) && before[n-4] == ':'
}

// hexadecimal reports that text[at:end] is within a hash or an id of 16 or more hexadecimal digits, letters among them.
func hexadecimal(text string, at, end int) bool {
	from, to := at, end
	for from > 0 && hexDigit(text[from-1]) {
		from--
	}
	for to < len(text) && hexDigit(text[to]) {
		to++
	}
	return to-from >= 16 && (from == 0 || !letter(text[from-1])) && (to == len(text) || !letter(text[to])) &&
		strings.ContainsAny(text[from:to], "abcdef")
}

func hexDigit(c byte) bool { return digit(c) || c >= 'a' && c <= 'f' }

// port reports that before ends with an IP address or localhost, and a colon.
func port(before string) bool {
	host, colon := strings.CutSuffix(before, ":")
	if !colon {
		return false
	}
	host = host[strings.LastIndexAny(host, " \"'/(=>@,")+1:]
	if host == "localhost" {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// ranges reports that between two figures stands what makes them a range or a part of a whole.
func ranges(between string) bool { return between == " to " || between == " of " || between == "-" }

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }

func lastWord(s string) string {
	at := len(s)
	for at > 0 && letter(s[at-1]) {
		at--
	}
	return s[at:]
}

func firstWord(s string) string {
	end := 0
	for end < len(s) && letter(s[end]) {
		end++
	}
	return s[:end]
}
