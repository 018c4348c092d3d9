package rpc

import (
	"context"
	"errors"
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// open are the services that answer without a key: they tell what the proto files tell anybody, and whether the
// process is well.
var open = map[string]bool{
	"grpc.health.v1.Health":                    true,
	"grpc.reflection.v1.ServerReflection":      true,
	"grpc.reflection.v1alpha.ServerReflection": true,
}

type callKey struct{}

// call is what the inner interceptors tell the outermost one.
type call struct{ caller string }

func callOf(ctx context.Context) *call {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return &call{}
	}
	return c
}

// Caller names who calls: the beginning of the key's hash, empty on an open method.
func Caller(ctx context.Context) string { return callOf(ctx).caller }

// admit refuses who has no key; a method is open only by being in the table.
func (s *Server) admit(ctx context.Context, method string) error {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if open[service] {
		return nil
	}
	authorization := ""
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) == 1 {
		authorization = values[0]
	}
	caller, err := s.keys.Authenticate(authorization)
	if err != nil {
		return err
	}
	callOf(ctx).caller = caller
	return nil
}

func (s *Server) admitUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := s.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.CallTimeout)
		defer cancel()
	}
	return next(ctx, req)
}

func (s *Server) admitStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := s.admit(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	go func() {
		select {
		case <-s.cut:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	err := next(srv, &bounded{ServerStream: stream, ctx: ctx})
	if err != nil && errors.Is(context.Cause(ctx), errStopping) {
		return errStopping
	}
	return err
}

var errStopping = fault.New(fault.Unavailable, "STOPPING", "this replica is stopping, call again")

// ErrStopping is what a stream answers that ends because of Stopping.
func ErrStopping() error { return errStopping }

// bounded is a stream with a context of our own.
type bounded struct {
	grpc.ServerStream
	ctx context.Context
}

func (b *bounded) Context() context.Context { return b.ctx }
