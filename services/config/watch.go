package config

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"google.golang.org/grpc"
)

// repeatInterval is how long a watcher hears nothing while nothing changes.
const repeatInterval = 10 * time.Second

// news is the standing, and who waits for the next one.
type news struct {
	mu      sync.Mutex
	last    standing
	changed chan struct{}
}

func newNews(last standing) *news { return &news{last: last, changed: make(chan struct{})} }

// tell never goes back: commits are one after the other, but their tellings may overtake.
func (n *news) tell(made standing) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if made.revision <= n.last.revision {
		return
	}
	n.last = made
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *news) read() (standing, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last, n.changed
}

type watchService struct {
	configv1.UnimplementedConfigWatchServiceServer
	service  *service
	stopping <-chan struct{}
}

func (w *watchService) Watch(_ *configv1.WatchRequest, stream grpc.ServerStreamingServer[configv1.WatchResponse]) error {
	w.service.metrics.watchers.Inc()
	defer w.service.metrics.watchers.Dec()
	repeat := time.NewTicker(repeatInterval)
	defer repeat.Stop()
	for {
		last, changed := w.service.news.read()
		if err := stream.Send(&configv1.WatchResponse{Revision: last.revision, ApplyRevision: last.apply}); err != nil {
			return err
		}
		select {
		case <-changed:
			repeat.Reset(repeatInterval)
		case <-repeat.C:
		case <-w.stopping:
			return rpc.ErrStopping()
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (w *watchService) Snapshot(ctx context.Context, req *configv1.SnapshotRequest) (*configv1.SnapshotResponse, error) {
	if req.GetRevision() < 0 {
		return nil, fault.NewInvalid("REQUEST_INVALID", fault.Violation{Field: "revision", Description: "must not be negative"})
	}
	snapshot, err := w.service.snapshot(ctx, req.GetRevision())
	if err != nil {
		return nil, err
	}
	if !rpc.FromService(ctx) {
		for _, e := range snapshot.GetEndpoints() {
			maskSecrets(e)
		}
	}
	return &configv1.SnapshotResponse{Snapshot: snapshot}, nil
}

// snapshot reads the configuration as of a revision, 0 for the newest, secrets in clear.
func (s *service) snapshot(ctx context.Context, revision int64) (*configv1.Snapshot, error) {
	tx, err := s.store.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	last, err := newestStanding(ctx, tx)
	if err != nil {
		return nil, err
	}
	if revision > last.revision {
		return nil, fault.New(fault.NotFound, "REVISION_UNKNOWN", "revision %d is not reached, the newest is %d", revision, last.revision)
	}
	if revision > 0 {
		if last, err = standingAt(ctx, tx, revision); err != nil {
			return nil, err
		}
	}
	rows, err := asOf(ctx, tx, last.revision)
	if err != nil {
		return nil, err
	}
	out := &configv1.Snapshot{Revision: last.revision, ApplyRevision: last.apply}
	for _, row := range rows {
		if err := add(out, row); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func add(out *configv1.Snapshot, row version) error {
	for _, k := range kinds {
		if k.name != row.kind {
			continue
		}
		r, err := k.decode(row)
		if err != nil {
			return err
		}
		switch r := r.(type) {
		case *configv1.Tenant:
			out.Tenants = append(out.Tenants, r)
		case *configv1.ClassOfService:
			out.ClassesOfService = append(out.ClassesOfService, r)
		case *configv1.Notification:
			out.Notifications = append(out.Notifications, r)
		case *configv1.Endpoint:
			out.Endpoints = append(out.Endpoints, r)
		}
		return nil
	}
	return fmt.Errorf("read %s of revision %d: this binary does not know kind %q", row.name, row.revision, row.kind)
}
