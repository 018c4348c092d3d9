package service

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/loop"
	"github.com/tollgate/tollgate/pkg/delivery/schedule"
)

// Directory follows the configuration and keeps the targets of its newest revision ready. T is the channel's target, a
// pointer.
type Directory[T delivery.Target] struct {
	source Revisions
	kind   *channel.Kind
	make   func(t *configclient.Target, s *configclient.Snapshot, before T) (T, bool)
	taken  func([]T)
	health loop.Health
	log    *zap.Logger

	// snapshot is the newest revision read.
	snapshot atomic.Pointer[configclient.Snapshot]

	mu      sync.Mutex
	targets *delivery.Targets
	changed chan struct{}
}

// Revisions is the part of configclient.Source that is needed here.
type Revisions interface {
	Newest() (apply, all int64, ok bool)
	Current(revision int64) bool
	At(ctx context.Context, revision int64) (*configclient.Snapshot, error)
	Changed() <-chan struct{}
}

// NewDirectory makes a directory of the targets of a kind. ready makes one ready to be sent to; before is what it was in the
// revision before, if anything, which is returned where nothing of it changed; false is for one that is disabled. taken learns all targets of a new revision.
func NewDirectory[T delivery.Target](
	source Revisions, kind *channel.Kind, ready func(t *configclient.Target, s *configclient.Snapshot, before T) (T, bool), taken func([]T),
	health loop.Health, log *zap.Logger,
) *Directory[T] {
	return &Directory[T]{source: source, kind: kind, make: ready, taken: taken, health: health, log: log, changed: make(chan struct{})}
}

// Newest implements delivery.Directory.
func (d *Directory[T]) Newest() (*delivery.Targets, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.targets, d.changed
}

// Current implements delivery.Directory.
func (d *Directory[T]) Current(revision int64) bool { return d.source.Current(revision) }

// Snapshot is the newest revision; nil while none was read.
func (d *Directory[T]) Snapshot() *configclient.Snapshot { return d.snapshot.Load() }

// Target is that of a name in the newest revision; the zero T where there is none.
func (d *Directory[T]) Target(name string) T {
	var none T
	targets, _ := d.Newest()
	if targets == nil {
		return none
	}
	if t, ok := targets.ByName[name].(T); ok {
		return t
	}
	return none
}

// RetryRead is how soon a revision that could not be read is asked for again.
const RetryRead = time.Second

// Follow takes over each new revision until ctx ends.
func (d *Directory[T]) Follow(ctx context.Context) {
	for {
		changed := d.source.Changed()
		var again <-chan time.Time
		if _, all, ok := d.source.Newest(); ok {
			s, err := d.source.At(ctx, all)
			if err != nil {
				err = fmt.Errorf("%ss of revision %d not read: %w", d.kind.Label, all, err)
			}
			d.health.Set("endpoints", err)
			if err != nil {
				d.log.Warn("endpoints not read", zap.Error(err))
				again = time.After(RetryRead)
			} else {
				d.take(s)
			}
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

func (d *Directory[T]) take(s *configclient.Snapshot) {
	before, _ := d.Newest()
	if before != nil && s.SameTargets(d.kind, d.Snapshot()) {
		d.announce(s, &delivery.Targets{
			Revision: s.Revision, ByName: before.ByName, Disabled: before.Disabled, Serial: before.Serial + 1, Since: before.Serial, Changed: []string{},
		})
		return
	}
	targets := &delivery.Targets{Revision: s.Revision, ByName: map[string]delivery.Target{}, Disabled: map[string]bool{}}
	var all []T
	changed := []string{}
	for t := range s.Targets(d.kind) {
		var was T
		if before != nil {
			was, _ = before.ByName[t.Name].(T)
		}
		made, active := d.make(t, s, was)
		if !active {
			targets.Disabled[t.Name] = true
			continue
		}
		all = append(all, made)
		targets.ByName[t.Name] = made
		if before != nil && before.ByName[t.Name] != targets.ByName[t.Name] {
			changed = append(changed, t.Name)
		}
	}
	if before != nil {
		for name := range before.ByName {
			if targets.ByName[name] == nil {
				changed = append(changed, name)
			}
		}
		targets.Serial, targets.Since, targets.Changed = before.Serial+1, before.Serial, changed
	}
	d.announce(s, targets)
	d.taken(all)
}

func (d *Directory[T]) announce(s *configclient.Snapshot, targets *delivery.Targets) {
	d.snapshot.Store(s)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.targets = targets
	close(d.changed)
	d.changed = make(chan struct{})
}

// Needs are what a service reads of the configuration that sends to targets of a kind, and more lists.
func Needs(k *channel.Kind, more ...string) configclient.Needs {
	return configclient.Needs{Lists: append([]string{"tenants", configclient.ListFor(k.New())}, more...), Encrypted: true}
}

// Schedule is when a target may be sent to; nil for always.
func Schedule(s *channel.Schedule) *schedule.Schedule {
	if s == nil {
		return nil
	}
	out := &schedule.Schedule{Zone: s.Zone}
	for _, h := range s.Hours {
		out.Hours = append(out.Hours, schedule.Hours{Days: h.Days, Start: int(h.Start / time.Minute), End: int(h.End / time.Minute)})
	}
	return out
}
