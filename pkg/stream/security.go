package stream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Security is how this process checks that a broker is genuine, and how it identifies itself. The zero value is plain
// text without a name: a broker on loopback or in a network of its own.
type Security struct {
	// TLS encrypts every connection; the broker's certificate must be good for the name it was dialled by.
	TLS bool `yaml:"tls" env:"TOLLGATE_KAFKA_TLS"`
	// CAFile is PEM: the only roots trusted; empty for the system's.
	CAFile string `yaml:"ca_file" env:"TOLLGATE_KAFKA_CA_FILE"`
	// CertificateFile and CertificateKeyFile are PEM, for brokers that ask for a client's certificate; both or neither.
	CertificateFile    string `yaml:"certificate_file" env:"TOLLGATE_KAFKA_CERTIFICATE_FILE"`
	CertificateKeyFile string `yaml:"certificate_key_file" env:"TOLLGATE_KAFKA_CERTIFICATE_KEY_FILE"`
	// Mechanism of SASL: plain (only over TLS), scram-sha-256 or scram-sha-512; empty for none.
	Mechanism string `yaml:"sasl_mechanism" env:"TOLLGATE_KAFKA_SASL_MECHANISM"`
	Username  string `yaml:"sasl_username" env:"TOLLGATE_KAFKA_SASL_USERNAME"`
	// PasswordFile holds the password and nothing else; a newline at its end is not part of it.
	PasswordFile string `yaml:"sasl_password_file" env:"TOLLGATE_KAFKA_SASL_PASSWORD_FILE"`
}

const (
	saslPlain    = "plain"
	saslSCRAM256 = "scram-sha-256"
	saslSCRAM512 = "scram-sha-512"
)

// validate lists every violation; files are read by open.
func (s Security) validate() []error {
	var violations []error
	fail := func(format string, args ...any) { violations = append(violations, fmt.Errorf(format, args...)) }
	if !s.TLS && s.CAFile+s.CertificateFile+s.CertificateKeyFile != "" {
		fail("tls: must be true where ca_file or certificate_file is given")
	}
	if (s.CertificateFile == "") != (s.CertificateKeyFile == "") {
		fail("certificate_file: and certificate_key_file are given both or not at all")
	}
	switch s.Mechanism {
	case "":
		if s.Username+s.PasswordFile != "" {
			fail("sasl_mechanism: is required where sasl_username or sasl_password_file is given: %s, %s or %s",
				saslPlain, saslSCRAM256, saslSCRAM512)
		}
		return violations
	case saslPlain:
		if !s.TLS {
			fail("sasl_mechanism: plain sends the password as it is: only with tls: true")
		}
	case saslSCRAM256, saslSCRAM512:
	default:
		fail("sasl_mechanism: %q is none of %s, %s, %s", s.Mechanism, saslPlain, saslSCRAM256, saslSCRAM512)
	}
	if s.Username == "" {
		fail("sasl_username: is required with sasl_mechanism")
	}
	if s.PasswordFile == "" {
		fail("sasl_password_file: is required with sasl_mechanism")
	}
	return violations
}

// open reads the files. What it gives is used by every connection: those of the pool and those of groups.
func (s Security) open() (*tls.Config, sasl.Mechanism, error) {
	var errs []error
	config, err := s.tls()
	errs = append(errs, err)
	mechanism, err := s.sasl()
	errs = append(errs, err)
	return config, mechanism, errors.Join(errs...)
}

func (s Security) tls() (*tls.Config, error) {
	if !s.TLS {
		return nil, nil //nolint:nilnil // plain text
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	var errs []error
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		config.RootCAs = x509.NewCertPool()
		if err != nil {
			errs = append(errs, fmt.Errorf("read ca_file: %w", err))
		} else if !config.RootCAs.AppendCertsFromPEM(pem) {
			errs = append(errs, fmt.Errorf("read ca_file: %s holds no PEM certificate", s.CAFile))
		}
	}
	if s.CertificateFile != "" {
		certificate, err := tls.LoadX509KeyPair(s.CertificateFile, s.CertificateKeyFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("read certificate_file: %w", err))
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, errors.Join(errs...)
}

func (s Security) sasl() (sasl.Mechanism, error) {
	if s.Mechanism == "" {
		return nil, nil //nolint:nilnil // a client without a name
	}
	content, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("read sasl_password_file: %w", err)
	}
	password := strings.TrimRight(string(content), "\r\n")
	if password == "" {
		return nil, fmt.Errorf("read sasl_password_file: %s is empty", s.PasswordFile)
	}
	switch s.Mechanism {
	case saslPlain:
		return plain.Mechanism{Username: s.Username, Password: password}, nil
	case saslSCRAM256:
		return mechanism(scram.SHA256, s.Username, password)
	default:
		return mechanism(scram.SHA512, s.Username, password)
	}
}

func mechanism(algorithm scram.Algorithm, username, password string) (sasl.Mechanism, error) {
	m, err := scram.Mechanism(algorithm, username, password)
	if err != nil {
		return nil, errors.New("sasl_username or the password holds characters that SCRAM does not allow") // its error may quote them
	}
	return m, nil
}
