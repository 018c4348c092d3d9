package redisstate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// The configuration of a revision stands beside the state that refers to it, so
// that a partition can be opened while the configuration service is away.

func (s *Store) revisionKey(n int64) string { return fmt.Sprintf("%s:revision:%d", s.prefix, n) }

// GetRevision reads a revision, nil where it is not there.
func (s *Store) GetRevision(ctx context.Context, n int64) ([]byte, error) {
	b, err := s.redis.Get(ctx, s.revisionKey(n)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read revision %d: %w", n, err)
	}
	return b, nil
}

// PutRevision keeps a revision until it is retired.
func (s *Store) PutRevision(ctx context.Context, n int64, b []byte) error {
	if err := s.redis.Set(ctx, s.revisionKey(n), b, 0).Err(); err != nil {
		return fmt.Errorf("keep revision %d: %w", n, err)
	}
	return nil
}

// retired is how long a revision is kept after a higher one.
const retired = 24 * time.Hour

// RetireRevision lets a revision go in a day.
func (s *Store) RetireRevision(ctx context.Context, n int64) error {
	if err := s.redis.Expire(ctx, s.revisionKey(n), retired).Err(); err != nil {
		return fmt.Errorf("retire revision %d: %w", n, err)
	}
	return nil
}
