package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
)

// What a fake answers beside text.
const (
	hangs    = "(hangs)"
	closes   = "(closes)"
	drips    = "(drips)"
	endless  = "(endless line)"
	thousand = "(1,000 lines)"
	alert    = "(no handshake)"
)

// fake is a mail server on connections in memory. A test decides what it answers; everything else succeeds.
type fake struct {
	t *testing.T
	// answers are by the first word of a command, "greeting", "." for the end of data, "block" once data begins.
	answers map[string]string
	offers  []string
	cert    *tls.Certificate

	mu sync.Mutex
	// got are the commands and messages, over all connections; dialled counts those.
	got     []string
	dialled int
	// conn is the last connection as the server sees it.
	conn net.Conn
	// end lets go what reads nothing.
	end chan struct{}
}

func newFake(t *testing.T, offers ...string) *fake {
	return &fake{t: t, answers: map[string]string{}, offers: offers, end: make(chan struct{})}
}

// certified gives the fake a certificate for example.com; the configuration trusts it.
func (f *fake) certified() *tls.Config {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS()
	defer s.Close()
	f.cert = &s.TLS.Certificates[0]
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}

func (f *fake) DialContext(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	f.mu.Lock()
	f.dialled++
	f.conn = theirs
	f.mu.Unlock()
	go f.serve(theirs)
	return ours, nil
}

func (f *fake) Class(context.Context, error, time.Time) outbound.Class { return outbound.ClassConnect }

func (f *fake) set(word, answer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[word] = answer
}

func (f *fake) unset(word string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.answers, word)
}

func (f *fake) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.got...)
}

func (f *fake) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	answer := func(word, usual string) bool {
		f.mu.Lock()
		answer, ok := f.answers[word]
		f.mu.Unlock()
		if !ok {
			answer = usual
		}
		switch answer {
		case hangs:
			_, _ = in.ReadByte() // until the other side closes
			for {
				if _, err := in.ReadByte(); err != nil {
					return false
				}
			}
		case closes:
			return false
		case drips:
			for _, b := range []byte("250-" + strings.Repeat("x", 1000)) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return false
				}
				select {
				case <-time.After(10 * time.Second):
				case <-f.end:
					return false
				}
			}
		case endless:
			for {
				if _, err := conn.Write([]byte("250-" + strings.Repeat("x", 100))); err != nil {
					return false
				}
			}
		case thousand:
			answer = strings.Repeat("250-x\r\n", 1000) + "250 x"
		}
		_, err := conn.Write([]byte(answer + "\r\n"))
		return err == nil && !strings.HasPrefix(answer, "421")
	}
	if !answer("greeting", "220 mx.example ESMTP") {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		f.mu.Lock()
		f.got = append(f.got, line)
		f.mu.Unlock()
		word, _, _ := strings.Cut(line, " ")
		usual := "250 2.0.0 ok"
		switch word {
		case "EHLO":
			usual = "250-mx.example\r\n"
			for _, o := range f.offers {
				usual += "250-" + o + "\r\n"
			}
			usual += "250 HELP"
		case "AUTH":
			usual = "235 2.7.0 welcome"
		case "DATA":
			usual = "354 go on"
		case "QUIT":
			usual = "221 2.0.0 bye"
		case "STARTTLS":
			usual = "220 go on"
		}
		if !answer(word, usual) || word == "QUIT" {
			return
		}
		if word == "STARTTLS" && usual == "220 go on" && f.answers[word] == "" {
			if f.answers["handshake"] == alert {
				_, _ = in.Read(make([]byte, 1<<14)) // ClientHello
				_, _ = conn.Write([]byte("this is no handshake"))
				return
			}
			if f.answers["handshake"] == hangs {
				_, _ = io.Copy(io.Discard, in)
				return
			}
			t := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*f.cert}, MinVersion: tls.VersionTLS12})
			if t.Handshake() != nil {
				return
			}
			conn, in = t, bufio.NewReader(t)
		}
		if word == "DATA" && (f.answers[word] == "" || strings.HasPrefix(f.answers[word], "354")) {
			if f.answers["block"] == closes {
				_, _ = in.Read(make([]byte, 10))
				return
			}
			if f.answers["block"] == hangs {
				<-f.end // reads nothing
				return
			}
			var message strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				message.WriteString(line)
			}
			f.mu.Lock()
			f.got = append(f.got, message.String())
			f.mu.Unlock()
			if !answer(".", "250 2.0.0 queued") {
				return
			}
		}
	}
}

func (f *fake) server(mode Mode) *Server {
	return &Server{Dialer: f, Host: "example.com", Port: 25, Mode: mode, TLS: &tls.Config{MinVersion: tls.VersionTLS12}, Hello: "tollgate.example"}
}

var envelope = Envelope{From: "billing@tollgate.example", To: "ana@mail.example"}

var message = []byte("Subject: hi\r\n\r\n.dot\r\ntext\r\n")
