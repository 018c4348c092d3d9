package webhook

import (
	"testing"
	"time"
)

func TestRetryAfter_IsReadAsReceiversSendIt(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	date := func(at time.Time) string { return at.Format("Mon, 02 Jan 2006 15:04:05 GMT") }
	ahead := now.Add(40 * time.Minute)
	tests := map[string]struct {
		status int
		value  string
		date   string
		want   time.Duration
	}{
		"seconds":                                   {429, "120", "", 2 * time.Minute},
		"seconds of a 503":                          {503, "120", date(ahead), 2 * time.Minute},
		"seconds with blanks":                       {429, " 120\t", "", 2 * time.Minute},
		"a date, by the receiver's own clock":       {503, date(ahead.Add(90 * time.Second)), date(ahead), 90 * time.Second},
		"a date, by ours where it has none":         {503, date(now.Add(90 * time.Second)), "", 90 * time.Second},
		"a date, by ours where its own is nonsense": {503, date(now.Add(90 * time.Second)), "today", 90 * time.Second},
		"a date in the form of RFC 850":             {503, now.Add(time.Minute).Format("Monday, 02-Jan-06 15:04:05 GMT"), "", time.Minute},
		"a date in the form of asctime":             {503, now.Add(time.Minute).Format(time.ANSIC), "", time.Minute},
		"a date of 2015":                            {503, "Wed, 21 Oct 2015 07:28:00 GMT", date(ahead), 0},
		"0":                                         {429, "0", "", 0},
		"a negative number":                         {429, "-5", "", 0},
		"a day":                                     {429, "86400", "", time.Hour},
		"a date of next year":                       {503, date(now.AddDate(1, 0, 0)), date(now), time.Hour},
		"a word":                                    {429, "soon", "", 0},
		"a fraction":                                {429, "12.5", "", 0},
		"an exponent":                               {429, "1e3", "", 0},
		"an empty value":                            {429, "", "", 0},
		"30 digits":                                 {429, "123456789012345678901234567890", "", time.Hour},
		"a date with a zone that HTTP does not have":  {503, "Sun, 01 Mar 2026 13:00:00 +0100", "", 0},
		"a 500, which may not ask":                    {500, "120", "", 0},
		"a 200, which may not ask":                    {200, "120", "", 0},
		"a 301, for which it means something else":    {301, "120", "", 0},
		"digits of another script are no digits":      {429, "١٢٠", "", 0},
		"two values joined by a comma are no seconds": {429, "120, 240", "", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := RetryAfter(test.status, test.value, test.date, now); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
