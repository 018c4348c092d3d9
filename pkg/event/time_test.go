package event

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestAppendTimeText_IsTimeLayout(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	times := []time.Time{{}, time.Unix(0, 0), time.Date(1969, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}
	for range 2000 {
		times = append(times, time.Unix(random.Int64N(300_000_000_000)-62_000_000_000, random.Int64N(1e9)).In(time.FixedZone("", 3600)))
	}
	for _, at := range times {
		if got, want := string(appendTimeText(nil, at)), at.UTC().Truncate(time.Millisecond).Format(TimeLayout); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
