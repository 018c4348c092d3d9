package email

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	server "github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/email/smtp"
)

// refusal is an answer of the test's server; zero is success.
type refusal struct {
	code     int
	enhanced server.EnhancedCode
	text     string
}

func (r refusal) err() error {
	if r.code == 0 {
		return nil
	}
	if r.enhanced == (server.EnhancedCode{}) {
		r.enhanced = server.NoEnhancedCode
	}
	return &server.SMTPError{Code: r.code, EnhancedCode: r.enhanced, Message: r.text}
}

// mailServer is a real server in the process, whose answers a test decides.
type mailServer struct {
	server *server.Server
	port   uint16

	mu sync.Mutex
	// answer is asked at "MAIL", "RCPT" and "." with the recipient, and how often it was asked for that one.
	answer func(at, recipient string, n int) refusal
	asked  map[string]int
	got    []received
	mails  int
	news   chan struct{}
}

// received is a message that the server took.
type received struct{ from, to, text string }

func newMailServer(t testing.TB) *mailServer {
	m := &mailServer{asked: map[string]int{}, answer: func(string, string, int) refusal { return refusal{} }, news: make(chan struct{}, 1)}
	m.server = server.NewServer(m)
	m.server.Domain = "mx.mail.example"
	m.server.AllowInsecureAuth = true
	m.server.ErrorLog = quiet{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.port = l.Addr().(*net.TCPAddr).AddrPort().Port()
	var serving sync.WaitGroup
	serving.Go(func() { _ = m.server.Serve(l) })
	t.Cleanup(func() {
		_ = l.Close() // a server that does not serve yet knows of no listener
		_ = m.server.Close()
		serving.Wait()
	})
	return m
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// NewSession implements go-smtp's Backend.
func (m *mailServer) NewSession(*server.Conn) (server.Session, error) { return &session{m: m}, nil }

func (m *mailServer) ask(at, recipient string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[at+recipient]++
	return m.answer(at, recipient, m.asked[at+recipient]).err()
}

func (m *mailServer) messages() []received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]received(nil), m.got...)
}

type session struct {
	m        *mailServer
	from, to string
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *server.MailOptions) error {
	s.from = from
	s.m.mu.Lock()
	s.m.mails++
	s.m.mu.Unlock()
	return s.m.ask("MAIL", from)
}

func (s *session) Rcpt(to string, _ *server.RcptOptions) error {
	s.to = to
	return s.m.ask("RCPT", to)
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.m.ask(".", s.to); err != nil {
		return err
	}
	s.m.mu.Lock()
	s.m.got = append(s.m.got, received{s.from, s.to, string(text)})
	s.m.mu.Unlock()
	select {
	case s.m.news <- struct{}{}:
	default:
	}
	return nil
}

// loopback lets a tenant send to servers on this machine.
func loopback(ports ...uint16) *configclient.Tenant {
	return &configclient.Tenant{Outbound: outbound.Policy{Ports: ports, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}}
}

// message is a profile as config has it.
func (m *mailServer) profile() *configv1.SmtpProfile {
	return &configv1.SmtpProfile{
		Name: "tenants/sample/smtpProfiles/billing", Host: "127.0.0.1", Port: int32(m.port), Tls: configv1.SmtpTls_SMTP_TLS_NONE,
		FromAddress: "billing@operator.example", FromName: "Operator", Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE, Activation: 1,
	}
}

// sending is a sender with one profile; every address is allowed until it is suppressed.
type sending struct {
	*sender
	t *testing.T
	p *profile
}

func newSending(t *testing.T, p *configv1.SmtpProfile, tenant *configclient.Tenant) *sending {
	decoded, faults := email.Decode(p)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	ready := (&maker{hello: "tollgate.example"}).ready(decoded, tenant)
	pool := smtp.NewPool(10)
	t.Cleanup(pool.Close)
	list := newList()
	close(list.ready)
	known := newSuppressions(list, nil, zap.NewNop())
	return &sending{sender: &sender{pool: pool, clock: time.Now, newest: func(string) *profile { return ready }, suppressed: known}, t: t, p: ready}
}

// send makes an attempt of a delivery to an address.
func (s *sending) send(to string) delivery.Outcome {
	s.t.Helper()
	return s.Send(s.t.Context(), s.delivery(to), s.p, 1)
}

func (s *sending) delivery(to string) *delivery.Delivery {
	s.t.Helper()
	address, err := email.ParseAddress(to)
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := (&email.Planned{To: address, Subject: "Invoice", Text: "due\n", Domain: "operator.example"}).Message()
	if err != nil {
		s.t.Fatal(err)
	}
	at := time.Now()
	return &delivery.Delivery{
		ID: delivery.NewID(at, "sample", "billing", to, to, "n", "a", "", to), Tenant: "sample", Endpoint: s.p.Name, Recipient: to,
		ContentType: m.ContentType, Body: m.Body, PlannedAt: at, Revision: 1,
	}
}

func (s *sending) isSuppressed(to string) bool {
	address, err := email.ParseAddress(to)
	if err != nil {
		s.t.Fatal(err)
	}
	suppressed, _ := s.suppressed.has("sample", address)
	return suppressed
}

func header(text, name string) string {
	for line := range strings.SplitSeq(text, "\r\n") {
		if rest, ok := strings.CutPrefix(line, name+": "); ok {
			return rest
		}
	}
	return ""
}
