package webhook

import (
	"encoding/base64"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/pkg/channel"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Secret is the key of a signature. It does not show in logs.
type Secret []byte

// String hides the key.
func (Secret) String() string { return secretMask }

// GoString hides the key.
func (Secret) GoString() string { return secretMask }

// NewSecret is a secret as endpoints have it, of a key.
func NewSecret(key []byte) string { return Secret(key).text() }

// text is the secret as it was written.
func (s Secret) text() string { return secretPrefix + base64.StdEncoding.EncodeToString(s) }

const (
	secretPrefix = "whsec_"
	secretMask   = secretPrefix + "****"
)

// maskedValue stands for the value of every custom header, which is a credential more often than not. It shows nothing of
// the value, since that may be short; an attempt's record shows the same.
const maskedValue = "****"

// maskedSecret is how a secret is shown: enough to distinguish two, nothing to sign with.
func maskedSecret(secret string) string { return secretMask + secret[max(0, len(secret)-4):] }

func isMasked(secret string) bool { return strings.HasPrefix(secret, secretMask) }

// secrets are the keys of signatures, the values of custom headers, and what a way to authenticate has.
func secrets(r channel.Resource) (all []channel.Secret) {
	e := r.(*configv1.Endpoint)
	add := func(field string, value *string) {
		if *value != "" {
			all = append(all, channel.Secret{Field: field, Value: value})
		}
	}
	for i := range e.GetSecrets() {
		add(at(secretsField, i), &e.Secrets[i])
	}
	for i, h := range e.GetHeaders() {
		add(at("headers", i)+".value", &h.Value)
	}
	for field, value := range authSecrets(e.GetAuth()) {
		add("auth."+field, value)
	}
	return all
}

const secretsField = "secrets"

// maskOf is how a secret is shown.
func maskOf(s channel.Secret) string {
	if strings.HasPrefix(s.Field, secretsField+"[") {
		return maskedSecret(*s.Value)
	}
	return maskedValue
}

// mask hides the secrets of an endpoint.
func mask(r channel.Resource) {
	for _, s := range secrets(r) {
		*s.Value = maskOf(s)
	}
}

// masked reports whether an endpoint came without its secrets. What is masked is never stored.
func masked(r channel.Resource) bool {
	return slices.ContainsFunc(secrets(r), func(s channel.Secret) bool { return *s.Value == maskedValue || isMasked(*s.Value) })
}

// credentials are what requests carry in clear: values of custom headers, and the way to authenticate. A signature shows
// no key, and neither does a TLS handshake.
func credentials(r channel.Resource) []channel.Credential {
	e := r.(*configv1.Endpoint)
	to := receiver(e.GetUrl())
	var all []channel.Credential
	for i, h := range e.GetHeaders() {
		key := "headers." + strings.ToLower(h.GetName())
		all = append(all, channel.Credential{Field: at("headers", i) + ".value", Key: key, To: to, Value: h.GetValue()})
	}
	add := func(field, to, value string) {
		all = append(all, channel.Credential{Field: field, Key: field, To: to, Value: value})
	}
	switch a := e.GetAuth().GetAuth().(type) {
	case *configv1.EndpointAuth_Basic:
		add("auth.basic.password", to, a.Basic.GetPassword())
	case *configv1.EndpointAuth_Bearer:
		add("auth.bearer.token", to, a.Bearer.GetToken())
	case *configv1.EndpointAuth_Header:
		add("auth.header.value", to, a.Header.GetValue())
	case *configv1.EndpointAuth_Oauth2:
		add("auth.oauth2.client_secret", receiver(a.Oauth2.GetTokenUrl()), a.Oauth2.GetClientSecret())
	}
	return all
}

// receiver is who gets a request to a URL: its scheme, host and port. What is no URL is refused elsewhere.
func receiver(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

// unmask puts the stored secret where a client sent back what it was shown: the one at the same place if it looks
// so, else the first that does. What matches none stays masked, and is refused by validateSecrets.
func unmask(next, stored channel.Resource) {
	e := next.(*configv1.Endpoint)
	unmaskValues(e.GetHeaders(), stored.(*configv1.Endpoint).GetHeaders())
	unmaskAuth(e.GetAuth(), stored.(*configv1.Endpoint).GetAuth())
	known := stored.(*configv1.Endpoint).GetSecrets()
	for i, secret := range e.GetSecrets() {
		if !isMasked(secret) {
			continue
		}
		if i < len(known) && maskedSecret(known[i]) == secret {
			e.Secrets[i] = known[i]
			continue
		}
		for _, k := range known {
			if maskedSecret(k) == secret {
				e.Secrets[i] = k
				break
			}
		}
	}
}

// unmaskValues does the same for the values of custom headers, by their name; what has none stays masked, and is refused
// by validateHeaders.
func unmaskValues(headers, known []*configv1.CustomHeader) {
	for _, h := range headers {
		if h.GetValue() != maskedValue {
			continue
		}
		for _, k := range known {
			if strings.EqualFold(k.GetName(), h.GetName()) {
				h.Value = k.GetValue()
				break
			}
		}
	}
}

// unmaskAuth does the same for a way to authenticate that is of the kind that is stored; what is not stays masked, and is
// refused by validateAuth.
func unmaskAuth(next, stored *configv1.EndpointAuth) {
	if reflect.TypeOf(next.GetAuth()) != reflect.TypeOf(stored.GetAuth()) {
		return
	}
	known := maps.Collect(authSecrets(stored))
	for field, secret := range authSecrets(next) {
		if *secret == maskedValue {
			*secret = *known[field]
		}
	}
}

// secretViolation is what is wrong with a secret, empty where nothing is; it never repeats the secret.
func secretViolation(secret string) string {
	if isMasked(secret) {
		return "is masked, and no stored secret looks like it"
	}
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return `must begin with "whsec_"`
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || base64.StdEncoding.EncodeToString(key) != encoded {
		return `must be base64 after "whsec_"`
	}
	if len(key) < 24 || len(key) > 64 {
		return "must be the base64 of 24 to 64 bytes"
	}
	return ""
}
