package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/tollgate/tollgate/pkg/fault"
)

// maxAnswer bounds one received message, in bytes; the largest is the whole configuration.
const maxAnswer = 128 << 20

// Dial makes a connection that sends key (none where it is empty) with each call, over plain text unless options change
// that (see TLS). It connects at the first use and reconnects by itself; a call without a connection fails at once as
// fault.Unavailable. Errors of calls are faults.
func Dial(address, key string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	all := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithChainUnaryInterceptor(faultsUnary),
		grpc.WithChainStreamInterceptor(faultsStream),
	}
	if key != "" {
		all = append(all, grpc.WithPerRPCCredentials(bearer(key)))
	}
	conn, err := grpc.NewClient(address, append(all, options...)...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return conn, nil
}

// bearer sends the key with each call, also over plain text, for a listener on loopback.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

func faultsUnary(ctx context.Context, method string, req, res any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return fault.FromGRPC(call(ctx, method, req, res, conn, opts...))
}

func faultsStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, fault.FromGRPC(err)
	}
	return faultStream{stream}, nil
}

type faultStream struct{ grpc.ClientStream }

// RecvMsg leaves io.EOF as it is: it is the regular end of a stream.
func (s faultStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if errors.Is(err, io.EOF) {
		return err
	}
	return fault.FromGRPC(err)
}
