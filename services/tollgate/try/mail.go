package try

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/mail"
	"time"

	"github.com/emersion/go-smtp"
)

// mailAddress is where the mail server listens the first time, unless that port is taken.
const mailAddress = "127.0.0.1:19025"

// letter is one e-mail that came, as a line of the mail server's log.
type letter struct {
	Time    time.Time `json:"time"`
	ID      string    `json:"id"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Repeat  bool      `json:"repeat,omitempty"`
}

// mailServer takes every e-mail over TLS, delivers none, and is a part of try alone.
type mailServer struct {
	listener net.Listener
	server   *smtp.Server
	arrived  chan letter
	log      *arrivals[letter]
}

// startMailServer listens where the run before did, so that its profile stays as it is. Its certificate is the receiver's.
func startMailServer(ctx context.Context, f *folder, anyPort bool) (*mailServer, error) {
	certificate, _, err := identity(f, loopback)
	if err != nil {
		return nil, err
	}
	m := &mailServer{arrived: make(chan letter, 256)}
	if m.listener, err = listen(ctx, f.kept.Mail, mailAddress, anyPort); err != nil {
		return nil, fmt.Errorf("start the mail server: %w", err)
	}
	if m.log, err = openArrivals(f.file(mailFile), func(l *letter) string { return l.ID }); err != nil {
		return nil, errors.Join(err, m.listener.Close())
	}
	m.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{server: m}, nil }))
	m.server.Domain, m.server.EnableSMTPUTF8, m.server.MaxMessageBytes = "localhost", true, maxBody
	m.server.ReadTimeout, m.server.WriteTimeout = 5*time.Minute, 10*time.Second
	m.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	m.server.ErrorLog = silent{} // a sender that goes away in the middle is what happens at the end of a run
	go func() { _ = m.server.Serve(m.listener) }()
	f.kept.Mail = m.listener.Addr().String()
	return m, f.keep()
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

// letters are what arrives; nothing does where there is no mail server.
func (m *mailServer) letters() <-chan letter {
	if m == nil {
		return nil
	}
	return m.arrived
}

func (m *mailServer) address() string { return m.listener.Addr().String() }

func (m *mailServer) port() int { return portOf(m.listener) }

// take writes an e-mail down before it is acknowledged.
func (m *mailServer) take(to string, r io.Reader) error {
	text, err := mail.ReadMessage(r)
	if err != nil {
		return refused("can't be read: " + err.Error())
	}
	var words mime.WordDecoder
	subject, err := words.DecodeHeader(text.Header.Get("Subject"))
	if err != nil {
		return refused("its subject can't be read: " + err.Error())
	}
	from, err := mail.ParseAddress(text.Header.Get("From"))
	if err != nil {
		return refused("its sender can't be read: " + err.Error())
	}
	if _, err := io.Copy(io.Discard, text.Body); err != nil {
		return err
	}
	got := letter{Time: time.Now().UTC(), ID: text.Header.Get("Message-ID"), From: from.Address, To: to, Subject: subject}
	if from.Name != "" {
		got.From = from.Name + " <" + from.Address + ">"
	}
	if err := m.log.note(&got, &got.Repeat); err != nil {
		return err
	}
	select {
	case m.arrived <- got:
	default: // no one reads it now; it is in the log
	}
	return nil
}

func refused(why string) error {
	return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "the message " + why}
}

func (m *mailServer) close() error {
	return errors.Join(m.server.Close(), m.log.close())
}

// mailSession is a connection to the mail server.
type mailSession struct {
	server *mailServer
	to     string
}

// Reset implements smtp.Session.
func (s *mailSession) Reset() {}

// Logout implements smtp.Session.
func (s *mailSession) Logout() error { return nil }

// Mail implements smtp.Session.
func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt implements smtp.Session.
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

// Data implements smtp.Session.
func (s *mailSession) Data(r io.Reader) error { return s.server.take(s.to, r) }
