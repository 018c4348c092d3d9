package statetest

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

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
	address := os.Getenv("TOLLGATE_TEST_REDIS")
	if address == "" {
		address = "127.0.0.1:16379"
	}
	must := os.Getenv("TOLLGATE_REAL") == "1"
	if testing.Short() && !must {
		return "", false
	}
	client := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1, DialTimeout: 2 * time.Second})
	defer client.Close() //nolint:errcheck // nothing was written through it
	info, err := client.Info(t.Context(), "server").Result()
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

// Open opens a store on the server under a prefix of its own, which is emptied when the test ends.
func (r Redis) Open(t testing.TB) (*redisstate.Store, string) {
	t.Helper()
	prefix := "test-" + strings.ToLower(rand.Text()[:10])
	s, err := redisstate.Open(t.Context(), r.Config(prefix))
	if err != nil {
		t.Fatalf("open %s: %v", r.Name, err)
	}
	t.Cleanup(func() {
		client := redis.NewClient(&redis.Options{Addr: r.Address})
		ctx := context.WithoutCancel(t.Context())
		for _, pattern := range []string{"{" + prefix + ":*", prefix + ":*"} {
			keys := client.Scan(ctx, 0, pattern, 1000).Iterator()
			for keys.Next(ctx) {
				client.Unlink(ctx, keys.Val())
			}
		}
		if err := client.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", r.Name, err)
		}
	})
	return s, prefix
}

// Config is that of a store on the server.
func (r Redis) Config(prefix string) redisstate.Config {
	c := redisstate.DefaultConfig()
	c.Address, c.Prefix, c.SkipDurabilityCheck = r.Address, prefix, !r.Real
	return c
}
