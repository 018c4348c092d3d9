package email

import (
	"errors"
	"net/mail"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Address is one mailbox with the name that is shown beside it. It masks itself in logs.
type Address struct {
	// Name is shown; empty where there is none.
	Name string `json:"name,omitempty"`
	// Local is the part before "@", without quotes.
	Local string `json:"local"`
	// Domain is in ASCII (RFC 5891), in lower case.
	Domain string `json:"domain"`
}

// Bounds of an address: RFC 5321, section 4.5.3.1, and erratum 1690 of RFC 3696.
const (
	maxLocal   = 64
	maxMailbox = 254
	maxShown   = 256 // bytes of a display name
)

var (
	errNoAddress = errors.New("is not exactly one address")
	errLocal     = errors.New("has a part before @ that is longer than 64 bytes or has control characters")
	errDomain    = errors.New("has a domain that can't be one of the DNS")
	errTooLong   = errors.New("is longer than 254 bytes")
	hostnames    = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.VerifyDNSLength(true))
)

// ParseAddress reads exactly one address in a form of RFC 5322: with or without a name, quotes, comments and characters
// beyond ASCII. A list, a group, an address literal and anything beside the address is an error.
func ParseAddress(text string) (Address, error) {
	parsed, err := mail.ParseAddress(strings.TrimSpace(text))
	if err != nil {
		return Address{}, errNoAddress
	}
	i := strings.LastIndexByte(parsed.Address, '@')
	a := Address{Name: shownName(parsed.Name), Local: norm.NFC.String(parsed.Address[:i])}
	if a.Local == "" || len(a.Local) > maxLocal || strings.ContainsFunc(a.Local, isBreak) {
		return Address{}, errLocal
	}
	domain, err := hostnames.ToASCII(parsed.Address[i+1:])
	if err != nil || domain == "" {
		return Address{}, errDomain
	}
	a.Domain = strings.ToLower(domain)
	if len(a.Mailbox()) > maxMailbox {
		return Address{}, errTooLong
	}
	return a, nil
}

// Mailbox is "local@domain" as RFC 5321 has it, the local part quoted where it must be.
func (a Address) Mailbox() string {
	text := (&mail.Address{Address: a.Local + "@" + a.Domain}).String()
	return text[1 : len(text)-1]
}

// Key is equal for two addresses that are one without regard to case.
func (a Address) Key() string { return strings.ToLower(a.Local) + "@" + a.Domain }

// UTF8 reports whether the address needs SMTPUTF8 (RFC 6531).
func (a Address) UTF8() bool { return !isASCII(a.Local) }

// SuppressionID is the last part of the name of the address's suppression: its key, all bytes but letters, digits and
// "-._~" percent-encoded.
func (a Address) SuppressionID() string {
	const hex = "0123456789ABCDEF"
	key := a.Key()
	out := make([]byte, 0, len(key)+8)
	for i := range len(key) {
		c := key[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			out = append(out, c)
			continue
		}
		out = append(out, '%', hex[c>>4], hex[c&15])
	}
	return string(out)
}

// ParseSuppressionID reads an id of a suppression. One that SuppressionID would not write is an error, so that an address
// has one name.
func ParseSuppressionID(id string) (Address, error) {
	key, err := url.PathUnescape(id)
	if err != nil {
		return Address{}, errNoAddress
	}
	i := strings.LastIndexByte(key, '@')
	if i < 0 {
		return Address{}, errNoAddress
	}
	a, err := ParseAddress((&mail.Address{Address: key}).String())
	if err != nil {
		return Address{}, err
	}
	if a.SuppressionID() != id {
		return Address{}, errors.New("must be the address in lower case, percent-encoded: " + a.SuppressionID())
	}
	return a, nil
}

// String hides all but the first character and the domain.
func (a Address) String() string {
	for _, first := range a.Local {
		return string(first) + "***@" + a.Domain
	}
	return ""
}

// GoString hides the same.
func (a Address) GoString() string { return a.String() }

// shownName is a display name on one line, within its bound.
func shownName(name string) string { return cut(oneLine(name), maxShown) }

// cut keeps the first bytes of a text, and no part of a character.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}

// isBreak is a control character or a separator of lines or paragraphs. None may reach a header.
func isBreak(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

// oneLine is a text fit for a header: UTF-8, and one blank for each run of blanks and breaks that has a break, none at the
// ends.
func oneLine(text string) string {
	text = strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
	if !strings.ContainsFunc(text, isBreak) {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		i := strings.IndexFunc(text, isBreak)
		if i < 0 {
			out.WriteString(text)
			break
		}
		out.WriteString(strings.TrimRight(text[:i], " "))
		out.WriteByte(' ')
		text = strings.TrimLeftFunc(text[i:], func(r rune) bool { return r == ' ' || isBreak(r) })
	}
	return strings.TrimSpace(out.String())
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}
