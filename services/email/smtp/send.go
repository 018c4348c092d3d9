package smtp

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
)

// Envelope is who sends a message to whom.
type Envelope struct {
	// From is the return path, empty for none; To is the recipient.
	From, To string
	// UTF8: the header needs SMTPUTF8 (RFC 6531), as an address of the envelope beyond ASCII does.
	UTF8 bool
}

var (
	errUTF8     = errors.New("the address needs SMTPUTF8, which the server does not offer")
	errEightBit = errors.New("the message needs 8BITMIME, which the server does not offer")
	errAddress  = errors.New("an address of the envelope has a line break")
)

// Send sends one message: MAIL, RCPT, DATA and the message, whose lines end with CRLF. The first three go in one packet where
// the server offers PIPELINING. After a refusal the transaction is reset, and the connection can be used again.
func (c *Conn) Send(ctx context.Context, e Envelope, message []byte) *Error {
	defer c.during(ctx)()
	mail, failed := c.mail(e, message)
	if failed != nil {
		return failed
	}
	if failed = c.transaction(mail, e, message); failed != nil {
		c.reset()
	}
	return failed
}

// mail is the command MAIL, or what this server can't take of this message.
func (c *Conn) mail(e Envelope, message []byte) (string, *Error) {
	refuse := func(class Class, err error) (string, *Error) {
		return "", &Error{Stage: StageMail, Class: class, Err: err}
	}
	if hasCRLF(e.From) || hasCRLF(e.To) {
		return refuse(Class(outbound.ClassRequest), errAddress)
	}
	line := "MAIL FROM:<" + e.From + ">"
	if size, ok := c.Offers("SIZE"); ok {
		// 0 is no bound (RFC 1870), and what is no number is none either.
		if most, err := strconv.ParseInt(size, 10, 64); err == nil && most > 0 && int64(len(message)) > most {
			return refuse(ClassTooLarge, fmt.Errorf("the message has %d bytes, and the server takes %d", len(message), most))
		}
		line += " SIZE=" + strconv.Itoa(len(message))
	}
	if !ascii(message) {
		if _, ok := c.Offers("8BITMIME"); !ok {
			return refuse(ClassEightBit, errEightBit)
		}
		line += " BODY=8BITMIME"
	}
	if e.UTF8 || !ascii(e.From) || !ascii(e.To) {
		if _, ok := c.Offers("SMTPUTF8"); !ok {
			return refuse(ClassUTF8, errUTF8)
		}
		line += " SMTPUTF8"
	}
	return line, nil
}

func (c *Conn) transaction(mail string, e Envelope, message []byte) *Error {
	rcpt := "RCPT TO:<" + e.To + ">"
	_, pipelining := c.Offers("PIPELINING")
	c.dirty = true
	c.command(mail)
	if pipelining {
		c.command(rcpt)
		c.command("DATA")
	}
	r, failed := c.answer(StageMail, commandTimeout, mail)
	if failed = refused(r, failed, StageMail, 250); failed != nil {
		return c.drained(failed, pipelining, rcpt, "DATA")
	}
	if !pipelining {
		c.command(rcpt)
	}
	// 251: forwarded.
	r, failed = c.answer(StageRecipient, commandTimeout, rcpt)
	if failed = refused(r, failed, StageRecipient, 250, 251); failed != nil {
		return c.drained(failed, pipelining, "DATA")
	}
	if !pipelining {
		c.command("DATA")
	}
	r, failed = c.answer(StageData, dataTimeout, "DATA")
	if failed = refused(r, failed, StageData, 354); failed != nil {
		return failed
	}
	return c.content(message)
}

// refused is the error of a step; nil where the answer is one of those wanted.
func refused(r Reply, failed *Error, stage Stage, wanted ...int) *Error {
	if failed != nil {
		return failed
	}
	for _, code := range wanted {
		if r.Code == code {
			return nil
		}
	}
	class := ClassReply
	switch {
	case r.Class() < 4:
		class = ClassProtocol
	case stage == StageMail && r.Code == 552:
		class = ClassTooLarge
	}
	out := &Error{Stage: stage, Class: class, Reply: r}
	if class == ClassProtocol {
		out.Err = errReply
	}
	return out
}

// drained reads the answers of the commands that were sent behind one that was refused.
func (c *Conn) drained(failed *Error, pipelining bool, behind ...string) *Error {
	if !pipelining || c.broken {
		return failed
	}
	for _, command := range behind {
		r, lost := c.answer(StageData, dataTimeout, command)
		if lost != nil {
			return failed
		}
		if command == "DATA" && r.Code == 354 {
			// The server waits for a message that has no recipient (RFC 2920, section 3.1).
			c.command(".")
			if _, lost = c.answer(StageEnd, endTimeout, "."); lost != nil {
				return failed
			}
		}
	}
	return failed
}

// content writes the message, and reads the answer to its last dot. A write that fails left out the last byte at least, which
// ends the dot's line: the server can't have taken the message.
func (c *Conn) content(message []byte) *Error {
	began := time.Now()
	w := textproto.NewWriter(c.out).DotWriter()
	if _, err := w.Write(message); err != nil {
		return c.parting(StageContent, "message", began, err)
	}
	if err := w.Close(); err != nil {
		return c.parting(StageContent, "message", began, err)
	}
	c.note("message", strconv.Itoa(len(message))+" bytes", began)
	r, failed := c.answer(StageEnd, endTimeout, ".")
	if failed != nil {
		return c.unknown(failed)
	}
	if failed = refused(r, nil, StageEnd, 250); failed != nil {
		return failed
	}
	c.dirty = false
	return nil
}

// unknown is a loss after the dot.
func (c *Conn) unknown(e *Error) *Error {
	e.Class = ClassUnknown
	return e
}

// reset ends a transaction, so that the connection can be used again.
func (c *Conn) reset() {
	if c.broken || !c.dirty {
		return
	}
	r, failed := c.ask(StageMail, commandTimeout, "RSET", "RSET")
	if failed != nil || r.Code != 250 {
		c.broken = true
		return
	}
	c.dirty = false
}

func ascii[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
