package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// UsedMemory is Redis's, once it rewrites no file.
func UsedMemory(ctx context.Context, client *redis.Client) (int64, error) {
	for {
		info, err := client.Info(ctx, "memory", "persistence").Result()
		if err != nil {
			return 0, fmt.Errorf("ask Redis for its memory: %w", err)
		}
		field := func(name string) string {
			_, value, _ := strings.Cut(info, name+":")
			value, _, _ = strings.Cut(value, "\r")
			return value
		}
		if field("aof_rewrite_in_progress") == "0" && field("aof_rewrite_scheduled") == "0" {
			return strconv.ParseInt(field("used_memory"), 10, 64)
		}
		if err := Pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// RecordBytes is the mean length of some of the records of an engine's domain, or of a rule of it.
func RecordBytes(ctx context.Context, server *fleet.Server, f *fleet.Fleet, domain string) (int, error) {
	client := redis.NewClient(&redis.Options{Addr: server.Address()})
	defer client.Close() //nolint:errcheck // read only
	sum, n := int64(0), int64(0)
	keys := client.Scan(ctx, 0, "{"+f.Prefix+":"+domain+":*}r:*", 1000).Iterator()
	for keys.Next(ctx) && n < 1000 {
		length, err := client.StrLen(ctx, keys.Val()).Result()
		if err != nil {
			return 0, err
		}
		sum, n = sum+length, n+1
	}
	if err := keys.Err(); err != nil || n == 0 {
		return 0, fmt.Errorf("no record of %s in redis: %w", domain, err)
	}
	return int(sum / n), nil
}
