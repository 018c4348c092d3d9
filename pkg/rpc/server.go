package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/daemon"
)

// streamGrace is how long streams may go on after the server starts to stop, before their contexts end.
const streamGrace = time.Second

// What a connection may take, whoever is at its other end.
const (
	maxConnections   = 4096
	maxStreams       = 250
	maxHeaders       = 16 << 10
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 15 * time.Minute
	// streamWindow is what the sender of a stream may send before it is read: it is in memory outside the budget. A
	// larger message is read once it is within the budget.
	streamWindow     = 128 << 10
	connectionWindow = 1 << 20
)

// LimitConnections bounds the open connections of a listener; further ones wait to be accepted.
func LimitConnections(l net.Listener) net.Listener { return netutil.LimitListener(l, maxConnections) }

// Server is one gRPC listener. Register services on it, then Serve.
type Server struct {
	cfg        Config
	env        daemon.Env
	authorizer *Authorizer
	outcomes   *outcomes
	budget     *Budget
	calls      atomic.Int64
	openCalls  atomic.Int64
	listener   net.Listener
	grpc       *grpc.Server
	stopping   chan struct{}
	// cut ends, streamGrace after stopping, what streams see as their context.
	cut     chan struct{}
	stopped sync.Once
}

// NewServer reads keys and certificate and binds the listener, so that Advertised is known before Serve.
func NewServer(cfg Config, env daemon.Env) (*Server, error) {
	keys, err := LoadKeys(cfg.KeyHashes, cfg.KeyHashesFile)
	if err != nil {
		return nil, fmt.Errorf("prepare gRPC: %w", err)
	}
	serviceKeys, err := LoadKeys(cfg.ServiceKeyHashes, cfg.ServiceKeyHashesFile)
	if err != nil {
		return nil, fmt.Errorf("prepare gRPC: %w", err)
	}
	s := &Server{cfg: cfg, env: env, authorizer: NewAuthorizer(keys, serviceKeys, env.Clock), stopping: make(chan struct{}), cut: make(chan struct{})}
	if s.authorizer.refusals, err = NewRefusals(env.Name, env.Clock, env.Metrics); err != nil {
		return nil, fmt.Errorf("prepare gRPC: %w", err)
	}
	if s.outcomes, err = newOutcomes(env); err != nil {
		return nil, fmt.Errorf("prepare gRPC: %w", err)
	}
	if s.budget, err = NewBudget(cfg.MaxHeldBytes, env); err != nil {
		return nil, fmt.Errorf("prepare gRPC: %w", err)
	}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(cfg.MaxMessageBytes),
		grpc.InTapHandle(s.admit),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, MaxConnectionIdle: idleTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
	secure, err := certificate.Server(cfg.files(), "h2")
	if err != nil {
		return nil, fmt.Errorf("prepare gRPC: %w", err)
	}
	if err := env.Health.WatchCertificates("grpc", cfg.files()); err != nil {
		return nil, err
	}
	if secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
	}
	s.listener, err = net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for gRPC: %w", err)
	}
	s.listener = LimitConnections(s.listener)
	s.grpc = grpc.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(s, &healthService{server: s})
	reflection.Register(s)
	if s.authorizer.Len() == 0 {
		env.Log.Warn("no key of an operator or a service is accepted", zap.String("listener", "grpc"))
	}
	return s, nil
}

// GetServiceInfo is the content of reflection.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo { return s.grpc.GetServiceInfo() }

// Advertised is the host:port at which other replicas reach this one.
func (s *Server) Advertised() string {
	if s.cfg.Advertise != "" {
		return s.cfg.Advertise
	}
	return s.listener.Addr().String()
}

// Budget bounds the memory held for callers; other listeners of the process share it.
func (s *Server) Budget() *Budget { return s.budget }

// ServiceKeys is the number of accepted keys of services.
func (s *Server) ServiceKeys() int { return s.authorizer.services.Len() }

// Authorizer knows the API keys that this server accepts; an HTTP listener of the same process asks it too.
func (s *Server) Authorizer() *Authorizer { return s.authorizer }

// Stopping is closed when the server starts to stop. A stream that waits for changes ends then; the context of any
// other stream ends one second later.
func (s *Server) Stopping() <-chan struct{} { return s.stopping }

// Serve answers calls until ctx ends, then finishes the calls under way within env.ShutdownTimeout and returns nil. It
// announces the listener as "grpc" and sets the health check of that name.
func (s *Server) Serve(ctx context.Context) error {
	done := s.env.InFlight.Add("gRPC calls under way")
	defer done()
	ended := make(chan error, 1)
	go func() { ended <- s.grpc.Serve(s.listener) }()
	s.env.Listeners.Announce("grpc", s.listener.Addr())
	s.env.Health.Set("grpc", nil)
	select {
	case err := <-ended:
		err = fmt.Errorf("serve gRPC: %w", err)
		s.env.Health.Set("grpc", err)
		return err
	case <-ctx.Done():
	}
	finishing, cancel := s.env.Finishing(ctx)
	defer cancel()
	return s.drain(finishing)
}

func (s *Server) drain(finishing context.Context) error {
	s.stopped.Do(func() { close(s.stopping) })
	graceful := make(chan struct{})
	go func() { s.grpc.GracefulStop(); close(graceful) }()
	grace := time.NewTimer(streamGrace)
	defer grace.Stop()
	for {
		select {
		case <-graceful:
			return nil
		case <-grace.C:
			close(s.cut)
		case <-finishing.Done():
			// Cuts the connections; handlers that do not look at their context go on.
			s.grpc.Stop()
			return errors.New("calls were under way at the end of shutdown_timeout")
		}
	}
}

// Close closes the listener where Serve was not called; after Serve it does nothing.
func (s *Server) Close() error {
	s.authorizer.Close()
	s.grpc.Stop()
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the gRPC listener: %w", err)
	}
	return nil
}
