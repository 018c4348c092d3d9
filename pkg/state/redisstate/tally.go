package redisstate

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// A tally is a number at <prefix>:tally:<name> that replicas add to, and <prefix>:tally:<name>:taken is there until it may be taken
// again. Both go by themselves a day after they were written last.

// tally: ARGV are what is added, how long nobody else takes it, and how long it is kept, in ms.
var tally = redis.NewScript(`
local n = redis.call('INCRBY', KEYS[1], ARGV[1])
if n == 0 then
  redis.call('DEL', KEYS[1])
  return {0, 0}
end
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) then
  redis.call('DEL', KEYS[1])
  return {n, 0}
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {0, math.max(1, redis.call('PTTL', KEYS[2]))}`)

const keepTallies = 24 * time.Hour

// Tally adds to a number that all replicas share, and takes all of it where nobody did so within every. Otherwise it returns 0, and
// when it may be taken; also 0 where there is nothing to take.
func (s *Store) Tally(ctx context.Context, name string, n int64, every time.Duration) (taken int64, again time.Duration, err error) {
	key := s.prefix + ":tally:" + name
	got, err := tally.Run(ctx, s.redis, []string{key, key + ":taken"}, n, strconv.FormatInt(every.Milliseconds(), 10),
		strconv.FormatInt(keepTallies.Milliseconds(), 10)).Int64Slice()
	if err != nil {
		return 0, 0, fmt.Errorf("add to a tally: %w", err)
	}
	if len(got) != 2 {
		return 0, 0, fmt.Errorf("add to a tally: Redis answers %v", got)
	}
	return got[0], time.Duration(got[1]) * time.Millisecond, nil
}
