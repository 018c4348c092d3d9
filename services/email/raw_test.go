package email

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// What a script answers beside text.
const (
	hangs  = "(hangs)"
	closes = "(closes)"
	drips  = "(drips)"
	floods = "(a line without end)"
)

// script is how a raw server behaves. What it leaves out succeeds.
type script struct {
	// offers are keywords of EHLO in clear, inside those within TLS.
	offers, inside []string
	// answers are by the first word of a command; "greeting", "message" once DATA was taken, "." for its end.
	answers map[string]string
	// certificate is shown after STARTTLS, or at once where implicit is set. Without one there is no handshake.
	certificate *tls.Certificate
	implicit    bool
}

// rawServer speaks SMTP as its script has it, and keeps what it was sent in clear.
type rawServer struct {
	script
	port uint16

	mu sync.Mutex
	// clear are the bytes that came in clear, commands the lines, wherever they came.
	clear       bytes.Buffer
	commands    []string
	connections int
}

func newRawServer(t testing.TB, s script) *rawServer {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rawServer{script: s, port: listener.Addr().(*net.TCPAddr).AddrPort().Port()}
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.serve(conn) })
		}
	})
	return r
}

// DialContext connects without a network.
func (r *rawServer) DialContext(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go r.serve(theirs)
	return ours, nil
}

// Class makes it a dialer.
func (r *rawServer) Class(context.Context, error, time.Time) outbound.Class {
	return outbound.ClassConnect
}

// note keeps bytes that came in clear.
func (r *rawServer) note(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clear.Write(p)
}

type noting struct{ r *rawServer }

func (n noting) Write(p []byte) (int, error) { return n.r.note(p) }

func (r *rawServer) serve(raw net.Conn) {
	defer raw.Close()
	r.mu.Lock()
	r.connections++
	r.mu.Unlock()
	conn, in, offers := raw, bufio.NewReader(io.TeeReader(raw, noting{r})), r.offers
	encrypt := func() bool {
		if r.certificate == nil {
			_, _ = raw.Read(make([]byte, 1<<14)) // ClientHello
			_, _ = io.WriteString(raw, "this is no handshake\r\n")
			return false
		}
		t := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{*r.certificate}, MinVersion: tls.VersionTLS12})
		conn, in, offers = t, bufio.NewReader(t), r.inside
		return t.Handshake() == nil
	}
	if r.implicit && !encrypt() || !r.answer(conn, in, "greeting", "220 mx.mail.example ESMTP") {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		r.mu.Lock()
		r.commands = append(r.commands, line)
		r.mu.Unlock()
		word, rest, _ := strings.Cut(line, " ")
		usual := map[string]string{
			"EHLO": ehlo(offers), "DATA": "354 go on", "QUIT": "221 2.0.0 bye", "STARTTLS": "220 go on", "AUTH": "235 2.7.0 welcome",
		}[word]
		switch {
		case word == "AUTH" && rest == "CRAM-MD5":
			usual = "334 " + base64.StdEncoding.EncodeToString([]byte("<1@mx.mail.example>"))
		case usual == "":
			usual = "250 2.0.0 ok"
		}
		if word == "DATA" && r.answers["message"] == closes {
			_, _ = io.WriteString(conn, "354 go on\r\n")
			_, _ = in.ReadByte()
			return
		}
		if !r.answer(conn, in, word, usual) || word == "QUIT" {
			return
		}
		switch {
		case word == "STARTTLS" && (r.answers[word] == "" || strings.HasPrefix(r.answers[word], "220")):
			if !encrypt() {
				return
			}
		case strings.HasPrefix(usual, "334 "):
			if _, err := in.ReadString('\n'); err != nil || !r.answer(conn, in, "(credentials)", "235 2.7.0 welcome") {
				return
			}
		case word == "DATA":
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			if !r.answer(conn, in, ".", "250 2.0.0 queued") {
				return
			}
		}
	}
}

func ehlo(offers []string) string {
	out := "250-mx.mail.example\r\n"
	for _, o := range offers {
		out += "250-" + o + "\r\n"
	}
	return out + "250 HELP"
}

// answer answers a command; false ends the connection.
func (r *rawServer) answer(conn net.Conn, in *bufio.Reader, word, usual string) bool {
	text, ok := r.answers[word]
	if !ok {
		text = usual
	}
	switch text {
	case hangs:
		_, _ = io.Copy(io.Discard, in) // until the other side closes
		return false
	case closes:
		return false
	case drips:
		gone := make(chan struct{})
		go func() { _, _ = io.Copy(io.Discard, in); close(gone) }()
		for {
			if _, err := io.WriteString(conn, "2"); err != nil {
				return false
			}
			select {
			case <-gone:
				return false
			case <-time.After(time.Minute):
			}
		}
	case floods:
		for {
			if _, err := io.WriteString(conn, "250-"+strings.Repeat("x", 1000)); err != nil {
				return false
			}
		}
	}
	_, err := io.WriteString(conn, text+"\r\n")
	return err == nil
}

// sent is what came in clear, and the commands.
func (r *rawServer) sent() (clear string, commands []string, connections int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clear.String(), append([]string(nil), r.commands...), r.connections
}

// profile is one of this server.
func (r *rawServer) profile(mode configv1.SmtpTls, ca string) *configv1.SmtpProfile {
	return &configv1.SmtpProfile{
		Host: "127.0.0.1", Port: int32(r.port), Tls: mode, CaCertificates: ca, FromAddress: "billing@operator.example", Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
	}
}

// selfSigned is a certificate for 127.0.0.1, and its PEM; change may spoil it.
func selfSigned(t testing.TB, change func(*x509.Certificate)) (*tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if change != nil {
		change(template)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

func otherName(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} }
func expired(c *x509.Certificate)   { c.NotAfter = time.Now().Add(-time.Hour) }
