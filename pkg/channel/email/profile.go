package email

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/secret"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// collection is the part of a profile's name before its id.
const collection = "smtpProfiles"

// profiles are the targets of e-mail.
var profiles = &channel.Kind{
	Name: "SmtpProfile", Short: "smtp", Field: "smtp_profile", Label: "SMTP profile", One: "an SMTP profile", Collection: collection, Example: "billing",
	InUse:    "SMTP_PROFILE_IN_USE",
	New:      func() channel.Resource { return &configv1.SmtpProfile{} },
	Validate: validate, ByTenant: []string{"host", "port"},
	Replans: replans,
	Secrets: secrets, Mask: mask, Masked: masked, Unmask: unmask, Credentials: credentials, Assign: assign,
	Textless: func(channel.Resource) string { return "sends e-mail, whose texts are fields of its own" },
	Planned:  planned,
	Decode: func(r channel.Resource) (channel.Target, []error) {
		p, faults := Decode(r.(*configv1.SmtpProfile))
		return p, faults
	},
}

// Profile is an account at a mail server. Read from a snapshot that was compiled it may have no more than its names, From
// and whether it is a draft.
type Profile struct {
	// Name is "tenants/{tenant}/smtpProfiles/{profile}".
	Name, Tenant, ID string
	Host             string
	Port             uint16
	TLS              TLS
	// CACertificates is PEM, trusted beside the system's roots.
	CACertificates []byte
	// Username is empty where there is no AUTH.
	Username  string
	Password  Hidden
	Mechanism Mechanism
	// From is the header; ReplyTo and ReturnPath are nil where the profile has none of its own.
	From                Address
	ReplyTo, ReturnPath *Address
	// DKIM is nil for no signature.
	DKIM *DKIM
	// Connections is how many there may be at once, Rate the most messages a second, 0 for no bound.
	Connections, Rate int
	Schedule          *channel.Schedule
	Status            channel.Status
	Paused            bool
	// Activation counts how often the profile was set to active, from 1.
	Activation int64
}

// TLS is how connections to the server are encrypted.
type TLS uint8

const (
	// Required is STARTTLS with a valid certificate.
	Required TLS = iota
	// Opportunistic is STARTTLS where it is offered.
	Opportunistic
	// Implicit is TLS from the first byte, with a valid certificate.
	Implicit
	// None is in clear.
	None
)

// Mechanism is that of AUTH, as the server names it; Automatic is the best that it offers.
type Mechanism string

// Mechanisms of AUTH.
const (
	Automatic Mechanism = ""
	Plain     Mechanism = "PLAIN"
	Login     Mechanism = "LOGIN"
	CRAMMD5   Mechanism = "CRAM-MD5"
	XOAUTH2   Mechanism = "XOAUTH2"
)

// Hidden is a text that does not show in logs.
type Hidden string

// String hides the text.
func (Hidden) String() string { return maskedValue }

// GoString hides the text.
func (Hidden) GoString() string { return maskedValue }

// Defaults of a profile.
const (
	DefaultPort         = 25
	DefaultImplicitPort = 465
	DefaultConnections  = 8
)

var modes = map[configv1.SmtpTls]TLS{
	configv1.SmtpTls_SMTP_TLS_UNSPECIFIED: Required, configv1.SmtpTls_SMTP_TLS_REQUIRED: Required,
	configv1.SmtpTls_SMTP_TLS_OPPORTUNISTIC: Opportunistic, configv1.SmtpTls_SMTP_TLS_IMPLICIT: Implicit, configv1.SmtpTls_SMTP_TLS_NONE: None,
}

var mechanisms = map[configv1.SmtpMechanism]Mechanism{
	configv1.SmtpMechanism_SMTP_MECHANISM_UNSPECIFIED: Automatic, configv1.SmtpMechanism_SMTP_MECHANISM_PLAIN: Plain,
	configv1.SmtpMechanism_SMTP_MECHANISM_LOGIN: Login, configv1.SmtpMechanism_SMTP_MECHANISM_CRAM_MD5: CRAMMD5,
	configv1.SmtpMechanism_SMTP_MECHANISM_XOAUTH2: XOAUTH2,
}

// Planning implements channel.Target. E-mail reaches people: its texts may hold all that an event has.
func (p *Profile) Planning() channel.Planning {
	return channel.Planning{Draft: p.Status == channel.Draft || p.From.Domain == "", Audience: channel.Contact, Texts: true, Form: form{p.From.Domain}}
}

// Decode reads a profile. With faults it is what could be read.
func Decode(p *configv1.SmtpProfile) (*Profile, []error) {
	var faults []error
	out := &Profile{
		Name: p.GetName(), Host: p.GetHost(), CACertificates: []byte(p.GetCaCertificates()), Username: p.GetUsername(), Password: Hidden(p.GetPassword()),
		Port: portOf(p), Connections: DefaultConnections, Rate: int(p.GetRatePerSecond()), Paused: p.GetPaused(), Activation: p.GetActivation(),
	}
	out.Tenant, out.ID = channel.SplitName(p.GetName(), collection)
	var ok bool
	if out.TLS, ok = modes[p.GetTls()]; !ok {
		faults = append(faults, fmt.Errorf("tls %d is not known", p.GetTls()))
	}
	if out.Mechanism, ok = mechanisms[p.GetMechanism()]; !ok {
		faults = append(faults, fmt.Errorf("mechanism %d is not known", p.GetMechanism()))
	}
	if out.Status, ok = channel.StatusOf(p.GetStatus()); !ok {
		faults = append(faults, fmt.Errorf("status %d is not known", p.GetStatus()))
	}
	if c := p.GetConnections(); c > 0 {
		out.Connections = int(c)
	}
	var err error
	if out.From, err = ParseAddress(p.GetFromAddress()); err != nil {
		faults = append(faults, fmt.Errorf("from_address %w", err))
	}
	out.From.Name = shownName(p.GetFromName())
	optional := func(field, text string) *Address {
		if text == "" {
			return nil
		}
		a, err := ParseAddress(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s %w", field, err))
			return nil
		}
		return &a
	}
	out.ReplyTo, out.ReturnPath = optional("reply_to", p.GetReplyTo()), optional("return_path", p.GetReturnPath())
	if d := p.GetDkim(); d != nil && d.GetKey() != maskedValue && !secret.Encrypted(d.GetKey()) {
		key, err := signingKey(d.GetKey())
		if err != nil {
			// The error never quotes the key.
			faults = append(faults, fmt.Errorf("dkim.key %w", err))
		} else {
			out.DKIM = &DKIM{Domain: d.GetDomain(), Selector: d.GetSelector(), Key: key}
		}
	}
	var f fault.Violations
	out.Schedule = channel.DecodeSchedule(p.GetSchedule(), &f)
	if err := f.Err(reason.ConfigInvalid); err != nil {
		faults = append(faults, fmt.Errorf("schedule can't be read: %w", err))
	}
	return out, faults
}

func portOf(p *configv1.SmtpProfile) uint16 {
	switch port := p.GetPort(); {
	case port > 0 && port <= 65535:
		return uint16(port)
	case p.GetTls() == configv1.SmtpTls_SMTP_TLS_IMPLICIT:
		return DefaultImplicitPort
	}
	return DefaultPort
}

var (
	errPEM       = errors.New("must be PEM with one block")
	errKey       = errors.New("must be a private key in PKCS #8, or of RSA in PKCS #1, without a password")
	errAlgorithm = errors.New("must be of RSA or Ed25519: nothing else signs by RFC 6376 and RFC 8463")
	errWeak      = errors.New("must be of RSA with 1,024 to 4,096 bits: verifiers refuse others")
)

// signingKey reads a key of DKIM.
func signingKey(text string) (crypto.Signer, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(rest) > 0 && string(rest) != "\n" && string(rest) != "\r\n" {
		return nil, errPEM
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, errKey
	}
	if err != nil {
		return nil, errKey
	}
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		if n := key.N.BitLen(); n < 1024 || n > 4096 {
			return nil, errWeak
		}
		return key, nil
	}
	return nil, errAlgorithm
}
