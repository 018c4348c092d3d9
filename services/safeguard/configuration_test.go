package safeguard

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// configuration stands for the configuration service.
type configuration struct {
	configv1.UnimplementedConfigWatchServiceServer
	stopping <-chan struct{}

	mu        sync.Mutex
	snapshots []*configv1.Snapshot // the newest last
	changed   chan struct{}
}

// revise makes a revision.
func (c *configuration) revise(revision int64, classes ...*configv1.ClassOfService) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshots = append(c.snapshots, &configv1.Snapshot{
		Revision: revision, ApplyRevision: revision, ClassesOfService: classes,
		Tenants: []*configv1.Tenant{
			{Name: "tenants/acme"},
			{Name: "tenants/lenient", Subscribers: &configv1.SubscriberPolicy{OnUnknown: configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW}},
			{Name: "tenants/patient", Subscribers: &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(24 * time.Hour)}},
		},
	})
	if c.changed != nil {
		close(c.changed)
	}
	c.changed = make(chan struct{})
}

func (c *configuration) newest() (int64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshots[len(c.snapshots)-1].GetRevision(), c.changed
}

func (c *configuration) Snapshot(r *configv1.SnapshotRequest, out configv1.ConfigWatchService_SnapshotServer) error {
	if s := c.at(r.GetRevision()); s != nil {
		return out.Send(&configv1.SnapshotResponse{Snapshot: s})
	}
	return status.Error(codes.NotFound, "no such revision")
}

// at is nil where there is none.
func (c *configuration) at(revision int64) *configv1.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.snapshots {
		if s.GetRevision() == revision {
			return s
		}
	}
	return nil
}

func (c *configuration) Watch(_ *configv1.WatchRequest, out configv1.ConfigWatchService_WatchServer) error {
	for {
		revision, changed := c.newest()
		if err := out.Send(&configv1.WatchResponse{Revision: revision, ApplyRevision: revision}); err != nil {
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

// configure serves a configuration for the rest of the test, at revision 7.
func (f *fixture) configure(classes ...*configv1.ClassOfService) *configuration {
	f.Helper()
	env := daemon.NewEnv("config", zap.NewNop())
	cfg := rpc.DefaultConfig("127.0.0.1:0")
	cfg.KeyHashes = f.cfg.GRPC.KeyHashes
	server, err := rpc.NewServer(cfg, env)
	if err != nil {
		f.Fatal(err)
	}
	c := &configuration{stopping: server.Stopping()}
	c.revise(7, classes...)
	configv1.RegisterConfigWatchServiceServer(server, c)
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	f.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
	})
	f.cfg.Configuration.Address = server.Advertised()
	return c
}
