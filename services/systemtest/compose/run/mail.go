package main

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// mailServer is what the mail catcher is in docker-compose.yml: it takes e-mail in clear, and counts it.
type mailServer struct {
	listener net.Listener
	server   *smtp.Server
	taken    atomic.Int64
}

func startMail(ctx context.Context) (*mailServer, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &mailServer{listener: listener}
	m.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{m}, nil }))
	m.server.Domain, m.server.EnableSMTPUTF8 = "localhost", true
	go m.server.Serve(listener) //nolint:errcheck // it ends with close
	return m, nil
}

func (m *mailServer) address() string { return m.listener.Addr().String() }

func (m *mailServer) close() error { return m.server.Close() }

// await waits for the e-mail of the demo's first step.
func (m *mailServer) await(ctx context.Context) error {
	return await(ctx, time.Minute, "the demo's e-mail", func() (bool, error) { return m.taken.Load() > 0, nil })
}

// mailSession is a connection.
type mailSession struct{ server *mailServer }

// Reset implements smtp.Session.
func (mailSession) Reset() {}

// Logout implements smtp.Session.
func (mailSession) Logout() error { return nil }

// Mail implements smtp.Session.
func (mailSession) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt implements smtp.Session.
func (mailSession) Rcpt(string, *smtp.RcptOptions) error { return nil }

// Data implements smtp.Session.
func (s mailSession) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	if err == nil {
		s.server.taken.Add(1)
	}
	return err
}
