package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/tollgate/tollgate/services/systemtest/bench"
)

// described is the first line that a receiver's process prints: the ports of its servers on loopback.
type described struct {
	// Mail takes every message; Hanging takes connections and never greets; Control is where counts are asked for.
	Mail, Hanging, Control int
}

// receive is the mail server's process: it counts messages, and keeps how old those to aged recipients are when they come.
func receive(ctx context.Context) error {
	var listeners [3]net.Listener
	var out described
	for i, port := range []*int{&out.Mail, &out.Hanging, &out.Control} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		listeners[i] = l
		address, _ := l.Addr().(*net.TCPAddr)
		*port = address.Port
	}
	h := &counter{seen: map[string]bool{}}
	mail := smtp.NewServer(h)
	mail.Domain = "mx.mail.example"
	go mail.Serve(listeners[0]) //nolint:errcheck // it ends with its listener
	go hang(listeners[1])
	control := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	go control.Serve(listeners[2]) //nolint:errcheck // it ends with its listener
	return bench.Described(out)
}

// hang takes connections, and keeps them.
func hang(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go io.Copy(io.Discard, c) //nolint:errcheck // until the sender closes
	}
}

// aged begins the address of a recipient whose messages' ages are kept.
const aged = "aged-"

type counter struct {
	count, repeats atomic.Int64
	mu             sync.Mutex
	ages           []time.Duration
	seen           map[string]bool // by Message-ID
}

// NewSession implements smtp.Backend.
func (c *counter) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{counter: c}, nil }

type session struct {
	counter *counter
	aged    bool
}

func (s *session) Reset()                               {}
func (s *session) Logout() error                        { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error { return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.aged = strings.HasPrefix(to, aged)
	return nil
}

// Data reads a message to its end, as a server that keeps it would.
func (s *session) Data(r io.Reader) error {
	var id, planned string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "Message-ID: "); ok {
			id = text
		}
		if text, ok := strings.CutPrefix(lines.Text(), plannedAt); ok {
			planned = text
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	ns, err := strconv.ParseInt(planned, 10, 64)
	if err != nil || id == "" {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "not a message of the benchmark"}
	}
	c := s.counter
	c.count.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[id] {
		c.repeats.Add(1)
	}
	c.seen[id] = true
	if s.aged {
		c.ages = append(c.ages, time.Since(time.Unix(0, ns)))
	}
	return nil
}

// ServeHTTP answers what was counted: /count, /repeats, and /ages since it was last asked.
func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/count":
		fmt.Fprint(w, c.count.Load())
	case "/repeats":
		fmt.Fprint(w, c.repeats.Load())
	case "/ages":
		c.mu.Lock()
		ages := c.ages
		c.ages = nil
		c.mu.Unlock()
		for _, a := range ages {
			_ = binary.Write(w, binary.BigEndian, int64(a))
		}
	}
}

// receiver is the process, as this one sees it.
type receiver struct {
	described
	stop func() error
}

func startReceiver(ctx context.Context) (r *receiver, err error) {
	r = &receiver{}
	r.stop, err = bench.StartReceiver(ctx, &r.described)
	return r, err
}

func (r *receiver) get(path string) ([]byte, error) {
	client := &http.Client{Timeout: 30 * time.Second}
	res, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", r.Control, path)) //nolint:noctx // on loopback, with the client's time limit
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

func (r *receiver) number(path string) (int64, error) {
	text, err := r.get(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(text), 10, 64)
}

// count is how many messages came.
func (r *receiver) count() (int64, error) { return r.number("/count") }

// once fails where a message came twice, though nothing was killed.
func (r *receiver) once() error {
	n, err := r.number("/repeats")
	if err == nil && n > 0 {
		err = fmt.Errorf("%d messages came twice, and nothing was killed", n)
	}
	return err
}

// ages are those of the messages to aged recipients since the last call.
func (r *receiver) ages() ([]time.Duration, error) {
	raw, err := r.get("/ages")
	if err != nil {
		return nil, err
	}
	if len(raw)%8 != 0 {
		return nil, errors.New("the receiver's ages end early")
	}
	var all []time.Duration
	for ; len(raw) > 0; raw = raw[8:] {
		all = append(all, time.Duration(binary.BigEndian.Uint64(raw)))
	}
	return all, nil
}
