package webhook

import (
	"errors"
	"iter"
	"slices"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Auth is how requests authenticate beside the signature: Basic, Bearer, Key, OAuth2 or Certificate.
type Auth interface{ isAuth() }

// Basic is RFC 7617.
type Basic struct {
	Username string
	Password Hidden
}

// Bearer is RFC 6750.
type Bearer struct{ Token Hidden }

// Key is a secret in a header of its own.
type Key struct {
	Header string
	Value  Hidden
}

// OAuth2 is the client credentials grant of RFC 6749.
type OAuth2 struct {
	TokenURL, ClientID string
	ClientSecret       Hidden
	Scopes             []string
	// Audience is a parameter of the request for a token; empty where it has none.
	Audience string
	// InBody puts id and secret of the client into the body, else into the header Authorization.
	InBody bool
}

// Certificate is shown in the TLS handshake, both parts in PEM.
type Certificate struct {
	// Chain is the certificate, then those of its issuers.
	Chain string
	Key   Hidden
}

func (Basic) isAuth()       {}
func (Bearer) isAuth()      {}
func (Key) isAuth()         {}
func (OAuth2) isAuth()      {}
func (Certificate) isAuth() {}

// Hidden is a text that does not show in logs.
type Hidden string

// String hides the text.
func (Hidden) String() string { return maskedValue }

// GoString hides the text.
func (Hidden) GoString() string { return maskedValue }

// decodeAuth reads a way to authenticate; nil where there is none.
func decodeAuth(a *configv1.EndpointAuth) (Auth, error) {
	switch a := a.GetAuth().(type) {
	case *configv1.EndpointAuth_Basic:
		return Basic{a.Basic.GetUsername(), Hidden(a.Basic.GetPassword())}, nil
	case *configv1.EndpointAuth_Bearer:
		return Bearer{Hidden(a.Bearer.GetToken())}, nil
	case *configv1.EndpointAuth_Header:
		return Key{a.Header.GetName(), Hidden(a.Header.GetValue())}, nil
	case *configv1.EndpointAuth_Oauth2:
		o := a.Oauth2
		return OAuth2{o.GetTokenUrl(), o.GetClientId(), Hidden(o.GetClientSecret()), slices.Clone(o.GetScopes()), o.GetAudience(), o.GetCredentialsInBody()}, nil
	case *configv1.EndpointAuth_ClientCertificate:
		return Certificate{a.ClientCertificate.GetCertificateChain(), Hidden(a.ClientCertificate.GetPrivateKey())}, nil
	}
	if a != nil {
		return nil, errors.New("the way to authenticate is not known")
	}
	return nil, nil //nolint:nilnil // no way is what most endpoints have
}

// authSecrets are the fields of a way to authenticate that are secrets, by their paths in it.
func authSecrets(a *configv1.EndpointAuth) iter.Seq2[string, *string] {
	return func(yield func(string, *string) bool) {
		switch a := a.GetAuth().(type) {
		case *configv1.EndpointAuth_Basic:
			yield("basic.password", &a.Basic.Password)
		case *configv1.EndpointAuth_Bearer:
			yield("bearer.token", &a.Bearer.Token)
		case *configv1.EndpointAuth_Header:
			yield("header.value", &a.Header.Value)
		case *configv1.EndpointAuth_Oauth2:
			yield("oauth2.client_secret", &a.Oauth2.ClientSecret)
		case *configv1.EndpointAuth_ClientCertificate:
			yield("client_certificate.private_key", &a.ClientCertificate.PrivateKey)
		}
	}
}
