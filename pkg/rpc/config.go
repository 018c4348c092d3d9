package rpc

import (
	"net"
	"net/netip"
	"time"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Config is a service's gRPC listener.
type Config struct {
	// Listen is host:port; port 0 takes a free one and logs it.
	Listen string `yaml:"listen" env:"TOLLGATE_GRPC_LISTEN"`
	// Advertise is the host:port published to other replicas; empty: the bound address. Required where Listen binds to
	// all addresses.
	Advertise string `yaml:"advertise" env:"TOLLGATE_GRPC_ADVERTISE"`
	// KeyHashesFile holds the hex SHA-256 hashes of the API keys that are accepted, one a line, # for comments.
	KeyHashesFile string `yaml:"api_key_hashes_file" env:"TOLLGATE_API_KEY_HASHES_FILE"`
	// KeyHashes are further hashes. Their callers are operators: they may do everything.
	KeyHashes []string `yaml:"api_key_hashes" env:"TOLLGATE_API_KEY_HASHES"`
	// ServiceKeyHashesFile holds, in the same form, the hashes of keys of services of this installation. They are
	// accepted too, and only they see secrets.
	ServiceKeyHashesFile string `yaml:"service_key_hashes_file" env:"TOLLGATE_SERVICE_KEY_HASHES_FILE"`
	// ServiceKeyHashes are further ones.
	ServiceKeyHashes []string `yaml:"service_key_hashes" env:"TOLLGATE_SERVICE_KEY_HASHES"`
	// CertificateFile and CertificateKeyFile are PEM; both or neither. Without them the listener is plain text. They are
	// read again when they change.
	CertificateFile    string `yaml:"certificate_file" env:"TOLLGATE_GRPC_CERTIFICATE_FILE"`
	CertificateKeyFile string `yaml:"certificate_key_file" env:"TOLLGATE_GRPC_CERTIFICATE_KEY_FILE"`
	// ClientCAFile is PEM: clients must have a certificate of these authorities, beside their API key. Without it none is
	// asked for.
	ClientCAFile string `yaml:"client_ca_file" env:"TOLLGATE_GRPC_CLIENT_CA_FILE"`
	// MaxMessageBytes bounds one received message; larger ones fail with RESOURCE_EXHAUSTED.
	MaxMessageBytes int `yaml:"max_message_bytes" env:"TOLLGATE_GRPC_MAX_MESSAGE_BYTES"`
	// MaxHeldBytes bounds the memory held for all unanswered calls together: messages, what they are decoded into and
	// what is made of them. Beyond it calls fail with RESOURCE_EXHAUSTED and a RetryInfo.
	MaxHeldBytes int64 `yaml:"max_held_bytes" env:"TOLLGATE_GRPC_MAX_HELD_BYTES"`
	// CallTimeout bounds the arrival of a message, and ends a unary call whose caller set no deadline.
	CallTimeout time.Duration `yaml:"call_timeout" env:"TOLLGATE_GRPC_CALL_TIMEOUT"`
}

// DefaultConfig listens at listen in plain text, accepts messages of up to 8 MiB and gives a call 30 s.
func DefaultConfig(listen string) Config {
	return Config{Listen: listen, MaxMessageBytes: 8 << 20, MaxHeldBytes: 128 << 20, CallTimeout: 30 * time.Second}
}

// Validate reports every violation at once; NewServer reads the files.
func (c Config) Validate() error {
	var f fault.Violations
	daemon.CheckListen(&f, "listen", c.Listen)
	if c.Advertise != "" {
		daemon.CheckListen(&f, "advertise", c.Advertise)
	} else if bindsAll(c.Listen) {
		f.Add("advertise", "is required where listen binds to all addresses")
	}
	for _, h := range c.KeyHashes {
		if _, err := parseHash(h); err != nil {
			f.AddErr("api_key_hashes", err)
		}
	}
	for _, h := range c.ServiceKeyHashes {
		if _, err := parseHash(h); err != nil {
			f.AddErr("service_key_hashes", err)
		}
	}
	c.files().Validate(&f, "client_")
	if c.MaxMessageBytes < 1<<10 {
		f.Add("max_message_bytes", "must be at least 1024, not %d", c.MaxMessageBytes)
	}
	if least := 4 * int64(c.MaxMessageBytes); c.MaxHeldBytes < least {
		f.Add("max_held_bytes", "must be at least %d, four times max_message_bytes, not %d", least, c.MaxHeldBytes)
	}
	if c.CallTimeout <= 0 {
		f.Add("call_timeout", "must be above 0, not %s", c.CallTimeout)
	}
	return f.Err(reason.ConfigInvalid)
}

func (c Config) files() certificate.Files {
	return certificate.Files{Certificate: c.CertificateFile, Key: c.CertificateKeyFile, CA: c.ClientCAFile}
}

func bindsAll(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
