package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// Modes of the mail server.
const (
	modeCalm      = "calm"
	modeDisturbed = "disturbed"
)

// mailServer is the mail server in its own process.
type mailServer struct {
	disturbed atomic.Bool

	mu   sync.Mutex
	rand *rand.Rand
	log  *os.File
	// greylisted are recipients that were sent away once by this process.
	greylisted map[string]time.Time
}

// serve listens at an address, prints its port, and serves until control ends; each line of it is a mode.
func serve(args []string, control io.Reader) error {
	if len(args) != 4 {
		return errors.New("usage: serve ADDRESS DIR SEED MODE")
	}
	seed, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	m := &mailServer{rand: rand.New(rand.NewPCG(seed, 7)), greylisted: map[string]time.Time{}}
	m.disturbed.Store(args[3] == modeDisturbed)
	if m.log, err = os.OpenFile(filepath.Join(args[1], receiptFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", args[0]) //nolint:noctx // it listens until the process ends
	if err != nil {
		return err
	}
	s := smtp.NewServer(m)
	s.Domain, s.EnableSMTPUTF8, s.ErrorLog = "mx.mail.example", true, quiet{}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	address, _ := listener.Addr().(*net.TCPAddr)
	fmt.Println(address.Port)
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		m.disturbed.Store(lines.Text() == modeDisturbed)
	}
	return errors.Join(s.Close(), m.log.Close())
}

// quiet hides what connections of killed senders leave.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// write adds a line to the file before the answer is sent: it survives the process. It returns the answer.
func (m *mailServer) write(l line, answer error) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.log.Write(append(text, '\n')); err != nil {
		return err
	}
	return answer
}

// draw is a number below 1000 while the server is disturbed, else 1000.
func (m *mailServer) draw() int {
	if !m.disturbed.Load() {
		return 1000
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rand.IntN(1000)
}

func refusal(code int, class, subject, detail int, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: text}
}

var (
	errClosing = refusal(421, 4, 3, 2, "closing, come again")
	errClosed  = errors.New("closed")
)

// NewSession implements smtp.Backend.
func (m *mailServer) NewSession(c *smtp.Conn) (smtp.Session, error) {
	if m.draw() < 20 {
		return nil, m.write(line{Answer: "421 at EHLO"}, errClosing)
	}
	return &session{mail: m, conn: c}, nil
}

type session struct {
	mail *mailServer
	conn *smtp.Conn
	to   string
}

// Reset implements smtp.Session.
func (s *session) Reset() {}

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

// close closes the connection without an answer.
func (s *session) close(l line) error {
	err := s.mail.write(l, errClosed)
	_ = s.conn.Conn().Close() // a sender that has gone is as good
	return err
}

// Mail implements smtp.Session.
func (s *session) Mail(string, *smtp.MailOptions) error {
	switch n := s.mail.draw(); {
	case n < 10:
		return s.mail.write(line{Answer: "421 at MAIL"}, errClosing)
	case n < 20:
		return s.mail.write(line{Answer: "451 at MAIL"}, refusal(451, 4, 3, 0, "not now"))
	case n < 30:
		return s.close(line{Answer: "closed at MAIL"})
	}
	return nil
}

// greylistFor is how long a recipient is greylisted.
const greylistFor = 5 * time.Second

// Rcpt implements smtp.Session. Half of the recipients are greylisted by each life of the server.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	n := s.mail.draw()
	h := fnv.New32()
	_, _ = h.Write([]byte(to)) // never fails
	switch {
	case strings.HasPrefix(to, goneUser):
		return s.mail.write(line{Answer: "550 5.1.1"}, refusal(550, 5, 1, 1, "no such mailbox"))
	case strings.HasPrefix(to, refusedUser):
		return s.mail.write(line{Answer: "550 5.2.1"}, refusal(550, 5, 2, 1, "mailbox disabled"))
	case strings.HasPrefix(to, refusedByPolicy):
		return s.mail.write(line{Answer: "550 5.7.1"}, refusal(550, 5, 7, 1, "not from you"))
	case n < 10:
		return s.mail.write(line{Answer: "421 at RCPT"}, errClosing)
	case n < 40:
		return s.mail.write(line{Answer: "450 at RCPT"}, refusal(450, 4, 2, 1, "mailbox busy"))
	case n < 1000 && h.Sum32()%2 == 0 && s.mail.greylists(to):
		return s.mail.write(line{Answer: "greylisted"}, refusal(451, 4, 7, 1, "greylisted, come again"))
	}
	return nil
}

func (m *mailServer) greylists(to string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.greylisted[to].IsZero() {
		m.greylisted[to] = now
	}
	return now.Sub(m.greylisted[to]) < greylistFor
}

// Data implements smtp.Session.
func (s *session) Data(r io.Reader) error {
	n := s.mail.draw()
	if n < 10 {
		_, _ = r.Read(make([]byte, 64))
		return s.close(line{Answer: "closed within the message"})
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	got, err := read(string(raw), s.to)
	if err != nil {
		return s.mail.write(line{Answer: "unreadable: " + err.Error()}, refusal(554, 5, 6, 0, err.Error()))
	}
	switch {
	case n < 30:
		return s.mail.write(line{"451 after the message", &got}, refusal(451, 4, 3, 0, "not now"))
	case n < 45:
		got.Refused = true
		return s.mail.write(line{"554 after the message", &got}, refusal(554, 5, 6, 0, "not like this"))
	case n < 55:
		return s.mail.write(line{"421 after the message", &got}, errClosing)
	case n < 70:
		got.Accepted = true
		return s.close(line{"taken, closed without an answer", &got})
	case n < 90:
		<-time.After(300 * time.Millisecond)
	}
	got.Accepted = true
	return s.mail.write(line{"taken", &got}, nil)
}
