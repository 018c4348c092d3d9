package rpc

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/tollgate/tollgate/pkg/certificate"
)

// TLS is the option of Dial for a server with a certificate: trusted are the system's authorities, or only those of
// files.CA. Its own certificate is for servers that demand one. The files are read again when they change.
func TLS(files certificate.Files) (grpc.DialOption, error) {
	now, err := certificate.Client(files)
	if err != nil {
		return nil, err
	}
	return grpc.WithTransportCredentials(&fresh{TransportCredentials: credentials.NewTLS(now()), now: now}), nil
}

// fresh makes each handshake with what the files hold then.
type fresh struct {
	credentials.TransportCredentials
	now func() *tls.Config
}

// ClientHandshake implements credentials.TransportCredentials.
func (f *fresh) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(f.now()).ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (f *fresh) Clone() credentials.TransportCredentials {
	return &fresh{TransportCredentials: f.TransportCredentials.Clone(), now: f.now}
}
