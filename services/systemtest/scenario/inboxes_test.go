package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// webhook is one of the payload profile tollgate.
type webhook struct {
	ID, Type, Source, Subject, Notification string
	Data                                    json.RawMessage
	Parameters                              map[string]string
	// path is that of its request.
	path string
}

// letter is an e-mail with a text alone.
type letter struct {
	To, Subject, Text string
}

// inboxes are a tenant's HTTPS server and its mail server, which take everything. Repeats are left out by their ids.
type inboxes struct {
	*fleet.Receiver
	mailPort int

	mu       sync.Mutex
	problems []string
	seen     map[string]bool
	webhooks []webhook
	letters  []letter
}

func openInboxes(t testing.TB, ctx context.Context) *inboxes {
	t.Helper()
	in := &inboxes{seen: map[string]bool{}}
	var err error
	if in.Receiver, err = fleet.StartReceiver(ctx, in); err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, _ := listener.Addr().(*net.TCPAddr)
	in.mailPort = address.Port
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{in: in}, nil }))
	server.Domain, server.ErrorLog = "mx.mail.example", quietMail{}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // it ends with Close
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		_ = server.Close() // of connections that the service has left
		serving.Wait()
	})
	return in
}

// policy lets a tenant reach both.
func (in *inboxes) policy() *configv1.OutboundPolicy {
	p := in.Policy()
	p.Ports = append(p.Ports, uint32(in.mailPort))
	return p
}

// take keeps what comes for the first time.
func (in *inboxes) take(id string, keep func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if id == "" {
		in.problems = append(in.problems, "something came without an id")
	} else if !in.seen[id] {
		in.seen[id] = true
		keep()
	}
}

func (in *inboxes) problem(format string, args ...any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.problems = append(in.problems, fmt.Sprintf(format, args...))
}

// ServeHTTP takes a webhook.
func (in *inboxes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender went away
	}
	var got webhook
	if err := in.Verify(r.Header, body); err != nil {
		in.problem("%v", err)
	} else if err := json.Unmarshal(body, &got); err != nil {
		in.problem("%v in %s", err, body)
	}
	got.path = r.URL.Path
	in.take("webhook "+r.Header.Get("webhook-id"), func() { in.webhooks = append(in.webhooks, got) })
	w.WriteHeader(http.StatusNoContent)
}

// until waits until so much came, and returns it.
func (in *inboxes) until(t testing.TB, ctx context.Context, what string, enough func(webhooks []webhook, letters []letter) bool) ([]webhook, []letter) {
	t.Helper()
	wait(t, ctx, what, func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		if len(in.problems) > 0 {
			t.Fatalf("received: %s", strings.Join(in.problems, "\n"))
		}
		return enough(in.webhooks, in.letters)
	})
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]webhook(nil), in.webhooks...), append([]letter(nil), in.letters...)
}

// mailSession is a connection of the mail server.
type mailSession struct {
	in *inboxes
	to string
}

func (s *mailSession) Reset()                               { s.to = "" }
func (s *mailSession) Logout() error                        { return nil }
func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	id, got, err := readLetter(r)
	if err != nil {
		s.in.problem("%v", err)
	}
	got.To = s.to
	s.in.take("letter "+id, func() { s.in.letters = append(s.in.letters, got) })
	return nil
}

func readLetter(r io.Reader) (id string, l letter, err error) {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return "", l, fmt.Errorf("read letter: %w", err)
	}
	if l.Subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		return "", l, fmt.Errorf("read letter: %w", err)
	}
	body := m.Body
	switch encoding := strings.ToLower(m.Header.Get("Content-Transfer-Encoding")); encoding {
	case "quoted-printable":
		body = quotedprintable.NewReader(m.Body)
	case "", "7bit", "8bit":
	default:
		return "", l, fmt.Errorf("read letter: its text is in %s", encoding)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return "", l, fmt.Errorf("read letter: %w", err)
	}
	l.Text = strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))
	return m.Header.Get("Message-Id"), l, nil
}

// quietMail hides what connections of stopped senders leave.
type quietMail struct{}

func (quietMail) Printf(string, ...any) {}
func (quietMail) Println(...any)        {}
