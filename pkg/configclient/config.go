package configclient

import (
	"net"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
)

// Config locates the configuration service: the block `config:` of a service's file.
type Config struct {
	// Address is host:port of its gRPC listener.
	Address string `yaml:"address" env:"TOLLGATE_CONFIG_ADDR"`
	// APIKeyFile holds the API key that is sent.
	APIKeyFile string `yaml:"api_key_file" env:"TOLLGATE_CONFIG_API_KEY_FILE"`
	// TLS is true where the listener has a certificate.
	TLS bool `yaml:"tls" env:"TOLLGATE_CONFIG_TLS"`
	// CAFile is PEM: the only trusted roots; empty for those of the system.
	CAFile string `yaml:"ca_file" env:"TOLLGATE_CONFIG_CA_FILE"`
	// CertificateFile and CertificateKeyFile are PEM, for a listener that demands a certificate.
	CertificateFile    string `yaml:"certificate_file" env:"TOLLGATE_CONFIG_CERTIFICATE_FILE"`
	CertificateKeyFile string `yaml:"certificate_key_file" env:"TOLLGATE_CONFIG_CERTIFICATE_KEY_FILE"`
}

// DefaultConfig is a service on loopback, in plain text, without a key.
func DefaultConfig() Config { return Config{Address: "127.0.0.1:7010"} }

// Validate reports every violation at once; Open reads the files.
func (c Config) Validate() error {
	var f fault.Violations
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		f.Add("address", "must be host:port, not %q", c.Address)
	}
	if c.CAFile != "" && !c.TLS {
		f.Add("ca_file", "means nothing without tls")
	}
	if c.CertificateFile != "" && !c.TLS {
		f.Add("certificate_file", "means nothing without tls")
	}
	c.files().Validate(&f, "")
	return f.Err(reason.ConfigInvalid)
}

func (c Config) files() certificate.Files {
	return certificate.Files{Certificate: c.CertificateFile, Key: c.CertificateKeyFile, CA: c.CAFile}
}

// Dial is a connection to the service made by rpc.Dial with the key and the roots of the files.
func (c Config) Dial() (*grpc.ClientConn, error) {
	key, err := rpc.ReadKey(c.APIKeyFile)
	if err != nil {
		return nil, err
	}
	var options []grpc.DialOption
	if c.TLS {
		option, err := rpc.TLS(c.files())
		if err != nil {
			return nil, err
		}
		options = append(options, option)
	}
	return rpc.Dial(c.Address, key, options...)
}
