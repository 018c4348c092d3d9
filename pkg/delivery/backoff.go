package delivery

import (
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Backoff is a channel's waits after the first, second … failed attempt of a delivery. Their sum is within the Horizon.
type Backoff []time.Duration

// Standard waits 27.6 hours in all.
var Standard = Backoff{
	5 * time.Second, 30 * time.Second, 5 * time.Minute, 30 * time.Minute,
	2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
}

// Horizon is how long a delivery is tried at most, from PlannedAt or NotBefore.
const Horizon = 28 * time.Hour

// steps are those of Standard where there are none.
func (b Backoff) steps() Backoff {
	if len(b) == 0 {
		return Standard
	}
	return b
}

// Attempts is how often a delivery is tried before it is dead, unless changes of its endpoint brought attempts forward.
func (b Backoff) Attempts() int { return len(b.steps()) + 1 }

// Least is how long a delivery is tried at least: the sum of all waits, each as short as it may be drawn.
func (b Backoff) Least() time.Duration {
	var least time.Duration
	for _, step := range b.steps() {
		least += step * 4 / 5
	}
	return least
}

// Step is the longest wait after attempt number n (from 1): the last one for every attempt beyond the last.
func (b Backoff) Step(n int) time.Duration {
	b = b.steps()
	return b[min(n, len(b))-1]
}

// Longest is the longest of all waits.
func (b Backoff) Longest() time.Duration { return slices.Max(b.steps()) }

// Wait is how long to wait after attempt number n of a delivery failed: 80 to 100 % of the step. The jitter derives from
// the delivery's id and n: receivers are not called all at once, and a restart does not change the wait.
func (b Backoff) Wait(id string, n int) time.Duration {
	h := xxhash.Sum64String(id + "/" + strconv.Itoa(n))
	fifth := b.Step(n) / 5
	// 20 bits are a millionth of the step, and no product overflows.
	part := fifth / (1 << 20) * time.Duration(h>>44)
	return 4*fifth + part
}
