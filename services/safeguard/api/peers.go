package api

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/rpc"
)

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

// outgoing is the context of a request that is sent on, under the key of its caller.
func outgoing(ctx context.Context) context.Context {
	pairs := []string{sentOn, "1"}
	for _, key := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		pairs = append(pairs, "authorization", key)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// ask sends a request on. sent is false where it surely never left here: then it was not applied.
func (p *Replicas) ask(ctx context.Context, address, method string, req any, res proto.Message) (sent bool, err error) {
	conn, err := p.conn(address)
	if err != nil {
		return false, err
	}
	var reached peer.Peer // filled in once the request is on a connection
	err = conn.Invoke(outgoing(ctx), method, req, res, grpc.Peer(&reached))
	return err == nil || reached.Addr != nil, err
}
