package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Who may write and not read must not have a stored secret sent to himself.
func TestStoredCredentialsAreNotSentElsewhere(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const name = "tenants/acme/endpoints/e"
	basic := func(password string) *configv1.EndpointAuth {
		return &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Basic{Basic: &configv1.BasicAuth{Username: "u", Password: password}}}
	}
	oauth2 := func(url, secret string) *configv1.EndpointAuth {
		return &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Oauth2{Oauth2: &configv1.OAuth2Auth{TokenUrl: url, ClientId: "c", ClientSecret: secret}}}
	}
	key := func(value string) []*configv1.CustomHeader {
		return []*configv1.CustomHeader{{Name: "x-plain", Value: "1"}, {Name: "X-Key", Value: value}}
	}
	const here, there = "https://hooks.example.com/a", "https://else.example.com/a"
	for what, tc := range map[string]struct {
		before, change *configv1.Endpoint
		mask           []string
		want           []string
	}{
		"the URL alone":            {&configv1.Endpoint{Auth: basic("hush")}, &configv1.Endpoint{Url: there}, []string{"url"}, []string{"endpoint.auth.basic.password"}},
		"the URL beside the mask":  {&configv1.Endpoint{Auth: basic("hush")}, &configv1.Endpoint{Url: there, Secrets: []string{secretA}, Auth: basic("****")}, nil, []string{"endpoint.auth.basic.password"}},
		"another port":             {&configv1.Endpoint{Auth: basic("hush")}, &configv1.Endpoint{Url: "https://hooks.example.com:8443/a"}, []string{"url"}, []string{"endpoint.url", "endpoint.auth.basic.password"}},
		"another path":             {&configv1.Endpoint{Auth: basic("hush")}, &configv1.Endpoint{Url: "https://HOOKS.example.com/b?c"}, []string{"url"}, nil},
		"the secret given again":   {&configv1.Endpoint{Auth: basic("hush")}, &configv1.Endpoint{Url: there, Auth: basic("hush")}, []string{"url", "auth"}, nil},
		"another secret":           {&configv1.Endpoint{Auth: basic("hush")}, &configv1.Endpoint{Url: there, Auth: basic("new")}, []string{"url", "auth"}, nil},
		"no secret any more":       {&configv1.Endpoint{Auth: basic("hush")}, &configv1.Endpoint{Url: there}, []string{"url", "auth"}, nil},
		"only a signature":         {&configv1.Endpoint{}, &configv1.Endpoint{Url: there}, []string{"url"}, nil},
		"headers":                  {&configv1.Endpoint{Headers: key("hush")}, &configv1.Endpoint{Url: there}, []string{"url"}, []string{"endpoint.headers[0].value", "endpoint.headers[1].value"}},
		"one header masked":        {&configv1.Endpoint{Headers: key("hush")}, &configv1.Endpoint{Url: there, Headers: key("****")}, []string{"url", "headers"}, []string{"endpoint.headers[1].value"}},
		"headers in another order": {&configv1.Endpoint{Headers: key("hush")}, &configv1.Endpoint{Url: there, Headers: key("****")[1:]}, []string{"url", "headers"}, []string{"endpoint.headers[0].value"}},
		"where a token comes from": {&configv1.Endpoint{Auth: oauth2(here, "hush")}, &configv1.Endpoint{Auth: oauth2(there, "****")}, []string{"auth"}, []string{"endpoint.auth.oauth2.client_secret"}},
		"that alone":               {&configv1.Endpoint{Auth: oauth2(here, "hush")}, &configv1.Endpoint{Auth: oauth2(there, "")}, []string{"auth.oauth2.token_url"}, []string{"endpoint.auth.oauth2.client_secret"}},
		"not where a token goes":   {&configv1.Endpoint{Auth: oauth2(here, "hush")}, &configv1.Endpoint{Url: there}, []string{"url"}, nil},
	} {
		r := start(t)
		r.tenant("acme")
		tc.before.Name, tc.before.Url, tc.before.Secrets, tc.change.Name = name, here, []string{secretA}, name
		must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: tc.before}))
		before := r.snapshot(0)
		q := &configv1.UpdateEndpointRequest{Endpoint: tc.change}
		if tc.mask != nil {
			q.UpdateMask = mask(tc.mask...)
		}
		_, err := r.ends.UpdateEndpoint(ctx, q)
		if diff := cmp.Diff(tc.want, fields(err)); diff != "" || (err == nil) != (tc.want == nil) {
			t.Errorf("%s: %v %s", what, err, diff)
		}
		if err == nil {
			continue
		}
		if v := fault.ViolationsOf(err); v[len(v)-1].Reason != "SECRET_REQUIRED" || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", what, err)
		}
		if !proto.Equal(before, r.snapshot(0)) {
			t.Errorf("%s: refused, and changed", what)
		}
	}
}
