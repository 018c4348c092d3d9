package email

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/tollgate/tollgate/pkg/channel"
)

var plannedAt = time.Date(2027, 1, 15, 23, 30, 0, 0, time.UTC)

func address(t testing.TB, text string) Address {
	t.Helper()
	a, err := ParseAddress(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return a
}

func sending(t testing.TB) Sending {
	return Sending{ID: "dlv_06ewab", Planned: plannedAt, Now: plannedAt.Add(time.Minute), From: address(t, "Operator <billing@operator.example>")}
}

func message(t testing.TB) *Planned {
	return &Planned{
		To: address(t, "Ana Diaz <ana@example.com>"), Subject: "Invoice 36-1", Text: "due 31 January\n", HTML: "<p>due 31 January</p>",
		ListUnsubscribe: "https://portal.example/u?a=1", OneClick: true, Domain: "operator.example",
	}
}

// read is a message as a receiver's parser gives it.
func read(t testing.TB, raw []byte) (h mail.Header, text, html string) {
	t.Helper()
	if !bytes.Contains(raw, []byte("\r\n")) || bytes.Contains(bytes.ReplaceAll(raw, []byte("\r\n"), nil), []byte("\n")) {
		t.Error("lines do not end with CR LF")
	}
	for line := range bytes.SplitSeq(raw, []byte("\r\n")) {
		if len(line) > 78 && !bytes.Contains(line, []byte("://")) {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	decoded := func(r io.Reader) string {
		b, err := io.ReadAll(quotedprintable.NewReader(r))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	if kind == "text/plain" {
		return m.Header, decoded(m.Body), ""
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return m.Header, text, html
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			html = decoded(p)
		} else {
			text = decoded(p)
		}
	}
}

func must(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func build(t testing.TB, p *Planned, s Sending) Built {
	t.Helper()
	b, err := Build(p, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuild_IsTheSameAtEveryAttempt(t *testing.T) {
	first := build(t, message(t), sending(t))
	s := sending(t)
	s.Now = s.Now.Add(maxDateAge - time.Minute)
	if again := build(t, message(t), s); !bytes.Equal(first.Bytes, again.Bytes) {
		t.Errorf("the second attempt differs:\n%s\n%s", first.Bytes, again.Bytes)
	}
	h, text, html := read(t, first.Bytes)
	for name, want := range map[string]string{
		"From": `"Operator" <billing@operator.example>`, "To": `"Ana Diaz" <ana@example.com>`, "Subject": "Invoice 36-1",
		"Date": "Fri, 15 Jan 2027 23:30:00 +0000", "Message-Id": "<dlv_06ewab@operator.example>", "Auto-Submitted": "auto-generated",
		"List-Unsubscribe": "<https://portal.example/u?a=1>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "Reply-To": "", "User-Agent": "", "X-Mailer": "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if text != "due 31 January\n" || html != "<p>due 31 January</p>" {
		t.Errorf("text %q, HTML %q", text, html)
	}
}

func TestBuild_ReplayHasItsOwnMessageID(t *testing.T) {
	s := sending(t)
	s.Job = "job 7"
	if id := build(t, message(t), s).MessageID; id != "<dlv_06ewab.job-7@operator.example>" {
		t.Error(id)
	}
}

func TestBuild_DateIsTheAttemptsAfterADay(t *testing.T) {
	s := sending(t)
	s.Now = s.Planned.Add(maxDateAge + time.Second)
	h, _, _ := read(t, build(t, message(t), s).Bytes)
	if got := h.Get("Date"); got != "Sat, 16 Jan 2027 23:30:01 +0000" {
		t.Error(got)
	}
}

func TestBuild_SignsWithDKIM(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ed25519": ed, "rsa": rsaKey} {
		t.Run(name, func(t *testing.T) {
			s := sending(t)
			s.DKIM = &DKIM{Domain: strings.Repeat("long.", 30) + "operator.example", Selector: "s1", Key: key}
			raw := build(t, message(t), s).Bytes
			verify := func(raw []byte) error {
				found, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{LookupTXT: func(string) ([]string, error) {
					record := "v=DKIM1; k=" + name + "; p="
					if name == "rsa" {
						return []string{record + base64.StdEncoding.EncodeToString(must(t, key))}, nil
					}
					return []string{record + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))}, nil
				}})
				if err != nil || len(found) != 1 {
					t.Fatal(err, len(found))
				}
				return found[0].Err
			}
			if err := verify(raw); err != nil {
				t.Error(err)
			}
			// What somebody adds or changes on the way breaks it.
			for header, change := range map[string]func(string) string{
				"From twice": func(m string) string { return strings.Replace(m, "From: ", "From: other@evil.example\r\nFrom: ", 1) },
				"Subject":    func(m string) string { return strings.Replace(m, "Invoice 36-1", "Invoice 36-2", 1) },
				"To":         func(m string) string { return strings.Replace(m, "<ana@", "<eva@", 1) },
				"Date":       func(m string) string { return strings.Replace(m, "23:30:00", "23:30:01", 1) },
				"Message-ID": func(m string) string { return strings.Replace(m, "dlv_06ewab@", "dlv_06ewac@", 1) },
				"List-Unsubscribe": func(m string) string {
					return strings.Replace(m, "portal.example/u", "evil.example/u", 1)
				},
				"List-Unsubscribe-Post": func(m string) string { return strings.Replace(m, "=One-Click", "=Two-Click", 1) },
				"body":                  func(m string) string { return strings.Replace(m, "due 31", "due 30", 1) },
			} {
				changed := change(string(raw))
				if changed == string(raw) {
					t.Fatalf("%s was not changed", header)
				}
				if verify([]byte(changed)) == nil {
					t.Errorf("a changed %s verifies", header)
				}
			}
		})
	}
}

// A subject of 10 KB is folded, without a line that a server would refuse, and is the same after decoding.
func TestBuild_FoldsALongSubject(t *testing.T) {
	for name, subject := range map[string]string{
		"words": strings.TrimSpace(strings.Repeat("Invoice ", 1280)), "one word": strings.Repeat("x", 10<<10),
		"umlauts": "x" + strings.Repeat("ü", 5<<10), "looks encoded": "=?utf-8?q?forged?=", "blanks": "a  b   c", "emoji": strings.Repeat("🧾 ", 2000) + "🧾",
	} {
		t.Run(name, func(t *testing.T) {
			p := message(t)
			p.Subject = subject
			h, _, _ := read(t, build(t, p, sending(t)).Bytes)
			got, err := (&mime.WordDecoder{}).DecodeHeader(h.Get("Subject"))
			if err != nil || got != subject {
				t.Errorf("read as %.100q, %v", got, err)
			}
			for word := range strings.FieldsSeq(h.Get("Subject")) {
				if text, err := (&mime.WordDecoder{}).DecodeHeader(word); err != nil || !utf8.ValidString(text) {
					t.Errorf("%s ends within a character: %q, %v", word, text, err)
				}
			}
			if name == "looks encoded" && strings.Contains(h.Get("Subject"), "forged") {
				t.Error(h.Get("Subject"))
			}
		})
	}
	p := message(t)
	p.Subject = strings.Repeat("x", maxSubject+1)
	if _, err := p.Message(); !errors.Is(err, channel.ErrTooLarge) {
		t.Errorf("one beyond its bound: %v", err)
	}
}

func TestPlanned_IsReadAsItWasWritten(t *testing.T) {
	p := message(t)
	m, err := p.Message()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"to":{"name":"Ana Diaz","local":"ana","domain":"example.com"},"subject":"Invoice 36-1","text":"due 31 January\n",` +
		`"html":"<p>due 31 January</p>","list_unsubscribe":"https://portal.example/u?a=1","list_unsubscribe_post":true,"message_id_domain":"operator.example"}`; string(m.Body) != want {
		t.Errorf("%s", m.Body)
	}
	again, err := ReadPlanned(m.ContentType, m.Body)
	if err != nil || again.To != p.To || again.HTML != p.HTML {
		t.Errorf("%+v %v", again, err)
	}
	if _, err := ReadPlanned("application/json", m.Body); err == nil {
		t.Error("a body of another channel was read")
	}
}
