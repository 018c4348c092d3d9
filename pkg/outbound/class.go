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

// Class says why there was no response. It is a closed set: a label of metrics and a field of the attempt's record.
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
	// ClassProtocol: the response is not HTTP, or its headers are too large.
	ClassProtocol Class = "protocol"
	// ClassCancelled: this process stopped waiting because it drains. It shows nothing about the receiver.
	ClassCancelled Class = "cancelled"
	// ClassLocal: something of this machine was missing: a file descriptor, memory, a port, a name server. Nothing was
	// sent, and it shows nothing about the receiver.
	ClassLocal Class = "local"
	// ClassRequest: the request cannot be sent: a header with a line break, a URL without a host.
	ClassRequest Class = "request"
)

// Classes are all classes but ClassNone, for registering metrics.
var Classes = []Class{
	ClassRefusedAddress, ClassDNS, ClassConnect, ClassTLS, ClassTimeout, ClassReset, ClassProtocol, ClassCancelled, ClassRequest, ClassLocal,
}

// classOf distinguishes errors by their types and by the progress of the request, never by their text. ctx is the
// caller's, without the request's own deadline.
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
	if isLocal(ctx, err) {
		return ClassLocal
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if c.names.isLocal(ctx, dns, w.began) {
			return ClassLocal
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
		// crypto/tls reports alerts this way: in TLS 1.3 the alert for a missing client certificate follows the handshake.
		return ClassTLS
	case w.gotConn.Load() == 0:
		// net/http checks a request before it dials.
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
