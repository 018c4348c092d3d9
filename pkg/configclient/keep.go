package configclient

import (
	"context"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/state"
)

// KeyStore stores revisions, so that a partition can be opened, and deliveries sent, while the configuration service is
// unreachable: in the space of each service the three newest, and those that partitions use. A revision is a head and the addresses of
// its parts.
type KeyStore interface {
	// GetRevision reads what PutRevision wrote; head is nil without an error where there is none.
	GetRevision(ctx context.Context, space string, r state.Revision) (head []byte, addresses []string, err error)
	// NewestRevision is that with the highest number, 0 where there is none.
	NewestRevision(ctx context.Context, space string) (state.Revision, error)
	// GetParts reads parts in the order of their addresses, nil for one that is not there.
	GetParts(ctx context.Context, space string, addresses []string) ([][]byte, error)
	PutParts(ctx context.Context, space string, addresses []string, bodies [][]byte) error
	// PutRevision stores nothing while parts are missing, and answers which: PutParts stores them.
	PutRevision(ctx context.Context, space string, r state.Revision, head []byte, addresses []string) (missing []int, err error)
	// HoldRevision reports whether a revision is stored whole, and prevents its removal.
	HoldRevision(ctx context.Context, space string, r state.Revision) (bool, error)
	// NameRevisions names the revisions that partitions use; other partitions stay as they are.
	NameRevisions(ctx context.Context, space string, named map[state.Partition]state.Revision) error
	// SweepRevisions removes, after 60 s, all but the three newest and the named revisions.
	SweepRevisions(ctx context.Context, space string) error
	// SeenRevisions are the highest revisions passed to SeeRevision, one for each history.
	SeenRevisions(ctx context.Context) ([]state.Revision, error)
	SeeRevision(ctx context.Context, r state.Revision) error
}

// keepEvery is how often the content of the store is checked: it may have been emptied while all services work from
// memory.
const keepEvery = 20 * time.Second

// maintainStore names, sweeps and restores the revisions in the store.
func (c *Compiled[C]) maintainStore(ctx context.Context) {
	c.mu.Lock()
	c.storeStale = false
	named, newest := maps.Clone(c.inForce), c.newest
	c.mu.Unlock()
	if c.source.store == nil {
		return
	}
	err := c.name(ctx, named)
	all := map[state.Revision]bool{newest: newest.Number > 0}
	for _, r := range named {
		all[r] = true
	}
	for r, wanted := range all {
		if err == nil && wanted {
			err = c.keep(ctx, r)
		}
	}
	if err == nil {
		err = c.source.sweep(ctx)
	}
	if err != nil && ctx.Err() == nil {
		c.source.log.Warn("revisions in the store not maintained, trying again", zap.Error(err))
	}
}

func (c *Compiled[C]) name(ctx context.Context, named map[state.Partition]state.Revision) error {
	if len(named) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return c.source.store.NameRevisions(ctx, c.source.space, named)
}

// keep returns once a revision is in the store.
func (c *Compiled[C]) keep(ctx context.Context, r state.Revision) error {
	if c.source.store == nil {
		return nil
	}
	there, err := c.source.hold(ctx, r)
	if err != nil || there {
		return err
	}
	if err := c.make(ctx, r); err != nil {
		return err
	}
	c.mu.Lock()
	found, ok := c.recall(r)
	c.mu.Unlock()
	if !ok {
		return fmt.Errorf("keep revision %s: it is not in memory any more", r)
	}
	return c.source.put(ctx, found.snapshot)
}

func (s *Source) hold(ctx context.Context, r state.Revision) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	there, err := s.store.HoldRevision(ctx, s.space, r)
	if err != nil {
		return false, fmt.Errorf("look for revision %s in the store: %w", r, err)
	}
	return there, nil
}

func (s *Source) sweep(ctx context.Context) error {
	return s.place().sweep(ctx)
}

func (p place) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return p.store.SweepRevisions(ctx, p.space)
}
