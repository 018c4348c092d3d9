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

// The configuration of a revision stands beside the state that refers to it, so that a partition can be opened while the
// configuration service is away:
//
// 	<prefix>:revision:<history>:<number>   a revision
// 	<prefix>:revisions                     the names of those, by number
// 	<prefix>:revisions:named               by which one each partition of each domain is folded
// 	<prefix>:revisions:seen                the highest number of each history that services work by
// 	<prefix>:access:<service>              who may call a service, encrypted, with the revision it is of

func revisionName(r state.Revision) string { return fmt.Sprintf("%016x:%d", r.History, r.Number) }

func (s *Store) revisionKey(name string) string { return s.prefix + ":revision:" + name }
func (s *Store) revisionsKey() string           { return s.prefix + ":revisions" }
func (s *Store) namedKey() string               { return s.prefix + ":revisions:named" }
func (s *Store) seenKey() string                { return s.prefix + ":revisions:seen" }

// GetRevision reads a revision, nil where it is not there.
func (s *Store) GetRevision(ctx context.Context, r state.Revision) ([]byte, error) {
	b, err := s.redis.Get(ctx, s.revisionKey(revisionName(r))).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read revision %s: %w", r, err)
	}
	return b, nil
}

// PutRevision keeps a revision until it is swept.
func (s *Store) PutRevision(ctx context.Context, r state.Revision, b []byte) error {
	name := revisionName(r)
	if err := s.redis.Set(ctx, s.revisionKey(name), b, 0).Err(); err != nil {
		return fmt.Errorf("keep revision %s: %w", r, err)
	}
	return s.list(ctx, r, name)
}

// list makes a revision known to sweeps.
func (s *Store) list(ctx context.Context, r state.Revision, name string) error {
	if err := s.redis.ZAdd(ctx, s.revisionsKey(), redis.Z{Score: float64(r.Number), Member: name}).Err(); err != nil {
		return fmt.Errorf("list revision %s: %w", r, err)
	}
	return nil
}

// HoldRevision reports whether a revision is there, and stops it from going.
func (s *Store) HoldRevision(ctx context.Context, r state.Revision) (bool, error) {
	name := revisionName(r)
	// Persist answers false of a key that is not going too.
	if err := s.redis.Persist(ctx, s.revisionKey(name)).Err(); err != nil {
		return false, fmt.Errorf("hold revision %s: %w", r, err)
	}
	n, err := s.redis.Exists(ctx, s.revisionKey(name)).Result()
	if err != nil {
		return false, fmt.Errorf("hold revision %s: %w", r, err)
	}
	if n == 0 {
		return false, nil
	}
	return true, s.list(ctx, r, name)
}

// NameRevisions notes by which revisions partitions are folded.
func (s *Store) NameRevisions(ctx context.Context, named map[state.Partition]state.Revision) error {
	fields := make([]string, 0, 2*len(named))
	for p, r := range named {
		fields = append(fields, fmt.Sprintf("%s/%d", p.Domain, p.Number), revisionName(r))
	}
	if err := s.redis.HSet(ctx, s.namedKey(), fields).Err(); err != nil {
		return fmt.Errorf("name revisions: %w", err)
	}
	return nil
}

const (
	// newestKept is how many of the newest revisions stay, and goesAfter when others go that no partition is at.
	newestKept = 3
	goesAfter  = time.Minute
)

// SweepRevisions deletes what no partition needs.
func (s *Store) SweepRevisions(ctx context.Context) error {
	names, err := s.redis.ZRangeArgs(ctx, redis.ZRangeArgs{Key: s.revisionsKey(), Start: newestKept, Stop: -1, Rev: true}).Result()
	if err != nil {
		return fmt.Errorf("sweep revisions: %w", err)
	}
	if len(names) == 0 {
		return nil
	}
	named, err := s.redis.HVals(ctx, s.namedKey()).Result()
	if err != nil {
		return fmt.Errorf("sweep revisions: %w", err)
	}
	keep := make(map[string]bool, len(named))
	for _, name := range named {
		keep[name] = true
	}
	for _, name := range names {
		if keep[name] {
			continue
		}
		if err := s.redis.Expire(ctx, s.revisionKey(name), goesAfter).Err(); err != nil {
			return fmt.Errorf("sweep revision %s: %w", name, err)
		}
		if err := s.redis.ZRem(ctx, s.revisionsKey(), name).Err(); err != nil {
			return fmt.Errorf("sweep revision %s: %w", name, err)
		}
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
