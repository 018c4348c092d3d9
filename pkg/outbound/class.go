package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Class says why there was no answer. It is a closed set: a label of metrics and a field of the attempt's record.
type Class string

const (
	// ClassNone is that there was an answer.
	ClassNone Class = ""
	// ClassRefusedAddress is the policy: the address, the port or the scheme may not be used. Nothing was sent.
	ClassRefusedAddress Class = "refused_address"
	// ClassDNS is a name without an address, or one whose servers do not answer ours.
	ClassDNS Class = "dns"
	// ClassConnect is that no connection came about: refused, unreachable.
	ClassConnect Class = "connect"
	// ClassTLS is a handshake that failed: a certificate that is not trusted, no version in common, no TLS at all. A server
	// of TLS 1.3 that misses our certificate says so after the handshake; where it closes too soon, that is a ClassReset.
	ClassTLS Class = "tls"
	// ClassTimeout is the deadline, in whatever phase; Phases tell where the time went.
	ClassTimeout Class = "timeout"
	// ClassReset is a connection that broke before or within the answer.
	ClassReset Class = "reset"
	// ClassProtocol is an answer that is no HTTP, or whose headers are too large.
	ClassProtocol Class = "protocol"
	// ClassCancelled is that we stopped waiting: the process drains. It says nothing about the receiver.
	ClassCancelled Class = "cancelled"
	// ClassOurs is that something of this machine's was missing: a file descriptor, memory, a port, a name server. Nothing
	// was sent, and it says nothing about the receiver.
	ClassOurs Class = "ours"
	// ClassRequest is a request that cannot be sent as it is: a header with a line break, a URL without a host.
	ClassRequest Class = "request"
)

// Classes are all of them but ClassNone, to register metrics with.
var Classes = []Class{
	ClassRefusedAddress, ClassDNS, ClassConnect, ClassTLS, ClassTimeout, ClassReset, ClassProtocol, ClassCancelled, ClassRequest, ClassOurs,
}

// classOf tells errors apart by their types and by how far the request came, never by their text. ctx is the caller's,
// without the request's own deadline.
func (c *Client) classOf(err error, w *stopwatch, ctx context.Context) Class {
	switch fault.KindOf(err) {
	case fault.Denied:
		return ClassRefusedAddress
	case fault.Invalid:
		return ClassRequest
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ClassCancelled
	}
	if ours(ctx, err) {
		return ClassOurs
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if c.names.ours(ctx, dns, w.began) {
			return ClassOurs
		}
		return ClassDNS
	}
	if timeout, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout() {
		return ClassTimeout
	}
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case isOp && op.Op == "dial":
		return ClassConnect
	case w.tlsFailed.Load(), isTLS(err), isOp && (op.Op == "remote error" || op.Op == "local error"):
		// crypto/tls names alerts so: that of a missing client certificate comes after the handshake in TLS 1.3.
		return ClassTLS
	case w.gotConn.Load() == 0:
		// net/http looks at a request before it dials.
		return ClassRequest
	case w.firstByte.Load() == 0, broken(err):
		return ClassReset
	}
	return ClassProtocol
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}

func broken(err error) bool {
	for _, target := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
