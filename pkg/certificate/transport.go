package certificate

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
)

// Transport is for a client of gRPC whose server has a certificate: trusted are the system's authorities, or only those of
// files.CA. Its own certificate is for servers that demand one. The files are read again when they change.
func Transport(files Files) (credentials.TransportCredentials, error) {
	now, err := Client(files)
	if err != nil {
		return nil, err
	}
	return &fresh{TransportCredentials: credentials.NewTLS(now()), now: now}, nil
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
