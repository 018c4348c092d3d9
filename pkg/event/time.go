package event

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

const formTime = "must be a time as of RFC 3339, such as 2026-11-29T03:18:16Z"

var errNoOffset = errors.New("needs an offset from UTC, as in 2026-11-29T03:18:16Z or 2026-11-29T04:18:16+01:00: " +
	"without one the time is not known")

// date-time as of RFC 3339, section 5.6, with the offset optional, for a sentence of its own where it is missing: day,
// hour and minute, second, fraction, offset.
var dateTime = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?$`)

// ParseTime reads a time as of RFC 3339, to the letter: T and Z may be small, a fraction has a point and any number of
// digits, and a second 60 is one at the end of a month in UTC, read as the first of the next. time.Parse takes more and
// less than that. The result is UTC, cut to the milliseconds that events have.
func ParseTime(text string) (time.Time, error) {
	m := dateTime.FindStringSubmatch(text)
	if m == nil {
		return time.Time{}, fmt.Errorf(formTime+", is %.60q", text)
	}
	day, minute, second, fraction, offset := m[1], m[2], m[3], m[4], m[5]
	if offset == "" {
		return time.Time{}, errNoOffset
	}
	if offset == "z" {
		offset = "Z"
	}
	leap := second == "60"
	if leap {
		second = "59"
	}
	t, err := time.Parse(time.RFC3339Nano, day+"T"+minute+":"+second+fraction+offset)
	if err != nil {
		return time.Time{}, fmt.Errorf(formTime+", is %.60q", text)
	}
	if t = t.UTC().Truncate(time.Millisecond); leap {
		if t = t.Truncate(time.Second).Add(time.Second); t.Day() != 1 || t.Hour() != 0 || t.Minute() != 0 ||
			t.Second() != 0 {
			return time.Time{}, fmt.Errorf(formTime+", is %.60q: a second 60 ends a month in UTC", text)
		}
	}
	return t, nil
}

// appendTimeText writes a time as TimeLayout has it, in a fifth of what AppendFormat takes: it is written for every event.
func appendTimeText(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.Truncate(time.Millisecond).AppendFormat(b, TimeLayout)
	}
	hour, minute, second := t.Clock()
	b = appendTwo(appendTwo(b, year/100), year%100)
	b = appendTwo(append(b, '-'), int(month))
	b = appendTwo(append(b, '-'), day)
	b = appendTwo(append(b, 'T'), hour)
	b = appendTwo(append(b, ':'), minute)
	b = appendTwo(append(b, ':'), second)
	milliseconds := t.Nanosecond() / int(time.Millisecond)
	b = append(b, '.', byte('0'+milliseconds/100))
	return append(appendTwo(b, milliseconds%100), 'Z')
}

// appendTwo writes two digits.
func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }
