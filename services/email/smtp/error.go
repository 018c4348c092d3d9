package smtp

import (
	"fmt"

	"github.com/tollgate/tollgate/pkg/outbound"
)

// Stage is the step of a conversation.
type Stage uint8

// The stages in their order.
const (
	StageConnect Stage = iota
	StageGreeting
	StageHello
	StageTLS
	StageAuth
	StageMail
	StageRecipient
	StageData
	// StageContent is the writing of the message, StageEnd the answer to its last dot.
	StageContent
	StageEnd
)

// String is the command, or what happens, in lower case.
func (s Stage) String() string {
	return [...]string{"connect", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "content", "end of data"}[s]
}

// Class is why a message was not taken. It is a closed set: a label of metrics and a field of the attempt's record. Those
// of connections are the classes of package outbound.
type Class string

const (
	// ClassReply: the server answered with a code of 4xx or 5xx.
	ClassReply Class = "reply"
	// ClassTLS: a profile demands TLS that the server does not offer or refuses, or whose handshake failed: a certificate that
	// is not trusted, no common version.
	ClassTLS = Class(outbound.ClassTLS)
	// ClassAuth: AUTH failed, or did not take place: the server offers no mechanism of the profile, or the connection is not
	// one that a password may go over. Nothing was sent.
	ClassAuth = Class(outbound.ClassAuth)
	// ClassProtocol: what came is no answer of SMTP, or is past its bounds.
	ClassProtocol = Class(outbound.ClassProtocol)
	// ClassUTF8: the address is internationalised and the server does not offer SMTPUTF8. ClassEightBit: the message has bytes
	// above 127 and the server does not offer 8BITMIME. Nothing was sent.
	ClassUTF8     Class = "smtputf8_not_offered"
	ClassEightBit Class = "8bitmime_not_offered"
	// ClassTooLarge: the message is larger than the server takes (SIZE, or 552 to MAIL).
	ClassTooLarge Class = "too_large"
	// ClassUnknown: the connection was lost after the last dot: the server may have taken the message.
	ClassUnknown Class = "unknown_after_data"
)

// Error is why a conversation failed.
type Error struct {
	Stage Stage
	Class Class
	// Reply is the server's answer, where there was one.
	Reply Reply
	// Err is the cause where there was none.
	Err error
}

// Error implements error. It has no address and no secret, unless the server repeated one.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return fmt.Sprintf("%s: %s", e.Stage, e.Reply)
	case e.Reply.Code != 0:
		return fmt.Sprintf("%s: %s: %s", e.Stage, e.Err, e.Reply)
	}
	return fmt.Sprintf("%s: %s", e.Stage, e.Err)
}

// Unwrap implements errors.Unwrap.
func (e *Error) Unwrap() error { return e.Err }

// Closing reports that the server closes its service: code 421, at whatever command it comes.
func (e *Error) Closing() bool { return e.Reply.Code == 421 }
