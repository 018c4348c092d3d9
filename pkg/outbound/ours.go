package outbound

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// lacking are the errors of a system that has no more of something to give: file descriptors, memory, ports, or its
// network card. Who is at the other end has no part in them, and can't bring them about.
var lacking = []error{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRINUSE, syscall.ENETDOWN,
}

// ours tells that a request failed for want of something of this machine's. Not here: no route (ENETUNREACH,
// EHOSTUNREACH) and what a firewall refuses (EACCES, EPERM), since a tenant brings both about with an address of its choice.
func ours(ctx context.Context, err error) bool {
	for _, e := range lacking {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.Is(err, syscall.EADDRNOTAVAIL) && portsAreGone(ctx, err)
}

// portsAreGone tells the two meanings of EADDRNOTAVAIL apart: every port to that address is in use, which is ours, or
// this machine has no address of that family, which is the choice of whoever named one. To connect a datagram socket
// sends nothing and needs the same source address.
func portsAreGone(ctx context.Context, err error) bool {
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
