// Package redisstate keeps state in Redis: a watermark and a value per record, and one script per commit that compares
// the watermark and writes all of it. Nothing is computed there; Lua compares strings and stores bytes.
package redisstate

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/state"
)

// Store is a state store on one Redis.
type Store struct {
	redis  *redis.Client
	group  *group
	prefix string
	walks  walks
}

var _ state.Store = (*Store)(nil)

// watermarkKey is the partition's watermark; no other key begins so.
const watermarkKey = "w"

// The head of a watermark is 16 bytes of token, a length and the address; opening replaces it and keeps the rest,
// ARGV[2] where there is none.
var open = redis.NewScript(`
local rest = ARGV[2]
local old = redis.call('GET', KEYS[1])
local before = ''
if old then
  rest = string.sub(old, 18 + string.byte(old, 17))
  before = string.sub(old, 1, 16)
end
local new = ARGV[1] .. rest
redis.call('SET', KEYS[1], new)
return {new, before}`)

// KEYS: the watermark, puts, appends, deletes; ARGV: the old watermark, the new one, how many puts, how many appends,
// their values.
var commit = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local puts, appends = tonumber(ARGV[3]), tonumber(ARGV[4])
local set = {KEYS[1], ARGV[2]}
for i = 1, puts do
  set[2*i+1] = KEYS[1+i]
  set[2*i+2] = ARGV[4+i]
end
redis.call('MSET', unpack(set))
for i = 1, appends do redis.call('APPEND', KEYS[1+puts+i], ARGV[4+puts+i]) end
for i = 2+puts+appends, #KEYS do redis.call('DEL', KEYS[i]) end
return 1`)

// Open implements state.Store.
func (s *Store) Open(ctx context.Context, p state.Partition, address string) (state.Watermark, error) {
	s.walks.written.Add(1)
	w := state.Watermark{Token: state.NewToken(), Address: address}
	raw, err := open.Run(ctx, s.redis, []string{s.base(p) + watermarkKey}, w.Head(), w.Encode()[len(w.Head()):]).StringSlice()
	if err != nil {
		return w, fmt.Errorf("open watermark of %s/%d: %w", p.Domain, p.Number, err)
	}
	w, err = state.DecodeWatermark([]byte(raw[0]))
	copy(w.Before[:], raw[1])
	return w, err
}

// Load implements state.Store.
func (s *Store) Load(ctx context.Context, p state.Partition, w state.Watermark, keys []string) ([][]byte, error) {
	stored, values, err := s.read(ctx, p, keys)
	if err != nil {
		return nil, err
	}
	if stored != string(w.Encode()) {
		return nil, state.ErrFenced
	}
	return values, nil
}

// Peek implements state.Store.
func (s *Store) Peek(ctx context.Context, p state.Partition, keys []string) (state.Watermark, [][]byte, error) {
	stored, values, err := s.read(ctx, p, keys)
	if err != nil || stored == "" {
		return state.Watermark{}, values, err
	}
	w, err := state.DecodeWatermark([]byte(stored))
	return w, values, err
}

// read gets the watermark and values in one step.
func (s *Store) read(ctx context.Context, p state.Partition, keys []string) (watermark string, values [][]byte, err error) {
	base := s.base(p)
	full := make([]string, 1+len(keys))
	full[0] = base + watermarkKey
	for i, k := range keys {
		full[1+i] = base + k
	}
	got, err := s.redis.MGet(ctx, full...).Result()
	if err != nil {
		return "", nil, fmt.Errorf("read %d keys of %s/%d: %w", len(keys), p.Domain, p.Number, err)
	}
	watermark, _ = got[0].(string)
	values = make([][]byte, len(keys))
	for i, v := range got[1:] {
		if v, ok := v.(string); ok {
			values[i] = []byte(v)
		}
	}
	return watermark, values, nil
}

// Commit implements state.Store.
func (s *Store) Commit(ctx context.Context, p state.Partition, from, to state.Watermark, c state.Commit) error {
	if err := c.Check(); err != nil {
		return err
	}
	if len(c.Puts)+len(c.Appends) > 0 {
		s.walks.written.Add(1)
	}
	base := s.base(p)
	keys := make([]string, 0, 1+len(c.Puts)+len(c.Appends)+len(c.Deletes))
	args := make([]any, 0, 4+len(c.Puts)+len(c.Appends))
	keys = append(keys, base+watermarkKey)
	args = append(args, from.Encode(), to.Encode(), len(c.Puts), len(c.Appends))
	size := 0
	for _, list := range [...][]state.Entry{c.Puts, c.Appends} {
		for _, e := range list {
			keys, args = append(keys, base+e.Key), append(args, e.Value)
			size += len(base) + len(e.Key) + len(e.Value)
		}
	}
	for _, k := range c.Deletes {
		keys = append(keys, base+k)
	}
	ok, err := s.group.run(ctx, keys, args, size)
	if err != nil {
		return fmt.Errorf("commit %d keys of %s/%d: %w", len(keys), p.Domain, p.Number, err)
	}
	if ok != 1 {
		return state.ErrFenced
	}
	return nil
}

// Scan implements state.Store by SCAN over the keys of the whole server.
func (s *Store) Scan(ctx context.Context, p state.Partition, prefix, cursor string, count int) (keys []string, next string, err error) {
	var from uint64
	if cursor != "" {
		if _, err := fmt.Sscan(cursor, &from); err != nil {
			return nil, "", fmt.Errorf("scan %s/%d: cursor %q: %w", p.Domain, p.Number, cursor, err)
		}
	}
	base := s.base(p)
	found, at, err := s.redis.Scan(ctx, from, base+prefix+"*", int64(count)).Result()
	if err != nil {
		return nil, "", fmt.Errorf("scan %s/%d: %w", p.Domain, p.Number, err)
	}
	for _, k := range found {
		if k = strings.TrimPrefix(k, base); k != watermarkKey {
			keys = append(keys, k)
		}
	}
	if at != 0 {
		next = fmt.Sprint(at)
	}
	return keys, next, nil
}

// Close ends the connections.
func (s *Store) Close() error { return s.redis.Close() }

// Ping asks whether Redis answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.redis.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping redis: %w", err)
	}
	return nil
}
