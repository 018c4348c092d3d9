package trigger

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/revision"
)

// remembered is how many books stay in memory: partitions are at two or three revisions at a time.
const remembered = 4

// books are the configuration as the engines ask for it, each revision compiled once for all partitions.
type books struct {
	source  revision.Applied
	clock   func() time.Time
	metrics *metrics

	mu    sync.Mutex
	cache []*Book // the one compiled last is the last
}

// Newest is the newest revision that planning goes by.
func (b *books) Newest() int64 { return b.source.Newest() }

// Changed is closed when Newest becomes another one.
func (b *books) Changed() <-chan struct{} { return b.source.Changed() }

// Prepare keeps a revision in the store for whoever opens a partition at it.
func (b *books) Prepare(ctx context.Context, n int64) error { return b.source.Prepare(ctx, n) }

// IncidentNotification is of a notification that this binary can't compile: it is inactive until it is corrected.
const IncidentNotification = "NOTIFICATION_INACTIVE"

// inactive are those of the newest revision that was compiled.
func (b *books) inactive() []*daemon.Incident {
	b.mu.Lock()
	defer b.mu.Unlock()
	var newest *Book
	for _, known := range b.cache {
		if newest == nil || known.Revision > newest.Revision {
			newest = known
		}
	}
	if newest == nil {
		return nil
	}
	return revision.Incidents(IncidentNotification, newest.faults)
}

// At is the book of a revision. Whoever else asks meanwhile waits for it.
func (b *books) At(ctx context.Context, n int64) (*Book, error) {
	s, err := b.source.At(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var before *Book
	for _, known := range b.cache {
		if known.Revision == n {
			return known, nil
		}
		before = known
	}
	begin := b.clock()
	made := NewBook(s, before)
	b.metrics.compiled(len(made.compiled), len(made.faults), b.clock().Sub(begin))
	b.cache = append(b.cache, made)
	if len(b.cache) > remembered {
		b.cache = append([]*Book(nil), b.cache[1:]...)
	}
	return made, nil
}
