package redisstate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/state"
)

// Revisions of the configuration stand beside the state that refers to them, so that a service works while the configuration
// service is away. A space is one service's. A revision is a list of parts, which revisions share: each part is named by an address
// that its content yields.
//
// 	{<prefix>:config:<space>}:heads   what is written of each revision, <history>:<number>
// 	{<prefix>:config:<space>}:lists   the addresses of its parts, one behind the other
// 	{<prefix>:config:<space>}:parts   the parts by their addresses
// 	{<prefix>:config:<space>}:order   the revisions, by number
// 	{<prefix>:config:<space>}:going   those that nothing needs, by the second since then
// 	{<prefix>:config:<space>}:named   by which one each partition of each domain is folded
// 	<prefix>:revisions:seen           the highest number of each history that services work by
// 	<prefix>:access:<service>         who may call a service, encrypted, with the revision it is of

// addressSize is the length of each address.
const addressSize = 32

func revisionName(r state.Revision) string { return fmt.Sprintf("%016x:%d", r.History, r.Number) }

func revisionOf(name string) (r state.Revision, err error) {
	history, number, _ := strings.Cut(name, ":")
	if r.History, err = strconv.ParseUint(history, 16, 64); err != nil {
		return r, fmt.Errorf("read the name of a revision: %w", err)
	}
	if r.Number, err = strconv.ParseInt(number, 10, 64); err != nil {
		return r, fmt.Errorf("read the name of a revision: %w", err)
	}
	return r, nil
}

// spaceKeys are all keys of a space, in the order in which the scripts have them.
func (s *Store) spaceKeys(space string) []string {
	tag := "{" + s.prefix + ":config:" + space + "}"
	return []string{tag + ":heads", tag + ":lists", tag + ":parts", tag + ":order", tag + ":going", tag + ":named"}
}

func (s *Store) headsKey(space string) string { return s.spaceKeys(space)[0] }
func (s *Store) listsKey(space string) string { return s.spaceKeys(space)[1] }
func (s *Store) partsKey(space string) string { return s.spaceKeys(space)[2] }
func (s *Store) orderKey(space string) string { return s.spaceKeys(space)[3] }
func (s *Store) namedKey(space string) string { return s.spaceKeys(space)[5] }
func (s *Store) seenKey() string              { return s.prefix + ":revisions:seen" }

// GetRevision reads a revision; head is nil where it is not there.
func (s *Store) GetRevision(ctx context.Context, space string, r state.Revision) (head []byte, addresses []string, err error) {
	name := revisionName(r)
	head, err = s.redis.HGet(ctx, s.headsKey(space), name).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read revision %s: %w", r, err)
	}
	list, err := s.redis.HGet(ctx, s.listsKey(space), name).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read revision %s: %w", r, err)
	}
	for ; len(list) >= addressSize; list = list[addressSize:] {
		addresses = append(addresses, list[:addressSize])
	}
	return head, addresses, nil
}

// NewestRevision is the one with the highest number; number 0 where there is none.
func (s *Store) NewestRevision(ctx context.Context, space string) (state.Revision, error) {
	names, err := s.redis.ZRangeArgs(ctx, redis.ZRangeArgs{Key: s.orderKey(space), Start: 0, Stop: 0, Rev: true}).Result()
	if err != nil {
		return state.Revision{}, fmt.Errorf("find the newest revision: %w", err)
	}
	if len(names) == 0 {
		return state.Revision{}, nil
	}
	return revisionOf(names[0])
}

// partsAtOnce bounds a command: a part may have some hundred kB.
const partsAtOnce = 64

// GetParts reads parts in the order of their addresses, nil for one that is not there.
func (s *Store) GetParts(ctx context.Context, space string, addresses []string) ([][]byte, error) {
	out := make([][]byte, 0, len(addresses))
	for len(addresses) > 0 {
		n := min(partsAtOnce, len(addresses))
		got, err := s.redis.HMGet(ctx, s.partsKey(space), addresses[:n]...).Result()
		if err != nil {
			return nil, fmt.Errorf("read parts of the configuration: %w", err)
		}
		for _, v := range got {
			text, ok := v.(string)
			if !ok {
				out = append(out, nil)
				continue
			}
			out = append(out, []byte(text))
		}
		addresses = addresses[n:]
	}
	return out, nil
}

// PutParts keeps parts that PutRevision missed. A sweep deletes those that no revision lists.
func (s *Store) PutParts(ctx context.Context, space string, addresses []string, bodies [][]byte) error {
	for len(addresses) > 0 {
		n := min(partsAtOnce, len(addresses))
		fields := make([]any, 0, 2*n)
		for i := range n {
			fields = append(fields, addresses[i], bodies[i])
		}
		if err := s.redis.HSet(ctx, s.partsKey(space), fields...).Err(); err != nil {
			return fmt.Errorf("keep parts of the configuration: %w", err)
		}
		addresses, bodies = addresses[n:], bodies[n:]
	}
	return nil
}

// put: ARGV are the name, the number, the head, the addresses. It answers which of them have no part, counted from 0, and then
// has written nothing: so a revision that is listed is whole, whatever a sweep has deleted meanwhile.
var putRevision = redis.NewScript(`
local list, missing = ARGV[4], {}
for i = 1, #list, 32 do
  if redis.call('HEXISTS', KEYS[3], string.sub(list, i, i+31)) == 0 then missing[#missing+1] = (i-1) / 32 end
end
if #missing > 0 then return missing end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], list)
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
return missing`)

// PutRevision keeps a revision until it is swept. Where parts are missing it answers which, and keeps nothing: PutParts
// comes first, and then this again.
func (s *Store) PutRevision(ctx context.Context, space string, r state.Revision, head []byte, addresses []string) (missing []int, err error) {
	got, err := putRevision.Run(ctx, s.redis, s.spaceKeys(space), revisionName(r), r.Number, head, strings.Join(addresses, "")).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("keep revision %s: %w", r, err)
	}
	for _, i := range got {
		missing = append(missing, int(i))
	}
	return missing, nil
}

// hold: ARGV are the name and the number.
var holdRevision = redis.NewScript(`
local list = redis.call('HGET', KEYS[2], ARGV[1])
if not list or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 1, #list, 32 do
  if redis.call('HEXISTS', KEYS[3], string.sub(list, i, i+31)) == 0 then return 0 end
end
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
return 1`)

// HoldRevision reports whether a revision is there, whole, and stops it from going.
func (s *Store) HoldRevision(ctx context.Context, space string, r state.Revision) (bool, error) {
	n, err := holdRevision.Run(ctx, s.redis, s.spaceKeys(space), revisionName(r), r.Number).Int()
	if err != nil {
		return false, fmt.Errorf("hold revision %s: %w", r, err)
	}
	return n == 1, nil
}

// NameRevisions notes by which revisions partitions are folded.
func (s *Store) NameRevisions(ctx context.Context, space string, named map[state.Partition]state.Revision) error {
	fields := make([]string, 0, 2*len(named))
	for p, r := range named {
		fields = append(fields, fmt.Sprintf("%s/%d", p.Domain, p.Number), revisionName(r))
	}
	if err := s.redis.HSet(ctx, s.namedKey(space), fields).Err(); err != nil {
		return fmt.Errorf("name revisions: %w", err)
	}
	return nil
}

const (
	// newestKept is how many of the newest revisions stay, and goesAfter when others go that no partition is at.
	newestKept = 3
	goesAfter  = time.Minute
)

// sweep: ARGV are how many of the newest stay, and after how many seconds others go. Parts are deleted that no revision lists.
var sweepRevisions = redis.NewScript(`
local now, keep = tonumber(redis.call('TIME')[1]), {}
for _, name in ipairs(redis.call('HVALS', KEYS[6])) do keep[name] = true end
for _, name in ipairs(redis.call('ZREVRANGE', KEYS[4], ARGV[1], -1)) do
  if not keep[name] then
    redis.call('ZREM', KEYS[4], name)
    redis.call('ZADD', KEYS[5], now, name)
  end
end
local gone = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now - tonumber(ARGV[2]))
if #gone == 0 then return 0 end
for _, name in ipairs(gone) do
  redis.call('HDEL', KEYS[1], name)
  redis.call('HDEL', KEYS[2], name)
  redis.call('ZREM', KEYS[5], name)
end
local listed = {}
for _, list in ipairs(redis.call('HVALS', KEYS[2])) do
  for i = 1, #list, 32 do listed[string.sub(list, i, i+31)] = true end
end
for _, address in ipairs(redis.call('HKEYS', KEYS[3])) do
  if not listed[address] then redis.call('HDEL', KEYS[3], address) end
end
return #gone`)

// SweepRevisions deletes what no partition needs.
func (s *Store) SweepRevisions(ctx context.Context, space string) error {
	err := sweepRevisions.Run(ctx, s.redis, s.spaceKeys(space), newestKept, int(goesAfter.Seconds())).Err()
	if err != nil {
		return fmt.Errorf("sweep revisions: %w", err)
	}
	return nil
}

// putAccess replaces what is there unless that is of a later revision.
var putAccess = redis.NewScript(`
local there = redis.call('HGET', KEYS[1], 'revision')
if there and tonumber(there) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'body', ARGV[2])
return 1`)

func (s *Store) accessKey(service string) string { return s.prefix + ":access:" + service }

// PutAccess keeps who may call a service, as of a revision; kept is false where what is there is of a later one.
func (s *Store) PutAccess(ctx context.Context, service string, revision int64, body []byte) (kept bool, err error) {
	n, err := putAccess.Run(ctx, s.redis, []string{s.accessKey(service)}, revision, body).Int()
	if err != nil {
		return false, fmt.Errorf("keep the keys of callers: %w", err)
	}
	return n == 1, nil
}

// GetAccess reads what PutAccess keeps, nil where there is none.
func (s *Store) GetAccess(ctx context.Context, service string) ([]byte, error) {
	b, err := s.redis.HGet(ctx, s.accessKey(service), "body").Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the keys of callers: %w", err)
	}
	return b, nil
}

// SeeRevision notes that services work by a revision.
func (s *Store) SeeRevision(ctx context.Context, r state.Revision) error {
	err := s.redis.ZAddGT(ctx, s.seenKey(), redis.Z{Score: float64(r.Number), Member: strconv.FormatUint(r.History, 16)}).Err()
	if err != nil {
		return fmt.Errorf("note revision %s: %w", r, err)
	}
	return nil
}

// SeenRevisions are the highest that SeeRevision noted, one for each history.
func (s *Store) SeenRevisions(ctx context.Context) ([]state.Revision, error) {
	found, err := s.redis.ZRangeWithScores(ctx, s.seenKey(), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read revisions seen: %w", err)
	}
	out := make([]state.Revision, 0, len(found))
	for _, z := range found {
		name, _ := z.Member.(string)
		history, err := strconv.ParseUint(name, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("read revisions seen: %w", err)
		}
		out = append(out, state.Revision{History: history, Number: int64(z.Score)})
	}
	return out, nil
}
