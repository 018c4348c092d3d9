package configclient

import (
	"context"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// KeyStore stores revisions for all services, so that a partition can be opened while the configuration service is
// unreachable: the three newest, and those that partitions use.
type KeyStore interface {
	// GetRevision reads what PutRevision wrote; nil without an error where there is none.
	GetRevision(ctx context.Context, r state.Revision) ([]byte, error)
	PutRevision(ctx context.Context, r state.Revision, body []byte) error
	// HoldRevision reports whether a revision is stored, and prevents its removal.
	HoldRevision(ctx context.Context, r state.Revision) (bool, error)
	// NameRevisions names the revisions that partitions use; other partitions stay as they are.
	NameRevisions(ctx context.Context, named map[state.Partition]state.Revision) error
	// SweepRevisions removes, after 60 s, all but the three newest and the named revisions.
	SweepRevisions(ctx context.Context) error
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
		err = c.sweep(ctx)
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
	return c.source.store.NameRevisions(ctx, named)
}

func (c *Compiled[C]) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return c.source.store.SweepRevisions(ctx)
}

// keep returns once a revision is in the store.
func (c *Compiled[C]) keep(ctx context.Context, r state.Revision) error {
	if c.source.store == nil {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	there, err := c.source.store.HoldRevision(asking, r)
	if err != nil {
		return fmt.Errorf("look for revision %s in the store: %w", r, err)
	}
	if there {
		return nil
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
	body, err := stored(found.snapshot.raw)
	if err != nil {
		return err
	}
	putting, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	if err := c.source.store.PutRevision(putting, r, body); err != nil {
		return fmt.Errorf("keep revision %s: %w", r, err)
	}
	return nil
}

// putTimeout bounds the writing of one whole configuration, of up to hundreds of MB.
const putTimeout = 15 * time.Second

// stored is the encoded form in the store.
func stored(m *configv1.Snapshot) ([]byte, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{storedFormat}, Stripped(m))
	if err != nil {
		return nil, fmt.Errorf("encode revision %d: %w", m.GetRevision(), err)
	}
	return body, nil
}

// Stripped is the form of a snapshot in the store, which others may read. Users are whole, since
// planning reads all of them. A target has only what planning reads: of an endpoint its name, profile, whether it gets
// personal data, and whether it is a draft. URL, secrets, headers and everything else are read from the configuration
// service when a request is sent. The result shares messages with m.
func Stripped(m *configv1.Snapshot) *configv1.Snapshot {
	out := &configv1.Snapshot{
		Revision: m.GetRevision(), ApplyRevision: m.GetApplyRevision(), History: m.GetHistory(), StandsIn: m.GetStandsIn(),
		Tenants: m.GetTenants(), ClassesOfService: m.GetClassesOfService(), Notifications: m.GetNotifications(),
		Users: m.GetUsers(), EventTypes: m.GetEventTypes(),
	}
	for _, k := range table.Kinds() {
		for r := range Resources(m, k) {
			Append(out, k.Planned(r))
		}
	}
	return out
}
