package display

import "unicode/utf8"

// hidden stands for what is not shown of a number; its length says nothing.
const hidden = "••••••"

// Subject is whom an event or a call is about, as text that shows itself masked: of a subscriber number the first four
// digits, which tell country and network, and the last two; of anything else the last two characters. It is what logs,
// faults and metrics are given.
type Subject string

// String masks.
func (s Subject) String() string {
	// Of short numbers the first digits are too much of the whole.
	const front, back, least = 4, 2, 5
	if s == "" {
		return ""
	}
	if digits(string(s)) && len(s) >= front+back+least {
		return string(s[:front]) + hidden + string(s[len(s)-back:])
	}
	if utf8.RuneCountInString(string(s)) < back+least {
		return hidden
	}
	at := len(s)
	for range back {
		_, size := utf8.DecodeLastRuneInString(string(s[:at]))
		at -= size
	}
	return hidden + Text(string(s[at:]), 16)
}

// GoString masks for %#v too.
func (s Subject) GoString() string { return s.String() }

// MarshalText masks in JSON and in every other encoding that asks.
func (s Subject) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Numbers is text in which each run of least to 15 digits, which could be a subscriber number, is masked. It is for logs,
// in whose sentences values from outside stand.
func Numbers(text string, least int) string {
	const most = 15
	var out []byte
	from := 0
	for at := 0; at < len(text); {
		end := at
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		if end-at >= least && end-at <= most {
			out = append(out, text[from:at]...)
			out = append(out, Subject(text[at:end]).String()...)
			from = end
		}
		at = max(end, at+1)
	}
	if from == 0 {
		return text
	}
	return string(append(out, text[from:]...))
}
