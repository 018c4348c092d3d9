package email

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/wneessen/go-mail"
)

// Sending is what is read when a message is sent.
type Sending struct {
	// ID is that of the delivery, Job that of the replay that published it again; empty for the first publication.
	ID, Job string
	// Planned is when the delivery was planned, or the earliest time to send it; Now is the time of the attempt.
	Planned, Now time.Time
	From         Address
	// ReplyTo is the profile's; nil for none.
	ReplyTo *Address
	// ReturnPath is the sender of the envelope; nil for From.
	ReturnPath *Address
	// DKIM signs; nil for no signature.
	DKIM *DKIM
}

// DKIM is a key that signs for a domain (RFC 6376).
type DKIM struct {
	Domain, Selector string
	// Key is RSA or Ed25519 (RFC 8463).
	Key crypto.Signer
}

// Built is a message ready to be sent.
type Built struct {
	// From and To are of the envelope, as MAIL and RCPT name them, without angle brackets.
	From, To string
	// UTF8: an address of the envelope or the header needs SMTPUTF8. The message is ASCII otherwise.
	UTF8 bool
	// MessageID is with its angle brackets.
	MessageID string
	// Bytes end every line with CR LF; dots are not doubled.
	Bytes []byte
}

// maxDateAge is how old a message may look when it is sent.
const maxDateAge = 24 * time.Hour

// signedHeaders are those that DKIM covers. From is there twice: a second one that somebody adds breaks the signature.
var signedHeaders = []string{"From", "From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post"}

// Build makes the message of one attempt. The same arguments give the same bytes, but for the time in a DKIM signature.
func Build(p *Planned, s Sending) (Built, error) {
	out := Built{From: s.From.Mailbox(), To: p.To.Mailbox(), MessageID: messageID(s.ID, s.Job, p.Domain)}
	out.UTF8 = s.From.UTF8() || p.To.UTF8()
	if s.ReturnPath != nil {
		out.From = s.ReturnPath.Mailbox()
		out.UTF8 = out.UTF8 || s.ReturnPath.UTF8()
	}
	m := mail.NewMsg(mail.WithNoDefaultUserAgent(), mail.WithCharset(mail.CharsetUTF8), mail.WithEncoding(mail.EncodingQP), mail.WithBoundary(boundary(p, s)))
	m.FromMailAddress(s.From.header())
	replyTo := p.ReplyTo
	if replyTo == nil {
		replyTo = s.ReplyTo
	}
	if replyTo != nil {
		out.UTF8 = out.UTF8 || replyTo.UTF8()
		m.ReplyToMailAddress(replyTo.header())
	}
	m.SetGenHeaderPreformatted("To", toHeader(p.To))
	m.SetGenHeader(mail.HeaderSubject, headerWords(p.Subject))
	m.SetGenHeader(mail.HeaderDate, dateOf(s).UTC().Format(time.RFC1123Z))
	m.SetGenHeader(mail.HeaderMessageID, out.MessageID)
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	if p.ListUnsubscribe != "" {
		m.SetGenHeader(mail.HeaderListUnsubscribe, "<"+link(p.ListUnsubscribe)+">")
		if p.OneClick && strings.HasPrefix(p.ListUnsubscribe, "https://") {
			m.SetGenHeader(mail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
		}
	}
	m.SetBodyString(mail.TypeTextPlain, p.Text)
	if p.HTML != "" {
		m.AddAlternativeString(mail.TypeTextHTML, p.HTML)
	}
	var raw bytes.Buffer
	if _, err := m.WriteTo(&raw); err != nil {
		return Built{}, fmt.Errorf("build message %s: %w", s.ID, err)
	}
	if s.DKIM == nil {
		out.Bytes = raw.Bytes()
		return out, nil
	}
	signed := bytes.NewBuffer(make([]byte, 0, raw.Len()+1024))
	err := dkim.Sign(signed, &raw, &dkim.SignOptions{
		Domain: s.DKIM.Domain, Selector: s.DKIM.Selector, Signer: s.DKIM.Key, Hash: crypto.SHA256, HeaderKeys: signedHeaders,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		return Built{}, fmt.Errorf("sign message %s: %w", s.ID, err)
	}
	out.Bytes = signed.Bytes()
	return out, nil
}

// dateOf is the planned time; the attempt's for a message that would look more than a day old.
func dateOf(s Sending) time.Time {
	if s.Now.Sub(s.Planned) > maxDateAge {
		return s.Now
	}
	return s.Planned
}

// messageID is the same at every attempt; a replay has one of its own, since receivers drop what they know.
func messageID(id, job, domain string) string {
	if job != "" {
		id += "." + job
	}
	return "<" + strings.Map(func(r rune) rune {
		if r < '!' || r > '~' || strings.ContainsRune(`()<>[]:;@\,"`, r) {
			return '-'
		}
		return r
	}, id) + "@" + domain + ">"
}

// boundary follows from the message: no body can hold its own.
func boundary(p *Planned, s Sending) string {
	h := sha256.New()
	for _, part := range []string{s.ID, s.Job, p.Subject, p.Text, p.HTML} {
		_, _ = fmt.Fprintf(h, "%d.", len(part))
		_, _ = h.Write([]byte(part))
	}
	return "tollgate-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// header is an address as net/mail writes it. A name that looks encoded is left out: net/mail would quote it, and some
// readers decode it all the same.
func (a Address) header() *netmail.Address {
	name := a.Name
	if strings.Contains(name, "=?") {
		name = ""
	}
	return &netmail.Address{Name: name, Address: a.Local + "@" + a.Domain}
}

// toHeader is the value of To: exactly one address, whatever its name holds.
func toHeader(a Address) string {
	if a.Name == "" {
		return "<" + a.Mailbox() + ">"
	}
	if text := (&netmail.Address{Name: a.Name, Address: a.Local + "@" + a.Domain}).String(); isASCII(a.Name) && !strings.Contains(a.Name, "=?") && len(text) <= maxLine-len("To: ") {
		return text
	}
	return encodedWords(a.Name, "\r\n ") + "\r\n <" + a.Mailbox() + ">"
}

// link is a URI as a header has it: bytes that no URI holds (RFC 3986) are percent-encoded, whoever wrote them.
func link(text string) string {
	var out strings.Builder
	for i := range len(text) {
		if c := text[i]; c > ' ' && c < 0x7f && !strings.ContainsRune(`<>"`, rune(c)) {
			out.WriteByte(c)
		} else {
			_, _ = fmt.Fprintf(&out, "%%%02X", c) // never fails
		}
	}
	return out.String()
}

// Lines of a header: RFC 5322, section 2.1.1, less what its name takes; RFC 2047, section 2.
const (
	maxLine     = 76
	maxWord     = 60 // bytes of a word that is left as it is
	encodedText = 45 // bytes of an encoded word's text: 60 in base64
)

// headerWords is a text without a structure: as it is where it is ASCII that no reader takes for encoded and that can be
// folded, else in encoded words.
func headerWords(text string) string {
	plain := isASCII(text) && !strings.Contains(text, "=?") && !strings.Contains(text, "  ")
	for word := range strings.SplitSeq(text, " ") {
		plain = plain && len(word) <= maxWord
	}
	if plain {
		return text
	}
	return encodedWords(text, " ")
}

// encodedWords is a text in encoded words of RFC 2047, none of which ends within a character.
func encodedWords(text, between string) string {
	var out strings.Builder
	for len(text) > 0 {
		n := min(len(text), encodedText)
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n--
		}
		if out.Len() > 0 {
			out.WriteString(between)
		}
		out.WriteString("=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(text[:n])) + "?=")
		text = text[n:]
	}
	return out.String()
}
