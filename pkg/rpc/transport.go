package rpc

import (
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/certificate"
)

// TLS is the option of Dial for a server with a certificate, as certificate.Transport has it.
func TLS(files certificate.Files) (grpc.DialOption, error) {
	transport, err := certificate.Transport(files)
	if err != nil {
		return nil, err
	}
	return grpc.WithTransportCredentials(transport), nil
}
