package email

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/delivery"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// parsed is a message as Python reads it.
type parsed struct {
	From          string   `json:"from"`
	To            string   `json:"to"`
	Subject       string   `json:"subject"`
	MessageID     string   `json:"message_id"`
	AutoSubmitted string   `json:"auto_submitted"`
	Defects       []string `json:"defects"`
	Text          string   `json:"text"`
	HTML          string   `json:"html"`
	// Signature: there is one. Valid is what dkimpy finds: true, false, or why it can't read it; so of a message with a second
	// From on top, of one with a link to unsubscribe on top, and of one whose body was changed.
	Signature  bool `json:"signature"`
	Valid      any  `json:"valid"`
	SecondFrom any  `json:"second_from"`
	AddedLink  any  `json:"added_link"`
	OtherBody  any  `json:"other_body"`
}

// A real Postfix takes what is sent, over STARTTLS, into a Maildir; the parser of Python's library reads what was planned, and
// dkimpy finds the signatures valid. It runs with TOLLGATE_TEST_CLIENTS=1: make test-clients.
func TestClients_PostfixTakesWhatPythonReadsAndVerifies(t *testing.T) {
	if os.Getenv("TOLLGATE_TEST_CLIENTS") != "1" {
		t.Skip("make test-clients runs it")
	}
	post := startPostfix(t)
	keys := newSigningKeys(t)
	long := strings.Repeat("word ", 300)
	messages := []struct {
		name string
		dkim *configv1.Dkim
		email.Planned
	}{
		{"plain text", nil, email.Planned{Subject: "Invoice 7", Text: "Spent: 41.20 EUR\n"}},
		{"dots at the beginning of lines", nil, email.Planned{Subject: "Dots", Text: ".\n..\n.Spent\n.\n"}},
		{"long lines, tabs and blanks at their end", nil, email.Planned{Subject: strings.TrimSpace(long), Text: long + "\t \n  Spent =3D = \n"}},
		{"other scripts", keys.rsa, email.Planned{
			Subject: "Größe, 数据流量, " + strings.Repeat("ж", 200), Text: "Spent: 41,20 €\n", HTML: "<p>Spent: <b>41,20&nbsp;€</b></p>",
		}},
		{"to an internationalised address", keys.rsa, email.Planned{To: email.Address{Local: "zoë"}, Subject: "SMTPUTF8 für Zoë", Text: "Spent\n"}},
		{"signed with RSA", keys.rsa, email.Planned{Subject: "RSA", Text: "Spent  with   blanks \n\n\n"}},
		{"signed with Ed25519", keys.ed25519, email.Planned{Subject: "Ed25519", Text: "Spent: nothing\n", HTML: "<p>Spent: nothing</p>"}},
		{"signed, with a link to unsubscribe", keys.ed25519, email.Planned{
			Subject: "List", Text: "Spent\n", ListUnsubscribe: "https://operator.example/u?t=" + strings.Repeat("x", 800), OneClick: true,
		}},
	}
	want := map[string]parsed{}
	for i := range messages {
		m := &messages[i]
		m.Domain = "operator.example"
		m.To.Name, m.To.Domain = `Jane "J" Doe, `+m.name, "mail.example"
		if m.To.Local == "" {
			m.To.Local = "jane"
		}
		out, id := post.send(t, m.dkim, &m.Planned)
		if out.Result != delivery.Accepted {
			t.Fatalf("%s: %+v", m.name, out)
		}
		w := parsed{
			From: "Operator <billing@operator.example>", To: m.To.Name + " <" + m.To.Local + "@mail.example>", Subject: m.Subject,
			MessageID: "<" + id + "@operator.example>", AutoSubmitted: "auto-generated", Text: m.Text, HTML: m.HTML, SecondFrom: false, OtherBody: false,
			// The signature covers that there is none; of two links it covers the lower.
			AddedLink: m.dkim != nil && m.ListUnsubscribe != "",
		}
		w.Signature = m.dkim != nil
		w.Valid = w.Signature
		want[m.name] = w
	}
	post.arrived(t, len(messages))
	got := map[string]parsed{}
	for i, p := range post.read(t, keys) {
		name := strconv.Itoa(i)
		for n, w := range want {
			if w.MessageID == p.MessageID {
				name = n
			}
		}
		p.Text = strings.ReplaceAll(p.Text, "\r\n", "\n")
		got[name] = p
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("none", func(s []string) int { return len(s) })); diff != "" {
		t.Errorf("planned and read (-, +): %s", diff)
	}

	// A mailbox that does not exist, in Postfix's own words.
	out, _ := post.send(t, nil, &email.Planned{
		To: email.Address{Local: "gone", Domain: "mail.example"}, Subject: "x", Text: "x\n", Domain: "operator.example",
	})
	if out.Result != delivery.Refused || out.Status != 550 || out.EnhancedStatus != "5.1.1" || !post.suppressed["gone@mail.example"] {
		t.Errorf("to a mailbox that does not exist: %+v, suppressed %v", out, post.suppressed)
	}
}

// signingKeys are two keys of DKIM, and DNS's answers for them.
type signingKeys struct {
	rsa, ed25519 *configv1.Dkim
	dns          map[string]string
}

func newSigningKeys(t *testing.T) *signingKeys {
	t.Helper()
	k := &signingKeys{dns: map[string]string{}}
	one, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(one.Public())
	if err != nil {
		t.Fatal(err)
	}
	k.rsa = k.add(t, "r1", "rsa", one, public)
	verifying, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k.ed25519 = k.add(t, "e1", "ed25519", other, verifying)
	return k
}

func (k *signingKeys) add(t *testing.T, selector, kind string, key crypto.PrivateKey, public []byte) *configv1.Dkim {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	k.dns[selector+"._domainkey.operator.example"] = "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(public)
	return &configv1.Dkim{Domain: "operator.example", Selector: selector, Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}
}

// postfix is a Postfix of the test's own.
type postfix struct {
	dir        string
	port       uint16
	authority  string
	suppressed map[string]bool
}

func servers(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join("..", "..", "deploy", "servers", "servers"), args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &errs)
	}
	return strings.TrimSpace(string(out))
}

func startPostfix(t *testing.T) *postfix {
	t.Helper()
	// Users of Postfix can't reach the folders of t.TempDir.
	dir, err := os.MkdirTemp("", "tollgate-postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p := &postfix{dir: dir, suppressed: map[string]bool{}}
	// A certificate for 127.0.0.1 that an authority of nobody has signed.
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS()
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	p.authority = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	s.Close()
	if err != nil {
		t.Fatal(err)
	}
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), p.authority...)
	if err := os.WriteFile(filepath.Join(dir, "tls.pem"), chain, 0o600); err != nil {
		t.Fatal(err)
	}
	address := servers(t, "postfix", "--port", "0", "--dir", dir)
	t.Cleanup(func() {
		servers(t, "stop", "--dir", dir)
		if log, err := os.ReadFile(filepath.Join(dir, "log")); t.Failed() && err == nil {
			t.Logf("the log of Postfix:\n%s", log)
		}
	})
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	p.port = uint16(n)
	return p
}

// send sends a planned message by a profile at the Postfix, and returns the delivery's id too.
func (p *postfix) send(t *testing.T, dkim *configv1.Dkim, planned *email.Planned) (delivery.Outcome, string) {
	t.Helper()
	s := newSending(t, &configv1.SmtpProfile{
		Name: "tenants/sample/smtpProfiles/billing", Host: "127.0.0.1", Port: int32(p.port), Tls: configv1.SmtpTls_SMTP_TLS_REQUIRED,
		CaCertificates: p.authority, FromAddress: "billing@operator.example", FromName: "Operator", Dkim: dkim,
		Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE, Activation: 1,
	}, loopback(p.port))
	m, err := planned.Message()
	if err != nil {
		t.Fatal(err)
	}
	d := s.delivery(planned.To.Key())
	d.ContentType, d.Body = m.ContentType, m.Body
	d.ID = delivery.NewID(d.PlannedAt, "sample", "billing", planned.Subject, planned.Subject, "n", "a", "", planned.To.Key())
	out := s.Send(t.Context(), d, s.p, 1)
	p.suppressed[planned.To.Key()] = s.isSuppressed(planned.To.Key())
	return out, d.ID
}

// arrived waits until the Maildir has n messages.
func (p *postfix) arrived(t *testing.T, n int) {
	t.Helper()
	patience := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		entries, err := os.ReadDir(filepath.Join(p.dir, "mail", "inbox", "new"))
		if err == nil && len(entries) >= n {
			return
		}
		select {
		case <-tick.C:
		case <-patience:
			t.Fatalf("%d of %d messages are in the Maildir (%v)", len(entries), n, err)
		}
	}
}

// read reads the Maildir by Python.
func (p *postfix) read(t *testing.T, keys *signingKeys) []parsed {
	t.Helper()
	dir := t.TempDir()
	answers, err := json.Marshal(keys.dns)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dns.json"), answers, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	interpreter := filepath.Join(dir, "venv", "bin", "python")
	var out []byte
	for _, args := range [][]string{
		{"python3", "-m", "venv", filepath.Join(dir, "venv")},
		{interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", filepath.Join("testdata", "clients", "requirements.txt")},
		{interpreter, filepath.Join("testdata", "clients", "read.py"), filepath.Join(p.dir, "mail", "inbox"), filepath.Join(dir, "dns.json")},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if out, err = cmd.Output(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, &errs)
		}
	}
	var all []parsed
	for line := range bytes.Lines(out) {
		var one parsed
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, one)
	}
	return all
}
