package email

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/tollgate/tollgate/pkg/channel"
)

// ContentType is that of a planned message: JSON of Planned.
const ContentType = "application/vnd.tollgate.email+json"

// Planned is a message as it is planned, and the same at every attempt. Its texts are on one line where they are for
// headers.
type Planned struct {
	To Address `json:"to"`
	// ReplyTo is the action's own; nil where the profile's counts.
	ReplyTo *Address `json:"reply_to,omitempty"`
	Subject string   `json:"subject"`
	// Text is there always, HTML where the action has one.
	Text string `json:"text"`
	HTML string `json:"html,omitempty"`
	// ListUnsubscribe is a URL of https or mailto; empty where the message has none.
	ListUnsubscribe string `json:"list_unsubscribe,omitempty"`
	// OneClick: the URL unsubscribes on a POST (RFC 8058).
	OneClick bool `json:"list_unsubscribe_post,omitempty"`
	// Domain is that of the Message-ID, in ASCII.
	Domain string `json:"message_id_domain"`
}

const (
	// maxSubject bounds a rendered subject, in bytes.
	maxSubject = 16 << 10
	// maxLink bounds a rendered link: a line of a header, which no URI can be folded into, has at most 998 bytes (RFC 5322,
	// section 2.1.1).
	maxLink = 900
)

// Message is the planned message as a delivery carries it.
func (p *Planned) Message() (channel.Message, error) {
	if len(p.Subject) > maxSubject {
		return channel.Message{}, fmt.Errorf("%w: the subject takes %d bytes, at most %d", channel.ErrTooLarge, len(p.Subject), maxSubject)
	}
	if n := len(link(p.ListUnsubscribe)); n > maxLink {
		return channel.Message{}, fmt.Errorf("%w: the link to unsubscribe takes %d bytes, at most %d", channel.ErrTooLarge, n, maxLink)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		return channel.Message{}, fmt.Errorf("encode message: %w", err)
	}
	return channel.Message{ContentType: ContentType, Body: bytes.TrimSuffix(out.Bytes(), []byte("\n"))}, nil
}

// ReadPlanned reads the body of a delivery.
func ReadPlanned(contentType string, body []byte) (*Planned, error) {
	if contentType != ContentType {
		return nil, fmt.Errorf("read planned message: its content type is %q, not %q", contentType, ContentType)
	}
	p := &Planned{}
	if err := json.Unmarshal(body, p); err != nil {
		return nil, fmt.Errorf("read planned message: %w", err)
	}
	return p, nil
}
