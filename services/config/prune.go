package config

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
)

const (
	// keptFor is how long the content of every version is kept after it was replaced, and
	keptFor = 35 * 24 * time.Hour
	// keptNewest is how many of a resource are kept however old they are, the one that stands included.
	keptNewest = 20
	// afterRetention is for a partition that stood still before its owner took over another revision.
	afterRetention = 24 * time.Hour
	// pruneEvery is how often old versions are looked for.
	pruneEvery = time.Hour
)

// keepPruning prunes from time to time until ctx ends.
func (s *service) keepPruning(ctx context.Context) {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.prune(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("old versions not pruned, trying again", zap.Error(err), zap.Duration("after", pruneEvery))
		}
	}
}

// prune removes the content of old versions. A log names the revision that was in force when a record was written: so what
// was replaced before the oldest record that any log keeps is named by none. Kafka is asked how long that is; while it
// does not answer, nothing is removed.
func (s *service) prune(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	retention, err := s.cluster.Retention(asking, stream.NamingRevisions...)
	if err != nil {
		return fmt.Errorf("ask how long logs are kept: %w", err)
	}
	if retention >= stream.Forever-afterRetention {
		return nil
	}
	n, err := s.store.Prune(ctx, s.clock().Add(-max(keptFor, retention+afterRetention)), keptNewest)
	s.metrics.pruned.Add(float64(n))
	if n > 0 {
		s.log.Info("old versions pruned", zap.Int64("versions", n))
	}
	return err
}
