package delivery

import (
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Steps are the waits after the first, second … failed attempt: 27.6 hours in all, within the Horizon of 28 hours.
var Steps = [...]time.Duration{
	5 * time.Second, 30 * time.Second, 5 * time.Minute, 30 * time.Minute,
	2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
}

// MaxAttempts is how often a delivery is tried before it is dead, unless changes of its endpoint brought attempts
// forward.
const MaxAttempts = len(Steps) + 1

// Horizon is how long a delivery is tried at most, from PlannedAt or NotBefore. leastHorizon is how long it is tried at
// least: the sum of all steps with the smallest jitter.
const Horizon = 28 * time.Hour

var LeastHorizon = func() (least time.Duration) {
	for _, step := range Steps {
		least += step * 4 / 5
	}
	return least
}()

// Backoff is how long to wait after attempt number n (from 1) of a delivery failed; false after the last attempt. It is
// 80 to 100 % of the step. The jitter derives from the delivery's id and n: receivers are not called all at once, and a
// restart does not change the wait.
func Backoff(id string, n int) (time.Duration, bool) {
	if n < 1 || n > len(Steps) {
		return 0, false
	}
	return Wait(id, n), true
}

// Wait is Backoff, with the last step for every attempt beyond the last.
func Wait(id string, n int) time.Duration {
	h := xxhash.Sum64String(id + "/" + strconv.Itoa(n))
	fifth := Steps[min(n, len(Steps))-1] / 5
	// 20 bits are a millionth of the step, and no product overflows.
	part := fifth / (1 << 20) * time.Duration(h>>44)
	return 4*fifth + part
}
