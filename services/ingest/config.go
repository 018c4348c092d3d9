package ingest

import (
	"time"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/ingest/queue"
)

// Config is the file ingest.yaml.
type Config struct {
	daemon.Config `yaml:",inline"`
	Kafka         stream.Config `yaml:"kafka"`
	GRPC          rpc.Config    `yaml:"grpc"`
	HTTP          HTTP          `yaml:"http"`
	// Configuration is where the configuration service is, which knows the tenants. While it does not answer, events of
	// any tenant are accepted.
	Configuration configclient.Config `yaml:"config"`
	// Redis keeps the tenants' API keys, encrypted, for a start while the configuration service is away. Ingest works without
	// it; those keys are then refused until the configuration service answers.
	Redis redisstate.Config `yaml:"redis"`
	// Limits of each API key.
	Limits Limits `yaml:"limits"`
	// Queue hands events out to consumers without Kafka.
	Queue queue.Config `yaml:"queue"`
}

// HTTP is the API for CloudEvents, POST /v1/events. It accepts the API keys of the gRPC listener.
type HTTP struct {
	// Listen is host:port; port 0 takes a free one and logs it.
	Listen string `yaml:"listen" env:"TOLLGATE_HTTP_LISTEN"`
	// CertificateFile and CertificateKeyFile are PEM; both or neither. Without them the listener is plain text.
	CertificateFile    string `yaml:"certificate_file" env:"TOLLGATE_HTTP_CERTIFICATE_FILE"`
	CertificateKeyFile string `yaml:"certificate_key_file" env:"TOLLGATE_HTTP_CERTIFICATE_KEY_FILE"`
	// ClientCAFile is PEM: clients must have a certificate of these authorities, beside their API key.
	ClientCAFile string `yaml:"client_ca_file" env:"TOLLGATE_HTTP_CLIENT_CA_FILE"`
	// MaxBodyBytes bounds a batch; one event has at most 1 MiB by any transport. Larger bodies are answered 413.
	MaxBodyBytes int64 `yaml:"max_body_bytes" env:"TOLLGATE_HTTP_MAX_BODY_BYTES"`
	// RequestTimeout bounds reading a request, and then publishing it; what was not acknowledged by then is answered
	// 503.
	RequestTimeout time.Duration `yaml:"request_timeout" env:"TOLLGATE_HTTP_REQUEST_TIMEOUT"`
}

func (h HTTP) files() certificate.Files {
	return certificate.Files{Certificate: h.CertificateFile, Key: h.CertificateKeyFile, CA: h.ClientCAFile}
}

// DefaultConfig listens on loopback, with Kafka beside it.
func DefaultConfig() Config {
	return Config{
		Config: daemon.DefaultConfig("127.0.0.1:7920"),
		Kafka:  stream.DefaultConfig(),
		GRPC:   rpc.DefaultConfig("127.0.0.1:7020"),
		HTTP:   HTTP{Listen: "127.0.0.1:7021", MaxBodyBytes: 8 << 20, RequestTimeout: 30 * time.Second},

		Configuration: configclient.DefaultConfig(),
		Redis:         redisstate.DefaultConfig(),
		Queue:         queue.DefaultConfig(),
	}
}

// Validate reports every violation at once.
func (c Config) Validate() error {
	var f fault.Violations
	f.AddErr("kafka", c.Kafka.Validate())
	f.AddErr("grpc", c.GRPC.Validate())
	f.AddErr("config", c.Configuration.Validate())
	f.AddErr("", c.Redis.Validate())
	daemon.CheckListen(&f, "http.listen", c.HTTP.Listen)
	var files fault.Violations
	c.HTTP.files().Validate(&files, "client_")
	f.AddErr("http", files.Err(reason.ConfigInvalid))
	if c.HTTP.MaxBodyBytes < 1<<20 {
		f.Add("http.max_body_bytes", "must be at least 1048576, what one event may have, not %d", c.HTTP.MaxBodyBytes)
	}
	if c.HTTP.RequestTimeout <= 0 {
		f.Add("http.request_timeout", "must be above 0, not %s", c.HTTP.RequestTimeout)
	}
	c.Limits.validate(&f)
	c.Queue.Validate(&f)
	return f.Err(reason.ConfigInvalid)
}
