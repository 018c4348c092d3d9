package limits

import "time"

// Elapsed reports whether an interval is over: by the monotonic clock, where both times have it, and, where one was kept
// without it, also when the wall clock was set back meanwhile, since nothing is known then.
func Elapsed(now, since time.Time, interval time.Duration) bool {
	d := now.Sub(since)
	return d >= interval || d < 0
}
