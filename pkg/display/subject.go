package display

import "unicode/utf8"

// hidden replaces the masked part of a number; its length is constant.
const hidden = "••••••"

// Subject identifies whom an event or a call is about, as text that masks itself: of a subscriber number it shows the
// first four digits, which are country and network, and the last two; of anything else the last two characters. Logs,
// faults and metrics use it.
type Subject string

// String masks.
func (s Subject) String() string {
	// The first digits of a short number would show too much of it.
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
