package safeguard

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// forwarded marks a call that a peer sent on: it is answered where it arrives or not at all.
const forwarded = "tollgate-forwarded"

// peers are the other replicas, by the addresses they advertise in their watermarks.
type peers struct {
	options []grpc.DialOption

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func newPeers(cfg Config) (*peers, error) {
	p := &peers{conns: map[string]*grpc.ClientConn{}}
	if cfg.GRPC.CertificateFile != "" {
		option, err := rpc.TLS(cfg.Peers.CAFile)
		if err != nil {
			return nil, fmt.Errorf("prepare calls to peers: %w", err)
		}
		p.options = append(p.options, option)
	}
	return p, nil
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
}

// getDataSafeguard asks the owner, under the key of whoever asked here.
func (p *peers) getDataSafeguard(ctx context.Context, address string, req *optionsv1.GetDataSafeguardRequest) (*optionsv1.DataSafeguard, error) {
	if len(metadata.ValueFromIncomingContext(ctx, forwarded)) > 0 {
		return nil, rebuilding("the subscriber's partition is moving between replicas")
	}
	conn, err := p.conn(address)
	if err != nil {
		return nil, err
	}
	pairs := []string{forwarded, "1"}
	for _, key := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		pairs = append(pairs, "authorization", key)
	}
	m, err := optionsv1.NewOptionInventoryServiceClient(conn).GetDataSafeguard(metadata.AppendToOutgoingContext(ctx, pairs...), req)
	switch {
	case err == nil:
		return m, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case fault.KindOf(err) == fault.NotFound || fault.KindOf(err) == fault.Unavailable && fault.ReasonOf(err) == "REBUILDING":
		return nil, err
	}
	// It does not answer, or does not know our caller: nobody here can tell.
	return nil, rebuilding("the replica that has the subscriber's partition does not answer", fmt.Errorf("ask %s: %w", address, err))
}

// conn keeps one connection for each address ever met; one that is idle costs nothing on the wire.
func (p *peers) conn(address string) (*grpc.ClientConn, error) {
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
