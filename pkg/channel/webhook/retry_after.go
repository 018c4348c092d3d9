package webhook

import (
	"strings"
	"time"
)

// MaxRetryAfter is the longest that a receiver is believed to want no request.
const MaxRetryAfter = time.Hour

// RetryAfter reads the header Retry-After of a response: for how long the receiver wants no request, at most MaxRetryAfter,
// 0 where it names no time to come. It holds for 429 and 503 alone. A date is compared with the response's own header
// Date, since it is of the receiver's clock; with received where there is none.
func RetryAfter(status int, value, date string, received time.Time) time.Duration {
	if status != 429 && status != 503 {
		return 0
	}
	value = strings.Trim(value, " \t")
	if seconds, ok := digits(value); ok {
		return min(time.Duration(seconds)*time.Second, MaxRetryAfter)
	}
	until, ok := httpDate(value)
	if !ok {
		return 0
	}
	if now, ok := httpDate(strings.Trim(date, " \t")); ok {
		received = now
	}
	return max(0, min(until.Sub(received), MaxRetryAfter))
}

// digits reads a number; one above a day is a day.
func digits(s string) (n int, ok bool) {
	const enough = 24 * 60 * 60
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(10*n+int(c-'0'), enough)
	}
	return n, s != ""
}

// httpDate reads the three forms of RFC 9110, section 5.6.7.
func httpDate(s string) (time.Time, bool) {
	for _, layout := range [...]string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC850, time.ANSIC} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
