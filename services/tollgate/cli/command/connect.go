package command

import (
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Key is the flag of commands that call a service.
type Key struct {
	APIKey string `name:"api-key" env:"TOLLGATE_API_KEY" help:"API key that is sent with each call. Better in the environment: other users see command lines." placeholder:"KEY"`
	CAFile string `name:"ca-file" env:"TOLLGATE_CA_FILE" help:"Call with TLS and trust these roots (PEM)." placeholder:"FILE"`

	Certificate    string `name:"certificate-file" env:"TOLLGATE_CERTIFICATE_FILE" help:"For services that ask clients for a certificate (PEM)." placeholder:"FILE"`
	CertificateKey string `name:"certificate-key-file" env:"TOLLGATE_CERTIFICATE_KEY_FILE" help:"Its key (PEM)." placeholder:"FILE"`
}

// Dial connects to a service.
func (k Key) Dial(address string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	if k.CAFile == "" && k.Certificate == "" {
		return rpc.Dial(address, k.APIKey, options...)
	}
	tls, err := rpc.TLS(certificate.Files{Certificate: k.Certificate, Key: k.CertificateKey, CA: k.CAFile})
	if err != nil {
		return nil, err
	}
	return rpc.Dial(address, k.APIKey, append(options, tls)...)
}

// Kafka are the flags of commands that speak to Kafka.
type Kafka struct {
	Brokers []string `env:"TOLLGATE_KAFKA_BROKERS" default:"127.0.0.1:9092" help:"Brokers to start from; ${default} by default." placeholder:"HOST:PORT"`
	Prefix  string   `env:"TOLLGATE_KAFKA_PREFIX" default:"tollgate" help:"Prefix of every topic."`

	TLS            bool   `name:"kafka-tls" env:"TOLLGATE_KAFKA_TLS" help:"Speak TLS to the brokers."`
	CA             string `name:"kafka-ca-file" env:"TOLLGATE_KAFKA_CA_FILE" help:"The only roots trusted (PEM); the system's by default." placeholder:"FILE"`
	Certificate    string `name:"kafka-certificate-file" env:"TOLLGATE_KAFKA_CERTIFICATE_FILE" help:"For brokers that ask clients for a certificate (PEM)." placeholder:"FILE"`
	CertificateKey string `name:"kafka-certificate-key-file" env:"TOLLGATE_KAFKA_CERTIFICATE_KEY_FILE" help:"Its key (PEM)." placeholder:"FILE"`
	Mechanism      string `name:"kafka-sasl-mechanism" env:"TOLLGATE_KAFKA_SASL_MECHANISM" help:"plain (only with TLS), scram-sha-256 or scram-sha-512."`
	Username       string `name:"kafka-sasl-username" env:"TOLLGATE_KAFKA_SASL_USERNAME" help:"Who this is to the brokers."`
	PasswordFile   string `name:"kafka-sasl-password-file" env:"TOLLGATE_KAFKA_SASL_PASSWORD_FILE" help:"File that holds the password." placeholder:"FILE"`
}

// Open connects to Kafka.
func (k Kafka) Open() (*stream.Client, error) {
	client, err := stream.Open(stream.Config{
		Brokers: k.Brokers, Prefix: k.Prefix, ClientID: "tollgate-cli",
		Security: stream.Security{
			TLS: k.TLS, CAFile: k.CA, CertificateFile: k.Certificate, CertificateKeyFile: k.CertificateKey,
			Mechanism: k.Mechanism, Username: k.Username, PasswordFile: k.PasswordFile,
		},
	}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return nil, UsageError(fmt.Sprintf("kafka: %v", err))
	}
	return client, nil
}

// KafkaTimeout bounds what waits for Kafka.
const KafkaTimeout = 30 * time.Second

// Close ends what a command only read from, or has had its answers of: how that ends changes nothing.
func Close(c io.Closer) { _ = c.Close() }
