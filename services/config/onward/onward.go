// Package onward passes calls on to the service that asks hooks.
package onward

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// Config locates the service that asks hooks: test runs are passed on to it.
type Config struct {
	// Address is host:port of its gRPC listener.
	Address string `yaml:"address" env:"TOLLGATE_PROVISION_ADDR"`
	// TLS is true where the listener has a certificate. One that demands a certificate is shown that of grpc.
	TLS bool `yaml:"tls" env:"TOLLGATE_PROVISION_TLS"`
	// CAFile is PEM: the only trusted roots; empty for those of the system.
	CAFile string `yaml:"ca_file" env:"TOLLGATE_PROVISION_CA_FILE"`
}

// Validate reports every violation at once.
func (c Config) Validate() error {
	var f fault.Violations
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		f.Add("address", "must be host:port, not %q", c.Address)
	}
	if c.CAFile != "" && !c.TLS {
		f.Add("ca_file", "means nothing without tls")
	}
	return f.Err(reason.ConfigInvalid)
}

// DefaultConfig is a service on loopback, in plain text.
func DefaultConfig() Config { return Config{Address: "127.0.0.1:7070"} }

// Service is where calls are passed on to.
type Service struct{ conn *grpc.ClientConn }

// Files are those of its connections; own is the certificate for a listener that demands one.
func (c Config) Files(own rpc.Config) certificate.Files {
	if !c.TLS {
		return certificate.Files{}
	}
	return certificate.Files{Certificate: own.CertificateFile, Key: own.CertificateKeyFile, CA: c.CAFile}
}

// Dial connects at the first call. own is the certificate for a listener that demands one. The connection has no key: each call
// has its caller's.
func Dial(cfg Config, own rpc.Config) (*Service, error) {
	var options []grpc.DialOption
	if cfg.TLS {
		option, err := rpc.TLS(cfg.Files(own))
		if err != nil {
			return nil, fmt.Errorf("prepare test runs: %w", err)
		}
		options = append(options, option)
	}
	conn, err := rpc.Dial(cfg.Address, "", options...)
	if err != nil {
		return nil, fmt.Errorf("prepare test runs: %w", err)
	}
	return &Service{conn}, nil
}

// Close closes the connection.
func (s *Service) Close() error { return s.conn.Close() }

// TestRun passes a call on, with its caller's key: the service authorizes it by itself.
func (s *Service) TestRun(ctx context.Context, req *provisionv1.TestRunRequest) (*provisionv1.TestRunResponse, error) {
	out := metadata.MD{}
	if in, ok := metadata.FromIncomingContext(ctx); ok {
		out.Append("authorization", in.Get("authorization")...)
	}
	answer, err := provisionv1.NewProvisioningServiceClient(s.conn).TestRun(metadata.NewOutgoingContext(ctx, out), req)
	if fault.KindOf(err) == fault.Unavailable && fault.ReasonOf(err) == "UNAVAILABLE" { // not by a service of ours
		err = fault.New(fault.Unavailable, "PROVISION_UNAVAILABLE", "the service provision does not answer at %s: %w", s.conn.Target(), err)
	}
	return answer, err
}
