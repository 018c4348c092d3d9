package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/email"
	"github.com/tollgate/tollgate/services/tollgate/allinone"
)

// runEmail runs the service that sends e-mail beside an installation, until stop; it is called at the address.
func runEmail(t *testing.T, installation *allinone.Installation, config, serviceKeyFile string) (address string, stop func()) {
	t.Helper()
	cfg := email.DefaultConfig()
	cfg.Kafka.Brokers = []string{installation.Kafka}
	cfg.Redis.Address, cfg.Redis.SkipDurabilityCheck = installation.Redis, true
	cfg.GRPC.Listen, cfg.GRPC.KeyHashes = "127.0.0.1:0", []string{rpc.HashKey(testKey)}
	cfg.Configuration.Address, cfg.Configuration.APIKeyFile = config, serviceKeyFile
	cfg.Secrets.KeysetFile = filepath.Join(filepath.Dir(serviceKeyFile), "keyset.json")
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	env := daemon.NewEnv("email", zap.NewNop())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- email.Run(ctx, cfg, env) }()
	waiting, end := context.WithTimeout(ctx, 30*time.Second)
	defer end()
	address, err := env.Listeners.Wait(waiting, "grpc")
	if err != nil {
		t.Fatal(err)
	}
	return address, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// awaitProfile returns once the service that sends e-mail knows a profile, for scripts: awaitprofile NAME.
func awaitProfile() {
	conn, err := rpc.Dial(os.Getenv("TOLLGATE_EMAIL_ADDR"), os.Getenv("TOLLGATE_API_KEY"))
	for known := false; err == nil && !known; {
		_, err = deliveryv1.NewTestServiceClient(conn).SendTest(context.Background(), &deliveryv1.SendTestRequest{
			Target: &deliveryv1.SendTestRequest_Name{Name: os.Args[1]}, To: "nobody@mail.example",
		})
		switch known = err == nil; fault.ReasonOf(err) {
		case "CONFIG_NOT_READ", "SMTP_PROFILE_NOT_FOUND":
			err = nil
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// mailbox is a mail server that takes everything but what goes to nobody@.
type mailbox struct{ port string }

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{}
	if _, m.port, err = net.SplitHostPort(listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(m)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = listener.Close()
		_ = server.Close()
		serving.Wait()
	})
	return m
}

// NewSession implements smtp.Backend.
func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return letter{}, nil }

type letter struct{}

func (letter) Reset()                               {}
func (letter) Logout() error                        { return nil }
func (letter) Mail(string, *smtp.MailOptions) error { return nil }
func (letter) Data(r io.Reader) error               { _, err := io.Copy(io.Discard, r); return err }
func (letter) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == "nobody@mail.example" {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
	}
	return nil
}
