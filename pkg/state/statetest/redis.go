package statetest

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
)

// Redis is a server that tests may use.
type Redis struct {
	Name    string // "miniredis" or "redis"
	Address string
	Real    bool
}

// Redises lists the servers a suite runs on: miniredis always, and the real one at TOLLGATE_TEST_REDIS where it
// answers, but not in short tests. With TOLLGATE_REAL=1 it must.
func Redises(t testing.TB) []Redis {
	t.Helper()
	mini, err := miniredis.Run()
	if err != nil {
		t.Fatalf("start miniredis: %v", err)
	}
	t.Cleanup(mini.Close)
	servers := []Redis{{Name: "miniredis", Address: mini.Addr()}}
	if address, ok := RealRedis(t); ok {
		servers = append(servers, Redis{Name: "redis", Address: address, Real: true})
	}
	return servers
}

// RealRedis returns the address of a real Redis, at least version 7. Where there must be one and is none, the test
// fails.
func RealRedis(t testing.TB) (string, bool) {
	t.Helper()
	address, must := realAddress(), required()
	if testing.Short() && !must {
		return "", false
	}
	info, err := described()
	switch {
	case err != nil && must:
		t.Fatalf("TOLLGATE_REAL=1, and no redis answers at %s: %v", address, err)
	case err != nil:
		return "", false
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			if major, _, _ := strings.Cut(strings.TrimSpace(v), "."); len(major) == 1 && major < "7" {
				t.Fatalf("redis at %s is version %s, at least 7 is needed", address, v)
			}
			return address, true
		}
	}
	t.Fatalf("what answers at %s is not redis", address)
	return "", false
}

func required() bool { return os.Getenv("TOLLGATE_REAL") == "1" }

func realAddress() string { return cmp.Or(os.Getenv("TOLLGATE_TEST_REDIS"), "127.0.0.1:16379") }

// described is what the real Redis answers about itself, asked once for all tests of a process. One that is required has a
// minute: the machine may be busy.
var described = sync.OnceValues(func() (info string, err error) {
	client := redis.NewClient(&redis.Options{Addr: realAddress(), MaxRetries: -1, DialTimeout: 2 * time.Second})
	defer client.Close() //nolint:errcheck // nothing was written through it
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		info, err = client.Info(ctx, "server").Result()
		if err == nil || !required() || !pause.For(ctx, 100*time.Millisecond) {
			return info, err
		}
	}
})

// Open opens a store on the server under a prefix of its own, which is emptied when the test ends.
func (r Redis) Open(t testing.TB) (*redisstate.Store, string) {
	t.Helper()
	prefix := "test-" + strings.ToLower(rand.Text()[:10])
	s, err := redisstate.Open(t.Context(), r.Config(prefix))
	if err != nil {
		t.Fatalf("open %s: %v", r.Name, err)
	}
	t.Cleanup(func() {
		_ = Forget(t.Context(), r.Address, prefix) // a test may have ended its server
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", r.Name, err)
		}
	})
	return s, prefix
}

// Forget deletes what lies under a prefix in a Redis that others use, too. It has minutes of its own, whatever is left of ctx.
func Forget(ctx context.Context, address, prefix string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close() //nolint:errcheck // what was written is answered
	for _, pattern := range []string{"{" + prefix + ":*", prefix + ":*"} {
		for cursor, more := uint64(0), true; more; more = cursor != 0 {
			keys, next, err := client.Scan(ctx, cursor, pattern, 10_000).Result()
			if err == nil && len(keys) > 0 {
				err = client.Unlink(ctx, keys...).Err()
			}
			if err != nil {
				return fmt.Errorf("delete what lies under %s: %w", prefix, err)
			}
			cursor = next
		}
	}
	return nil
}

// Config is that of a store on the server.
func (r Redis) Config(prefix string) redisstate.Config {
	c := redisstate.DefaultConfig()
	c.Address, c.Prefix, c.SkipDurabilityCheck = r.Address, prefix, !r.Real
	return c
}
