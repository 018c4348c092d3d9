package try

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/stream"
)

// Running are services that run elsewhere, and how the receiver and they reach each other.
type Running struct {
	// Key is an API key that they accept.
	Key string
	// Services are the gRPC addresses of config, ingest, safeguard and provision.
	Services map[string]string
	// Dial connects to one of them with the key, Kafka to their Kafka.
	Dial  func(address string, options ...grpc.DialOption) (*grpc.ClientConn, error)
	Kafka func() (*stream.Client, error)
	// Listen is where the receiver listens; Host is what the services call it by.
	Listen, Host string
	// SMTP is the mail server that the sample's e-mail goes to, in clear. What arrives there is not looked at.
	SMTP string
	// Networks are those, in CIDR notation, that the receiver and the mail server lie in, where they are not public.
	Networks []string
}

// key is that of services which run elsewhere; empty for one that is drawn.
func (s *Running) key() string {
	if s == nil {
		return ""
	}
	return s.Key
}

// outside is where the sample's e-mail goes, and the networks that deliveries may go to.
func (r *run) outside() (mailbox, []string, error) {
	if r.cfg.Running == nil {
		return mailbox{loopback, r.mail.port(), true}, []string{"127.0.0.0/8"}, nil
	}
	host, text, err := net.SplitHostPort(r.cfg.Running.SMTP)
	if err != nil {
		return mailbox{}, nil, fmt.Errorf("address of the mail server: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return mailbox{}, nil, fmt.Errorf("address of the mail server: %w", err)
	}
	return mailbox{host, port, false}, r.cfg.Running.Networks, nil
}

// demonstrate shows the journey through services that run elsewhere.
func (r *run) demonstrate(ctx context.Context) error {
	to := r.cfg.Running
	r.story.title("sample traffic for services that run, and a receiver of its deliveries", r.folder)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", to.Listen)
	if err != nil {
		return fmt.Errorf("start the receiver: %w", err)
	}
	if r.receiver, err = receiveAt(listener, to.Host, r.folder); err != nil {
		return err
	}
	r.story.table([][2]string{
		{"config", to.Services["config"]}, {"ingest", to.Services["ingest"]}, {"safeguard", to.Services["safeguard"]},
		{"provision", to.Services["provision"]}, {"receiver", r.receiver.url()}, {"smtp", to.SMTP},
	})
	if err := r.connect(ctx); err != nil {
		return err
	}
	if err := r.configure(ctx); err != nil {
		return err
	}
	if err := r.awaitRevision(ctx); err != nil {
		return err
	}
	return r.traffic(ctx)
}
