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
