package frametest

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Key is the API key that the configuration service of a bed accepts.
const Key = "tg_0123456789abcdef"

// Configuration is a configuration service that serves the revisions a test saves.
type Configuration struct {
	configv1.UnimplementedConfigWatchServiceServer
	endpoints

	stopping  <-chan struct{}
	mu        sync.Mutex
	snapshots map[int64]*configv1.Snapshot
	newest    int64
	away      bool
	changed   chan struct{}
}

func (b *Bed) startConfiguration() {
	b.Helper()
	path := filepath.Join(b.TempDir(), "key")
	if err := os.WriteFile(path, []byte(Key+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	c := &Configuration{snapshots: map[int64]*configv1.Snapshot{}, changed: make(chan struct{})}
	c.reports = make(chan *configv1.EndpointHealthReport, 1000)
	b.Config.Configuration.APIKeyFile = path
	b.Config.Configuration.Address = b.serve(func(s *rpc.Server) {
		c.stopping = s.Stopping()
		configv1.RegisterConfigWatchServiceServer(s, c)
		configv1.RegisterEndpointServiceServer(s, &c.endpoints)
	})
	b.Configuration = c
}

// endpoints takes reports of health.
type endpoints struct {
	configv1.UnimplementedEndpointServiceServer
	reports chan *configv1.EndpointHealthReport
}

// ReportHealth implements configv1.EndpointServiceServer; what nobody reads is dropped.
func (e *endpoints) ReportHealth(_ context.Context, q *configv1.ReportHealthRequest) (*configv1.ReportHealthResponse, error) {
	for _, r := range q.GetReports() {
		select {
		case e.reports <- r:
		default:
		}
	}
	return &configv1.ReportHealthResponse{}, nil
}

// Reports are the reports of endpoints' health.
func (c *Configuration) Reports() <-chan *configv1.EndpointHealthReport { return c.reports }

// Save makes a snapshot the newest revision. Every revision changes what counting and planning read.
func (c *Configuration) Save(s *configv1.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshots[s.GetRevision()], c.newest = s, s.GetRevision()
	close(c.changed)
	c.changed = make(chan struct{})
}

// SetAway makes it unreachable: its streams end, and calls fail.
func (c *Configuration) SetAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
	close(c.changed)
	c.changed = make(chan struct{})
}

var errAway = status.Error(codes.Unavailable, "the configuration service is away")

// Newest is 0 while nothing is saved.
func (c *Configuration) Newest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest
}

// Snapshot implements configv1.ConfigWatchServiceServer.
func (c *Configuration) Snapshot(r *configv1.SnapshotRequest, out configv1.ConfigWatchService_SnapshotServer) error {
	c.mu.Lock()
	s, ok := c.snapshots[r.GetRevision()]
	away := c.away
	c.mu.Unlock()
	if away {
		return errAway
	}
	if !ok {
		return status.Error(codes.NotFound, "no such revision")
	}
	return out.Send(&configv1.SnapshotResponse{Snapshot: s})
}

// Watch implements configv1.ConfigWatchServiceServer.
func (c *Configuration) Watch(_ *configv1.WatchRequest, out configv1.ConfigWatchService_WatchServer) error {
	for {
		c.mu.Lock()
		newest, changed, away := c.newest, c.changed, c.away
		c.mu.Unlock()
		if away {
			return errAway
		}
		if err := out.Send(&configv1.WatchResponse{Revision: newest, ApplyRevision: newest}); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-c.stopping:
			return nil
		case <-out.Context().Done():
			return nil
		}
	}
}
