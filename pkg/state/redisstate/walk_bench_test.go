package redisstate_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/state/statetest"
)

// BenchmarkWalk is what finding the records of 24 partitions costs Redis: together, and one by itself.
func BenchmarkWalk(b *testing.B) {
	address, ok := statetest.RealRedis(b)
	if !ok {
		b.Skip("needs a real Redis")
	}
	const partitions, count = 24, 300
	ctx := b.Context()
	for _, keys := range []int{1_000_000, 5_000_000} {
		prefix := fmt.Sprintf("walk%d", keys)
		s, err := redisstate.Open(ctx, redisstate.Config{Address: address, Prefix: prefix, Timeout: redisstate.DefaultConfig().Timeout})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		admin := redis.NewClient(&redis.Options{Addr: address})
		b.Cleanup(func() { _ = admin.Close() })
		all := make([]state.Partition, partitions)
		for i := range all {
			all[i] = state.Partition{Domain: "bench", Number: int32(i), Count: partitions}
		}
		fill(b, s, all, keys)
		for _, bench := range []struct {
			name  string
			walks int
			find  func(context.Context, state.Partition, string, string, int) ([]string, string, error)
		}{{"together", partitions, s.Walk}, {"one", 1, s.Scan}} {
			b.Run(fmt.Sprintf("%s/%d", bench.name, keys), func(b *testing.B) {
				before := scanSeconds(b, admin)
				for b.Loop() {
					var work sync.WaitGroup
					for _, p := range all[:bench.walks] {
						work.Go(func() {
							n := 0
							for cursor := ""; ; {
								found, next, err := bench.find(ctx, p, "r:", cursor, count)
								if err != nil {
									b.Error(err)
									return
								}
								n += len(found)
								if cursor = next; cursor == "" {
									break
								}
							}
							if n < keys/partitions {
								b.Errorf("%d found of %d", n, keys/partitions)
							}
						})
					}
					work.Wait()
				}
				b.ReportMetric((scanSeconds(b, admin)-before)/float64(b.N), "redis-s/op")
			})
		}
		clean(b, admin, "{"+prefix+":*")
	}
}

func fill(b *testing.B, s *redisstate.Store, all []state.Partition, keys int) {
	b.Helper()
	var work sync.WaitGroup
	for _, p := range all {
		work.Go(func() {
			w, err := s.Open(b.Context(), p, "bench:1")
			if err != nil {
				b.Error(err)
				return
			}
			for n := 0; n < keys/len(all)+1; n += 1000 {
				var c state.Commit
				for i := range min(1000, keys/len(all)+1-n) {
					c.Puts = append(c.Puts, state.Entry{Key: fmt.Sprintf("r:acme/44770%08d", n+i), Value: []byte("value")})
				}
				to := w
				to.Serial++
				if err := s.Commit(b.Context(), p, w, to, c); err != nil {
					b.Error(err)
					return
				}
				w = to
			}
		})
	}
	work.Wait()
}

var scanUsec = regexp.MustCompile(`cmdstat_scan:calls=\d+,usec=(\d+)`)

// scanSeconds is how long Redis has worked on SCAN.
func scanSeconds(b *testing.B, admin *redis.Client) float64 {
	b.Helper()
	info, err := admin.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	m := scanUsec.FindStringSubmatch(info)
	if m == nil {
		return 0
	}
	us, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return us / 1e6
}

func clean(b *testing.B, admin *redis.Client, pattern string) {
	b.Helper()
	var keys []string
	found := admin.Scan(b.Context(), 0, pattern, 10_000).Iterator()
	for found.Next(b.Context()) {
		if keys = append(keys, found.Val()); len(keys) == 10_000 {
			admin.Unlink(b.Context(), keys...)
			keys = keys[:0]
		}
	}
	if len(keys) > 0 {
		admin.Unlink(b.Context(), keys...)
	}
	if err := found.Err(); err != nil {
		b.Error(err)
	}
}
