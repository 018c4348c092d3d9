package delivery

import (
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
)

// steps are the waits after the first, second … failed attempt: 27.6 hours in
// all, within the 28 that a delivery is tried.
var steps = [...]time.Duration{
	5 * time.Second, 30 * time.Second, 5 * time.Minute, 30 * time.Minute,
	2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
}

// MaxAttempts is how often a delivery is tried before it is given up.
const MaxAttempts = len(steps) + 1

// Backoff is how long to wait after attempt number n (from 1) of a delivery has
// failed; false when that was the last. It is 80 to 100 % of the step, drawn
// from the delivery's id and n: receivers are not hit in step, and a restart
// does not draw anew.
func Backoff(id string, n int) (time.Duration, bool) {
	if n < 1 || n > len(steps) {
		return 0, false
	}
	h := xxhash.Sum64String(id + "/" + strconv.Itoa(n))
	fifth := steps[n-1] / 5
	// 20 bits are a millionth of the step, and no product overflows.
	part := fifth / (1 << 20) * time.Duration(h>>44)
	return 4*fifth + part, true
}
