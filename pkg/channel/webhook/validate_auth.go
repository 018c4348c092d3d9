package webhook

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"unicode"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// validateAuth adds what is wrong with a way to authenticate. No violation repeats a secret.
func validateAuth(f *fault.Violations, a *configv1.EndpointAuth, policy outbound.Policy) {
	if a == nil {
		return
	}
	switch a := a.GetAuth().(type) {
	case *configv1.EndpointAuth_Basic:
		validateText(f, "auth.basic.username", a.Basic.GetUsername(), notControl)
		if strings.Contains(a.Basic.GetUsername(), ":") {
			f.Add("auth.basic.username", "must not have a colon: the password begins behind it")
		}
		validateSecret(f, "auth.basic.password", a.Basic.GetPassword(), notControl)
	case *configv1.EndpointAuth_Bearer:
		validateSecret(f, "auth.bearer.token", a.Bearer.GetToken(), visible)
	case *configv1.EndpointAuth_Header:
		if text := headerNameViolation(a.Header.GetName()); text != "" {
			f.Add("auth.header.name", "%s", text)
		}
		validateSecret(f, "auth.header.value", a.Header.GetValue(), printable)
		if v := a.Header.GetValue(); strings.TrimSpace(v) != v {
			f.Add("auth.header.value", "%s", noBlanks)
		}
	case *configv1.EndpointAuth_Oauth2:
		validateOAuth2(f, a.Oauth2, policy)
	case *configv1.EndpointAuth_ClientCertificate:
		validateCertificate(f, a.ClientCertificate)
	default:
		f.Add("auth", "must be basic, bearer, header, oauth2 or client_certificate")
	}
}

// authHeader is the header that a way to authenticate sets, in lower case; empty where it sets none.
func authHeader(a *configv1.EndpointAuth) string {
	switch a := a.GetAuth().(type) {
	case *configv1.EndpointAuth_Basic, *configv1.EndpointAuth_Bearer, *configv1.EndpointAuth_Oauth2:
		return "authorization"
	case *configv1.EndpointAuth_Header:
		return strings.ToLower(a.Header.GetName())
	}
	return ""
}

// class is a set of characters, and what it is called.
type class struct {
	has  func(c rune) bool
	name string
}

var (
	notControl = class{func(c rune) bool { return !unicode.IsControl(c) }, "characters that are no control characters"}
	printable  = class{func(c rune) bool { return c >= ' ' && c < 0x7f }, "printable ASCII characters"}
	visible    = class{func(c rune) bool { return c > ' ' && c < 0x7f }, "ASCII characters without blanks"}
	// scope is scope-token of RFC 6749.
	scope = class{func(c rune) bool { return c > ' ' && c < 0x7f && c != '"' && c != '\\' }, `ASCII characters without blanks, " and \`}
)

const noBlanks = "must not begin or end with a blank: it would not arrive"

// validateText adds what is wrong with a text that must be there.
func validateText(f *fault.Violations, field, text string, of class) {
	switch {
	case text == "":
		f.Add(field, "is required")
	case strings.ContainsFunc(text, func(c rune) bool { return !of.has(c) }):
		f.Add(field, "must be %s", of.name)
	}
}

// validateSecret is validateText for a text that is shown masked.
func validateSecret(f *fault.Violations, field, text string, of class) {
	if text == maskedValue {
		f.Add(field, "is masked, and nothing of this kind is stored")
		return
	}
	validateText(f, field, text, of)
}

func validateOAuth2(f *fault.Violations, o *configv1.OAuth2Auth, policy outbound.Policy) {
	if o.GetTokenUrl() == "" {
		f.Add("auth.oauth2.token_url", "is required")
	} else {
		f.AddErr("auth.oauth2.token_url", outbound.CheckURL(o.GetTokenUrl(), policy))
	}
	validateText(f, "auth.oauth2.client_id", o.GetClientId(), printable)
	validateSecret(f, "auth.oauth2.client_secret", o.GetClientSecret(), printable)
	seen := map[string]bool{}
	for i, s := range o.GetScopes() {
		field := at("auth.oauth2.scopes", i)
		validateText(f, field, s, scope)
		if seen[s] {
			f.Add(field, "is there twice")
		}
		seen[s] = true
	}
	if o.GetAudience() != "" {
		validateText(f, "auth.oauth2.audience", o.GetAudience(), printable)
	}
}

// validateCertificate adds what is wrong with a client certificate. One that has expired is no violation: it expires by
// itself as well, and the receiver decides what it is worth.
func validateCertificate(f *fault.Violations, c *configv1.ClientCertificate) {
	const chainField, keyField = "auth.client_certificate.certificate_chain", "auth.client_certificate.private_key"
	chain, key := []byte(c.GetCertificateChain()), []byte(c.GetPrivateKey())
	before := f.Len()
	if len(bytes.TrimSpace(chain)) == 0 {
		f.Add(chainField, "is required")
	} else {
		f.AddErr(chainField, outbound.CheckCAs(chain))
	}
	chainReadable := f.Len() == before
	switch block, rest := pem.Decode(key); {
	case string(key) == maskedValue:
		f.Add(keyField, "is masked, and nothing of this kind is stored")
	case len(bytes.TrimSpace(key)) == 0:
		f.Add(keyField, "is required")
	case block == nil || len(bytes.TrimSpace(rest)) > 0:
		f.Add(keyField, "must be PEM with one block")
	case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
		f.Add(keyField, "must be without a password: openssl pkcs8 -topk8 -nocrypt takes it off")
	case block.Type != "PRIVATE KEY":
		f.Add(keyField, "must be PKCS #8: openssl pkcs8 -topk8 -nocrypt writes it so")
	default:
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
			f.Add(keyField, "must be a private key in PKCS #8")
			break
		}
		if !chainReadable {
			break
		}
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil {
			f.Add(keyField, "is not the key of the first certificate of the chain")
			break
		}
		validateChain(f, chainField, pair.Certificate)
	}
}

// validateChain adds certificates that are not of the issuer of the one before.
func validateChain(f *fault.Violations, field string, chain [][]byte) {
	var before *x509.Certificate
	for i, raw := range chain {
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			return // it was read before
		}
		if before != nil && !bytes.Equal(before.RawIssuer, cert.RawSubject) {
			f.Add(field, "must be in order: certificate %d is not of the issuer of the one before", i+1)
		}
		before = cert
	}
}
