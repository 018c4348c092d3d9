package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
)

// forwarded marks a call that a peer sent on: it is answered where it arrives or not at all.
const forwarded = "tollgate-forwarded"

// isForwarded says that a peer sent the call on.
func isForwarded(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, forwarded)) > 0
}

// Replicas are the other replicas, by the addresses they advertise in their watermarks.
type Replicas struct {
	options []grpc.DialOption

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

// NewReplicas are called with these options.
func NewReplicas(options ...grpc.DialOption) *Replicas {
	return &Replicas{options: options, conns: map[string]*grpc.ClientConn{}}
}

// Close ends the connections.
func (p *Replicas) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
}

// conn keeps one connection for each address ever met; one that is idle costs nothing on the wire.
func (p *Replicas) conn(address string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.conns[address]; ok {
		return c, nil
	}
	c, err := rpc.Dial(address, "", p.options...)
	if err != nil {
		return nil, fmt.Errorf("reach the owner of the partition: %w", err)
	}
	p.conns[address] = c
	return c, nil
}

// outgoing is the context of a call that is sent on, under the key of whoever called here.
func outgoing(ctx context.Context) context.Context {
	pairs := []string{forwarded, "1"}
	for _, key := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		pairs = append(pairs, "authorization", key)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// ask sends a call on. sent is false where it surely never left here: then nothing came of it.
func (p *Replicas) ask(ctx context.Context, address, method string, req, res proto.Message) (sent bool, err error) {
	conn, err := p.conn(address)
	if err != nil {
		return false, err
	}
	var reached peer.Peer // filled in once the call stands on a connection
	err = conn.Invoke(outgoing(ctx), method, req, res, grpc.Peer(&reached))
	return err == nil || reached.Addr != nil, err
}

// relay sends a call on that is answered by a stream, and passes on what comes, until it ends.
func relay[Res any, P message[Res]](out grpc.ServerStreamingServer[Res], p *Replicas, address, method string, req proto.Message, stopping <-chan struct{}) error {
	conn, err := p.conn(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(outgoing(out.Context()))
	defer cancel(nil)
	go func() {
		select {
		case <-stopping:
			cancel(rpc.ErrStopping())
		case <-ctx.Done():
		}
	}()
	in, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := errors.Join(in.SendMsg(req), in.CloseSend()); err != nil && !errors.Is(err, io.EOF) { // the end tells why
		return fault.FromGRPC(err)
	}
	for {
		res := P(new(Res))
		switch err := in.RecvMsg(res); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errors.Join(context.Cause(ctx), err)
		}
		if err := out.Send((*Res)(res)); err != nil {
			return err
		}
	}
}

// message is a pointer to a generated message.
type message[M any] interface {
	*M
	proto.Message
}
