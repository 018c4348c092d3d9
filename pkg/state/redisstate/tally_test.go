package redisstate_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/state/redisstate"
)

func TestTally_OneTakesWhatAllAddedWithinATime(t *testing.T) {
	onEach(t, func(t *testing.T, s *redisstate.Store, client *redis.Client, key string) {
		add := func(n, taken int64, waits bool) {
			t.Helper()
			got, again, err := s.Tally(t.Context(), "t", n, time.Minute)
			if err != nil || got != taken || (again > 0) != waits || again > time.Minute {
				t.Errorf("adding %d: took %d, again in %s, %v", n, got, again, err)
			}
		}
		add(0, 0, false)
		add(3, 3, false)
		add(0, 0, false)
		add(2, 0, true)
		add(0, 0, true)
		add(4, 0, true)
		name := key[:len(key)-len("key:k")] + "tally:t"
		if left := client.PTTL(t.Context(), name).Val(); left <= 23*time.Hour {
			t.Errorf("it is kept for %s", left)
		}
		client.Del(t.Context(), name+":taken")
		add(0, 6, false)
		if n := client.Exists(t.Context(), name).Val(); n != 0 {
			t.Error("it stays though it was taken")
		}
	})
}
