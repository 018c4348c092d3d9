package smtp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	mail "github.com/wneessen/go-mail/smtp"
)

// Mechanism is one of AUTH.
type Mechanism string

const (
	// Automatic takes the first that the server offers: PLAIN, LOGIN, CRAM-MD5 over TLS; in clear CRAM-MD5 first, since it does
	// not show the password.
	Automatic Mechanism = ""
	Plain     Mechanism = "PLAIN"
	Login     Mechanism = "LOGIN"
	CRAMMD5   Mechanism = "CRAM-MD5"
	// XOAuth2 takes the password as the access token.
	XOAuth2 Mechanism = "XOAUTH2"
)

// Credentials are of a profile. Without a user there is no AUTH.
type Credentials struct {
	Username, Password string
	Mechanism          Mechanism
}

var (
	errUnverified = errors.New("AUTH waits for verified TLS, and this connection has none")
	errMechanism  = errors.New("the server offers none of the mechanisms of AUTH that the profile allows")
	errChallenge  = errors.New("the challenge of AUTH is not base64")
)

// maxChallenges bounds the challenges of one AUTH.
const maxChallenges = 4

// authenticate sends AUTH where the profile has a user. The password goes over verified TLS, in clear only where the profile
// asks for no TLS.
func (c *Conn) authenticate() *Error {
	who := c.server.Credentials
	if who.Username == "" {
		return nil
	}
	refuse := func(err error) *Error { return &Error{Stage: StageAuth, Class: ClassAuth, Err: err} }
	if !c.Verified && c.server.Mode != None {
		return refuse(errUnverified)
	}
	mechanism, ok := c.mechanism(who.Mechanism)
	if !ok {
		return refuse(errMechanism)
	}
	auth := c.auth(mechanism)
	// The library guards PLAIN and LOGIN once more, by the same rule: allowed in clear where the profile asks for it.
	_, first, err := auth.Start(&mail.ServerInfo{Name: c.server.Host, TLS: c.Verified})
	if err != nil {
		return refuse(fmt.Errorf("begin %s: %w", mechanism, err))
	}
	line := "AUTH " + string(mechanism)
	if first != nil {
		line += " " + encoded(first)
	}
	shown := "AUTH " + string(mechanism) + " ****"
	for range maxChallenges {
		r, failed := c.ask(StageAuth, commandTimeout, line, shown)
		switch {
		case failed != nil:
			return failed
		case r.Code == 235:
			return nil
		case r.Code != 334:
			class := ClassAuth
			if r.Class() == 4 {
				class = ClassReply
			}
			return &Error{Stage: StageAuth, Class: class, Reply: r}
		}
		challenge, err := base64.StdEncoding.DecodeString(r.Text)
		if err != nil {
			return c.cancelAuth(errChallenge)
		}
		next, err := auth.Next(challenge, true)
		if err != nil {
			return c.cancelAuth(fmt.Errorf("answer the challenge of %s: %w", mechanism, err))
		}
		line, shown = base64.StdEncoding.EncodeToString(next), "****"
	}
	return c.cancelAuth(fmt.Errorf("%s asks for more than %d answers", mechanism, maxChallenges))
}

func (c *Conn) auth(m Mechanism) mail.Auth {
	who, clear := c.server.Credentials, c.server.Mode == None
	switch m {
	case Login:
		return mail.LoginAuth(who.Username, who.Password, c.server.Host, clear)
	case CRAMMD5:
		return mail.CRAMMD5Auth(who.Username, who.Password)
	case XOAuth2:
		return mail.XOAuth2Auth(who.Username, who.Password)
	}
	return mail.PlainAuth("", who.Username, who.Password, c.server.Host, clear)
}

// cancelAuth ends an AUTH that can't go on.
func (c *Conn) cancelAuth(err error) *Error {
	if _, failed := c.ask(StageAuth, commandTimeout, "*", "*"); failed != nil {
		return failed
	}
	return &Error{Stage: StageAuth, Class: ClassAuth, Err: err}
}

// mechanism is the one to use.
func (c *Conn) mechanism(wanted Mechanism) (Mechanism, bool) {
	parameters, _ := c.Offers("AUTH")
	offered := strings.Fields(strings.ToUpper(parameters))
	candidates := []Mechanism{wanted}
	if wanted == Automatic {
		candidates = []Mechanism{Plain, Login, CRAMMD5}
		if !c.Encrypted {
			candidates = []Mechanism{CRAMMD5, Plain, Login}
		}
	}
	for _, m := range candidates {
		if slices.Contains(offered, string(m)) {
			return m, true
		}
	}
	return "", false
}

// encoded is an initial response; an empty one is written as "=" (RFC 4954, section 4).
func encoded(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}
