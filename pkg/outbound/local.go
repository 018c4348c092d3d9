package outbound

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// localErrors are errors of a system that ran out of something: file descriptors, memory, ports, or its network card.
// The receiver has no influence on them.
var localErrors = []error{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRINUSE, syscall.ENETDOWN,
}

// isLocal reports that a request failed because something of this machine was missing. No route (ENETUNREACH,
// EHOSTUNREACH) and a firewall (EACCES, EPERM) do not count, since a tenant causes both by its choice of address.
func isLocal(ctx context.Context, err error) bool {
	for _, e := range localErrors {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.Is(err, syscall.EADDRNOTAVAIL) && portsExhausted(ctx, err)
}

// portsExhausted distinguishes the two meanings of EADDRNOTAVAIL: every port to that address is in use, which is a
// local failure, or this machine has no address of that family, which is caused by the configured address. Connecting a
// datagram socket sends nothing and needs the same source address.
func portsExhausted(ctx context.Context, err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Addr == nil {
		return false
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", op.Addr.String())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
