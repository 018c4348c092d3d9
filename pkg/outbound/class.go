package outbound

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Class is why there was no response. It is a closed set: a label of metrics and a field of the attempt's record.
type Class string

const (
	// ClassNone: there was a response.
	ClassNone Class = ""
	// ClassRefusedAddress: the policy does not allow the address, the port or the scheme. Nothing was sent.
	ClassRefusedAddress Class = "refused_address"
	// ClassDNS: the name has no address, or its name servers do not answer.
	ClassDNS Class = "dns"
	// ClassConnect: no connection was made: refused, unreachable.
	ClassConnect Class = "connect"
	// ClassTLS: the handshake failed: a certificate that is not trusted, no common version, no TLS at all. A TLS 1.3
	// server that misses the client's certificate reports it after the handshake; where it closes too soon, that is
	// ClassReset.
	ClassTLS Class = "tls"
	// ClassTimeout: the deadline passed, in any phase; Phases show where the time went.
	ClassTimeout Class = "timeout"
	// ClassReset: the connection broke before or within the response.
	ClassReset Class = "reset"
	// ClassProtocol: the response is not HTTP, its status is none of HTTP, or its headers are too large.
	ClassProtocol Class = "protocol"
	// ClassCancelled: this process stopped waiting because it drains. It shows nothing about the receiver.
	ClassCancelled Class = "cancelled"
	// ClassLocal: something of this installation was missing: a file descriptor, memory, a port, a name server, the
	// outbound proxy. Nothing was sent, and it shows nothing about the receiver.
	ClassLocal Class = "local"
	// ClassAuth: there was no access token to send with the request, so nothing was sent. It counts for the receiver, whose
	// configuration names the token's server.
	ClassAuth Class = "auth"
	// ClassRequest: the request cannot be sent: a header with a line break, a URL without a host.
	ClassRequest Class = "request"
)

// Classes are all classes but ClassNone, for registering metrics.
var Classes = []Class{
	ClassRefusedAddress, ClassDNS, ClassConnect, ClassTLS, ClassTimeout, ClassReset, ClassProtocol, ClassCancelled, ClassRequest, ClassLocal,
	ClassAuth,
}

// classOf distinguishes errors by their types, by the progress of the request and by what its connection saw, never by
// their text. ctx is the caller's, without the request's own deadline.
func (c *Client) classOf(ctx context.Context, err error, w *stopwatch) Class {
	if w.gotConn.Load() == 0 {
		return c.dialer.Class(ctx, err, w.began)
	}
	switch fault.KindOf(err) {
	case fault.Denied:
		return ClassRefusedAddress
	case fault.Invalid:
		return ClassRequest
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ClassCancelled
	}
	switch {
	case isLocal(ctx, err):
		return ClassLocal
	case timedOut(err):
		return ClassTimeout
	}
	if _, ok := errors.AsType[errStatus](err); ok {
		return ClassProtocol
	}
	reset, isReset := errors.AsType[streamError](err)
	switch {
	case w.tlsFailed:
		return ClassTLS
	case w.wrote.Load() == 0 && w.firstByte.Load() == 0 && !w.lost && !isReset && !broken(err):
		// net/http checks a request before it writes it.
		return ClassRequest
	case w.lost, broken(err), isReset && reset.Code != protocolError, notProcessed(err):
		return ClassReset
	}
	return ClassProtocol
}

func broken(err error) bool {
	for _, target := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// ConnClass is why a connection that was made failed, for protocols that are spoken on it directly. ctx is the caller's.
func ConnClass(ctx context.Context, err error) Class {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ClassCancelled
	case isLocal(ctx, err):
		return ClassLocal
	case timedOut(err):
		return ClassTimeout
	case broken(err):
		return ClassReset
	}
	return ClassProtocol
}
