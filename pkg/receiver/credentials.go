package receiver

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/outbound"
)

// credentials are what an endpoint's requests authenticate with, made once for each revision.
type credentials struct {
	// header and value go with each request; both are empty where there are none.
	header, value string
	// grant is how tokens are asked for; nil where none is needed.
	grant *outbound.Grant
	// certificate is shown in the handshake; nil: none.
	certificate *tls.Certificate
	// secrets are texts that must not be recorded, wherever they show up.
	secrets []string
}

// Masked stands for a value that must not be read.
const Masked = "****"

const (
	headerAuthorization = "Authorization"
	// shortestSecret is the length from which on a secret is masked inside of other texts, shortestValue that of a custom
	// header's value: what is shorter may be a word.
	shortestSecret = 6
	shortestValue  = 16
)

func credentialsOf(e *webhook.Endpoint) (credentials, error) {
	var c credentials
	var err error
	switch a := e.Auth.(type) {
	case webhook.Basic:
		pair := base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + string(a.Password)))
		c.header, c.value = headerAuthorization, "Basic "+pair
		c.secrets = []string{string(a.Password), pair}
	case webhook.Bearer:
		c.header, c.value = headerAuthorization, "Bearer "+string(a.Token)
		c.secrets = []string{string(a.Token)}
	case webhook.Key:
		c.header, c.value = http.CanonicalHeaderKey(a.Header), string(a.Value)
		c.secrets = []string{string(a.Value)}
	case webhook.OAuth2:
		c.header, c.secrets = headerAuthorization, []string{string(a.ClientSecret)}
		c.grant = &outbound.Grant{
			Owner: e.Name, ClientID: a.ClientID, Secret: string(a.ClientSecret), Scopes: a.Scopes, Audience: a.Audience, InBody: a.InBody,
		}
		if c.grant.TokenURL, err = url.Parse(a.TokenURL); err != nil {
			return c, fmt.Errorf("the URL for tokens can't be read: %w", withoutURL(err))
		}
	case webhook.Certificate:
		pair, err := tls.X509KeyPair([]byte(a.Chain), []byte(a.Key))
		if err != nil {
			return c, fmt.Errorf("the client certificate can't be read: %w", err)
		}
		c.certificate = &pair
	}
	for _, own := range e.Headers {
		if len(own.Value) >= shortestValue {
			c.secrets = append(c.secrets, own.Value)
		}
	}
	for _, s := range e.Secrets {
		text := webhook.NewSecret(s)
		c.secrets = append(c.secrets, text, text[strings.IndexByte(text, '_')+1:])
	}
	c.secrets = slices.DeleteFunc(c.secrets, func(s string) bool { return len(s) < shortestSecret })
	// One that holds another goes first.
	slices.SortFunc(c.secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return c, nil
}

// withoutURL is the error of a parser without what it quotes.
func withoutURL(err error) error {
	if u, ok := err.(*url.Error); ok { //nolint:errorlint // of url.Parse alone
		return u.Err
	}
	return err
}

// AuthParts adds to a fingerprint of an endpoint all of its authentication that may turn a refusal into a success.
func AuthParts(e *webhook.Endpoint, part func([]byte)) {
	texts := func(kind string, all ...string) {
		part([]byte(kind))
		for _, s := range all {
			part([]byte(s))
		}
	}
	switch a := e.Auth.(type) {
	case webhook.Basic:
		texts("basic", a.Username, string(a.Password))
	case webhook.Bearer:
		texts("bearer", string(a.Token))
	case webhook.Key:
		texts("key", a.Header, string(a.Value))
	case webhook.OAuth2:
		texts("oauth2", a.TokenURL, a.ClientID, string(a.ClientSecret), a.Audience, fmt.Sprint(a.InBody))
		texts("scopes", a.Scopes...)
	case webhook.Certificate:
		texts("certificate", a.Chain, string(a.Key))
	}
}

// hide masks the endpoint's secrets, and token where it is not empty, in a text that others wrote.
func (c *credentials) hide(text, token string) string {
	if len(token) >= shortestSecret {
		text = strings.ReplaceAll(text, token, Masked)
	}
	for _, s := range c.secrets {
		text = strings.ReplaceAll(text, s, Masked)
	}
	return text
}

// hideBody is hide for a response's body.
func (c *credentials) hideBody(body []byte, token string) []byte {
	found := len(token) >= shortestSecret && bytes.Contains(body, []byte(token)) ||
		slices.ContainsFunc(c.secrets, func(s string) bool { return bytes.Contains(body, []byte(s)) })
	if !found {
		return body
	}
	return []byte(c.hide(string(body), token))
}
