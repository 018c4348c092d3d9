package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
)

// Time limits of RFC 5321, section 4.5.3.2, each for one command and its whole answer: a server that drips gains nothing.
const (
	greetingTimeout = 5 * time.Minute
	commandTimeout  = 5 * time.Minute
	dataTimeout     = 2 * time.Minute
	blockTimeout    = 3 * time.Minute
	endTimeout      = 10 * time.Minute
	// Not of the RFC: the handshake, which costs a server little; QUIT, whose answer nobody needs; and the answer of a server
	// that stopped reading, which it may have sent before.
	handshakeTimeout = time.Minute
	quitTimeout      = 5 * time.Second
	partingTimeout   = time.Second
)

// blockSize is how much of a message is written under one time limit.
const blockSize = 64 << 10

// Step is one step of a conversation and its answer.
type Step struct {
	// Command is what was sent, secrets masked; Answer what came, and Reply the same where it was one.
	Command, Answer string
	Reply           Reply
	Took            time.Duration
}

// maxSteps bounds the steps that are kept of one attempt.
const maxSteps = 32

// Conn is a conversation with one server. One goroutine uses it.
type Conn struct {
	server *Server
	net    net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	// offers are the keywords of EHLO, in upper case, and their parameters.
	offers map[string]string
	// Encrypted: TLS is on; Verified: with a certificate that is trusted.
	Encrypted, Verified bool

	// steps are those since the last Steps.
	steps  []Step
	phases outbound.Phases
	// dirty: a transaction was begun and not ended.
	dirty bool
	// broken: no further command can be sent. noHandshake: since there was no TLS where it was agreed on.
	broken, noHandshake bool
	// since is when it was opened.
	since time.Time
	// caller is the context of the attempt under way.
	caller context.Context //nolint:containedctx // one attempt at a time; every deadline asks it
}

// take makes a connection of the network the one that is spoken on.
func (c *Conn) take(n net.Conn) {
	c.net = n
	c.in = bufio.NewReaderSize(n, maxReplyLine)
	c.out = bufio.NewWriterSize(blocks{c}, blockSize)
}

// blocks writes to the connection, each time under the limit of a block.
type blocks struct{ c *Conn }

func (b blocks) Write(p []byte) (int, error) {
	b.c.within(blockTimeout)
	return b.c.net.Write(p)
}

// within sets the time limit of what follows. A caller that ended has none left.
func (c *Conn) within(d time.Duration) {
	_ = c.net.SetDeadline(time.Now().Add(d)) // fails on a closed connection alone, as what follows does
	if c.caller.Err() != nil {
		c.interrupt()
	}
}

// interrupt ends what is under way.
func (c *Conn) interrupt() { _ = c.net.SetDeadline(time.Unix(1, 0)) }

// during lets ctx interrupt the conversation until end is called.
func (c *Conn) during(ctx context.Context) (end func()) {
	c.caller = ctx
	stop := context.AfterFunc(ctx, c.interrupt)
	return func() {
		stop()
		c.caller = context.WithoutCancel(ctx)
	}
}

// command writes a line; it is sent with the next flush.
func (c *Conn) command(line string) {
	_, _ = c.out.WriteString(line) // an error stays, and flush returns it
	_, _ = c.out.WriteString("\r\n")
}

// ask sends a command and reads its answer. shown is what is kept of the command.
func (c *Conn) ask(stage Stage, limit time.Duration, line, shown string) (Reply, *Error) {
	c.command(line)
	return c.answer(stage, limit, shown)
}

// answer sends what is buffered and reads the answer of the first command that has none.
func (c *Conn) answer(stage Stage, limit time.Duration, shown string) (Reply, *Error) {
	began := time.Now()
	if c.out.Buffered() > 0 {
		if err := c.out.Flush(); err != nil {
			return Reply{}, c.parting(stage, shown, began, err)
		}
	}
	c.within(limit)
	r, err := readReply(c.in)
	if err != nil {
		return Reply{}, c.lost(stage, shown, began, err)
	}
	c.noteReply(shown, r, began)
	if r.Code == 421 {
		c.broken = true
	}
	return r, nil
}

// parting is the failure of a write. The server may have answered why before it closed.
func (c *Conn) parting(stage Stage, shown string, began time.Time, err error) *Error {
	if c.caller.Err() == nil {
		c.within(partingTimeout)
		if r, broken := readReply(c.in); broken == nil && r.Class() >= 4 {
			c.broken = true
			c.noteReply(shown, r, began)
			return &Error{Stage: stage, Class: ClassReply, Reply: r}
		}
	}
	return c.lost(stage, shown, began, err)
}

// lost is the failure of a connection.
func (c *Conn) lost(stage Stage, shown string, began time.Time, err error) *Error {
	c.broken = true
	failed := &Error{Stage: stage, Class: ClassProtocol, Err: err}
	if !errors.Is(err, errReply) {
		failed.Class = Class(outbound.ConnClass(c.caller, err))
		failed.Err = lossText(failed.Class, err)
	}
	c.note(shown, failed.Err.Error(), began)
	return failed
}

// lossText is in our words how a connection was lost; the texts of net name addresses of this machine.
func lossText(class Class, err error) error {
	switch class {
	case Class(outbound.ClassTimeout):
		return wrapped{"no answer in time", err}
	case Class(outbound.ClassCancelled):
		return wrapped{"broken off by this process", err}
	case Class(outbound.ClassReset):
		return wrapped{"the server closed the connection", err}
	}
	return err
}

// wrapped is an error with a text of its own.
type wrapped struct {
	text string
	err  error
}

func (w wrapped) Error() string { return w.text }
func (w wrapped) Unwrap() error { return w.err }

func (c *Conn) note(command, answer string, began time.Time) {
	if len(c.steps) < maxSteps {
		c.steps = append(c.steps, Step{Command: command, Answer: answer, Took: time.Since(began)})
	}
}

func (c *Conn) noteReply(command string, r Reply, began time.Time) {
	if len(c.steps) < maxSteps {
		c.steps = append(c.steps, Step{Command: command, Answer: r.String(), Reply: r, Took: time.Since(began)})
	}
}

// Steps are the steps since it was last called, and what of the connection's making took how long.
func (c *Conn) Steps() ([]Step, outbound.Phases) {
	steps, phases := c.steps, c.phases
	c.steps, c.phases = nil, outbound.Phases{}
	return steps, phases
}

// Offers reports an extension that the server named, in upper case, and its parameters.
func (c *Conn) Offers(keyword string) (parameters string, ok bool) {
	parameters, ok = c.offers[keyword]
	return parameters, ok
}

// Usable reports that another message can be sent.
func (c *Conn) Usable() bool { return !c.broken && !c.dirty }

// Since is when the connection was opened.
func (c *Conn) Since() time.Time { return c.since }

// Close ends the conversation: with QUIT where the server still listens.
func (c *Conn) Close() {
	if !c.broken {
		c.command("QUIT")
		c.within(quitTimeout)
		// Directly, past the limit of a block: nobody waits for a server to take a farewell.
		if err := c.flushWithin(quitTimeout); err == nil {
			_, _ = readReply(c.in) // its answer changes nothing
		}
	}
	c.abandon()
}

func (c *Conn) flushWithin(d time.Duration) error {
	stop := time.AfterFunc(d, c.interrupt)
	defer stop.Stop()
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	c.within(d)
	return nil
}

func (c *Conn) abandon() {
	c.broken = true
	if t, ok := c.net.(*tls.Conn); ok {
		_ = t.NetConn().Close() // no close_notify: it would wait for a server that reads nothing
		return
	}
	_ = c.net.Close()
}

// unread reports bytes that came and were not asked for.
func (c *Conn) unread() bool { return c.in.Buffered() > 0 }

// hasCRLF reports a line break, which no command may have.
func hasCRLF(s string) bool { return strings.ContainsAny(s, "\r\n\x00") }
