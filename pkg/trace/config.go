package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Config is the block `tracing:` of every service's file. Give all services the same: a service without it leaves its
// stop out of each trace.
type Config struct {
	// Endpoint is host:port of a collector's OTLP listener for gRPC; empty for no tracing.
	Endpoint string `yaml:"endpoint" env:"TOLLGATE_TRACING_ENDPOINT"`
	// Ratio is the share, from 0 to 1, of events without a traceparent for which ingest begins a trace; likewise of calls
	// of provision.
	Ratio float64 `yaml:"ratio" env:"TOLLGATE_TRACING_RATIO"`
	// ParentRatio is the share, from 0 to 1, of traces with the sampled flag that are recorded, by their trace id.
	// Traces without the flag are never recorded.
	ParentRatio float64 `yaml:"parent_ratio" env:"TOLLGATE_TRACING_PARENT_RATIO"`
	// TLS is true where the listener has a certificate.
	TLS bool `yaml:"tls" env:"TOLLGATE_TRACING_TLS"`
	// CAFile is PEM: the only trusted roots; empty for those of the system.
	CAFile string `yaml:"ca_file" env:"TOLLGATE_TRACING_CA_FILE"`
	// CertificateFile and CertificateKeyFile are PEM, for a listener that demands a certificate.
	CertificateFile    string `yaml:"certificate_file" env:"TOLLGATE_TRACING_CERTIFICATE_FILE"`
	CertificateKeyFile string `yaml:"certificate_key_file" env:"TOLLGATE_TRACING_CERTIFICATE_KEY_FILE"`
	// HeadersFile has a line `name: value` for each header that is sent with the spans, such as a key of the collector.
	HeadersFile string `yaml:"headers_file" env:"TOLLGATE_TRACING_HEADERS_FILE"`
}

// DefaultConfig is off. Once there is an endpoint, it records what its producer samples, and 1 % of the rest.
func DefaultConfig() Config { return Config{Ratio: 0.01, ParentRatio: 1} }

// Validate reports every violation at once; Open reads the files.
func (c Config) Validate() error {
	var f fault.Violations
	if c.Endpoint != "" {
		_, port, err := net.SplitHostPort(c.Endpoint)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			f.Add("endpoint", "must be host:port, not %q", c.Endpoint)
		}
	}
	share(&f, "ratio", c.Ratio)
	share(&f, "parent_ratio", c.ParentRatio)
	if c.CAFile != "" && !c.TLS {
		f.Add("ca_file", "means nothing without tls")
	}
	if c.CertificateFile != "" && !c.TLS {
		f.Add("certificate_file", "means nothing without tls")
	}
	c.files().Validate(&f, "")
	return f.Err(reason.ConfigInvalid)
}

func share(f *fault.Violations, field string, value float64) {
	if !(value >= 0 && value <= 1) { // NaN too
		f.Add(field, "must be between 0 and 1, not %v", value)
	}
}

func (c Config) files() certificate.Files {
	return certificate.Files{Certificate: c.CertificateFile, Key: c.CertificateKeyFile, CA: c.CAFile}
}

// maxHeaders is how large the file of headers may be.
const maxHeaders = 16 << 10

var errHeaders = errors.New("each line must be `name: value`")

// readHeaders never shows a value: it is a secret more often than not.
func readHeaders(path string) (map[string]string, error) {
	headers := map[string]string{}
	if path == "" {
		return headers, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read headers: %w", err)
	}
	defer file.Close() //nolint:errcheck // it is only read
	content, err := io.ReadAll(io.LimitReader(file, maxHeaders+1))
	if err != nil {
		return nil, fmt.Errorf("read headers: %w", err)
	}
	if len(content) > maxHeaders {
		return nil, fmt.Errorf("read headers: %s has more than %d bytes", path, maxHeaders)
	}
	for line := range bytes.Lines(content) {
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, value, found := strings.Cut(text, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if !found || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || strings.HasPrefix(name, "grpc-") {
			return nil, fmt.Errorf("read headers: %s: %w", path, errHeaders)
		}
		headers[name] = strings.TrimSpace(value)
	}
	return headers, nil
}
