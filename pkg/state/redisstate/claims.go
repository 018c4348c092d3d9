package redisstate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/state"
)

// An idempotency key is a hash at <prefix>:key:<name>, which goes by itself a day after it was claimed or decided:
//
// 	format     formatClaim
// 	content    of what was asked under it
// 	holder     who may decide it, a token drawn for each claim
// 	until      when others may claim it, by the clock of Redis, in ms
// 	answer     once decided
// 	published  "1" once the answer's event is in the log

// formatClaim is the form of these hashes. Another one is refused.
const formatClaim = "1"

// keepClaims is how long a key is known.
const keepClaims = 24 * time.Hour

// claim: ARGV are the format, the content, the holder, how long it holds in ms, how long the key is known in ms.
var claim = redis.NewScript(`
local h = redis.call('HMGET', KEYS[1], 'format', 'content', 'until', 'answer', 'published')
if h[1] and h[1] ~= ARGV[1] then return {'format', h[1]} end
if h[2] and h[2] ~= ARGV[2] then return {'reused'} end
if h[4] then return {'decided', h[4], h[5] or ''} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if h[3] and tonumber(h[3]) > now then return {'waiting'} end
redis.call('HSET', KEYS[1], 'format', ARGV[1], 'content', ARGV[2], 'holder', ARGV[3], 'until', now + ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {'claimed'}`)

// decide: ARGV are the holder, the answer, how long the key is known in ms.
var decide = redis.NewScript(`
local h = redis.call('HMGET', KEYS[1], 'holder', 'answer', 'published')
if h[2] then return {'decided', h[2], h[3] or ''} end
if h[1] ~= ARGV[1] then return {'lost'} end
redis.call('HSET', KEYS[1], 'answer', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'decided', ARGV[2], ''}`)

// release: ARGV is the holder. The content stays: another one under this key is refused all the same.
var release = redis.NewScript(`
local h = redis.call('HMGET', KEYS[1], 'holder', 'answer')
if h[1] == ARGV[1] and not h[2] then redis.call('HSET', KEYS[1], 'until', 0) end
return 0`)

// markPublished does not make a key again that is gone.
var markPublished = redis.NewScript(`
if redis.call('HEXISTS', KEYS[1], 'answer') == 1 then redis.call('HSET', KEYS[1], 'published', '1') end
return 0`)

func (s *Store) claimKey(name string) string { return s.prefix + ":key:" + name }

// Claim takes an idempotency key for hold, or returns what stands under it. content is a hash of what is asked, holder a token
// that nobody else has.
func (s *Store) Claim(ctx context.Context, name, content, holder string, hold time.Duration) (state.Settlement, error) {
	return settlement(claim.Run(ctx, s.redis, []string{s.claimKey(name)}, formatClaim, content, holder,
		strconv.FormatInt(hold.Milliseconds(), 10), strconv.FormatInt(keepClaims.Milliseconds(), 10)))
}

// Decide stores an answer under a key that holder has claimed. Where another decided it meanwhile, that answer comes back and
// stands; where another holds it, the state is Lost.
func (s *Store) Decide(ctx context.Context, name, holder string, answer []byte) (state.Settlement, error) {
	return settlement(decide.Run(ctx, s.redis, []string{s.claimKey(name)}, holder, answer,
		strconv.FormatInt(keepClaims.Milliseconds(), 10)))
}

// Release lets others claim a key that holder has not decided.
func (s *Store) Release(ctx context.Context, name, holder string) error {
	if err := release.Run(ctx, s.redis, []string{s.claimKey(name)}, holder).Err(); err != nil {
		return fmt.Errorf("release idempotency key: %w", err)
	}
	return nil
}

// MarkPublished notes that the events of decided keys are in the log.
func (s *Store) MarkPublished(ctx context.Context, names ...string) error {
	calls := s.redis.Pipeline()
	for _, name := range names {
		markPublished.Eval(ctx, calls, []string{s.claimKey(name)})
	}
	if _, err := calls.Exec(ctx); err != nil {
		return fmt.Errorf("mark idempotency keys as published: %w", err)
	}
	return nil
}

func settlement(cmd *redis.Cmd) (state.Settlement, error) {
	got, err := cmd.StringSlice()
	if err != nil {
		return state.Settlement{}, fmt.Errorf("read idempotency key: %w", err)
	}
	switch {
	case len(got) == 1 && got[0] == "claimed":
		return state.Settlement{State: state.Claimed}, nil
	case len(got) == 1 && got[0] == "waiting":
		return state.Settlement{State: state.Waiting}, nil
	case len(got) == 1 && got[0] == "reused":
		return state.Settlement{State: state.Reused}, nil
	case len(got) == 1 && got[0] == "lost":
		return state.Settlement{State: state.Lost}, nil
	case len(got) == 3 && got[0] == "decided" && got[2] == "1":
		return state.Settlement{State: state.Published, Answer: []byte(got[1])}, nil
	case len(got) == 3 && got[0] == "decided":
		return state.Settlement{State: state.Decided, Answer: []byte(got[1])}, nil
	case len(got) == 2 && got[0] == "format":
		return state.Settlement{}, fmt.Errorf("read idempotency key: it has format %q, this version reads %q: use another redis.prefix, or wait a day until such keys are gone", got[1], formatClaim)
	}
	return state.Settlement{}, errors.New("read idempotency key: the answer of Redis is none of ours")
}
