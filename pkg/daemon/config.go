package daemon

import (
	"net"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/trace"
)

// Config is the part that every service's configuration begins with; it is embedded with `yaml:",inline"`.
type Config struct {
	Admin Admin `yaml:"admin"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `yaml:"log_level" env:"TOLLGATE_LOG_LEVEL"`
	// ShutdownTimeout is how long a stop may take after the signal; then the process names what is left and exits with
	// 1. Keep it below the grace period of the process's supervisor.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout" env:"TOLLGATE_SHUTDOWN_TIMEOUT"`
	// Tracing exports a span of each stop of an event; off by default. Spans that wait at a stop get two seconds more.
	Tracing trace.Config `yaml:"tracing"`
}

// Admin is the listener for operators: /livez, /readyz, /metrics and /debug/pprof. It asks for no key.
type Admin struct {
	// Listen is host:port; port 0 takes a free one and logs it.
	Listen string `yaml:"listen" env:"TOLLGATE_ADMIN_LISTEN"`
	// CertificateFile and CertificateKeyFile are PEM; both or neither. Without them the listener is plain text.
	CertificateFile    string `yaml:"certificate_file" env:"TOLLGATE_ADMIN_CERTIFICATE_FILE"`
	CertificateKeyFile string `yaml:"certificate_key_file" env:"TOLLGATE_ADMIN_CERTIFICATE_KEY_FILE"`
	// ClientCAFile is PEM: who calls must have a certificate of these authorities.
	ClientCAFile string `yaml:"client_ca_file" env:"TOLLGATE_ADMIN_CLIENT_CA_FILE"`
}

func (a Admin) files() certificate.Files {
	return certificate.Files{Certificate: a.CertificateFile, Key: a.CertificateKeyFile, CA: a.ClientCAFile}
}

// DefaultConfig listens at adminListen, logs from info on, and drains within 20 s.
func DefaultConfig(adminListen string) Config {
	return Config{Admin: Admin{Listen: adminListen}, LogLevel: "info", ShutdownTimeout: 20 * time.Second, Tracing: trace.DefaultConfig()}
}

// Frame gives Main the common part of a service's configuration; embedding promotes it.
func (c Config) Frame() Config { return c }

// Configuration is a service's configuration: a struct that embeds Config and validates its other fields.
type Configuration interface {
	Frame() Config
	// Validate reports every violation at once, as a fault.Error whose fields are paths of the YAML. Main checks the
	// fields of Config.
	Validate() error
}

func (c Config) check() error {
	var f fault.Violations
	CheckListen(&f, "admin.listen", c.Admin.Listen)
	var files fault.Violations
	c.Admin.files().Validate(&files, "client_")
	f.AddErr("admin", files.Err(reason.ConfigInvalid))
	if _, err := zapcore.ParseLevel(c.LogLevel); err != nil {
		f.Add("log_level", "must be debug, info, warn or error, not %q", c.LogLevel)
	}
	if c.ShutdownTimeout <= 0 {
		f.Add("shutdown_timeout", "must be above 0, not %s", c.ShutdownTimeout)
	}
	f.AddErr("tracing", c.Tracing.Validate())
	return f.Err(reason.ConfigInvalid)
}

// CheckListen adds a violation for a listen address that is not host:port.
func CheckListen(f *fault.Violations, field, address string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		f.Add(field, "must be host:port, not %q", address)
		return
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		f.Add(field, "port %q is not a port", port)
	}
}
