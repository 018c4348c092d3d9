package receiver

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/outbound"
)

// Receiver is one as requests need it; made once for each revision that changed it.
type Receiver struct {
	*webhook.Endpoint
	Identity outbound.Identity
	// Broken is why nothing can be sent; nil where something can.
	Broken error

	credentials credentials
}

// New makes an endpoint ready for requests, under the policy of its tenant and beside the networks that the operator denies.
func New(e *webhook.Endpoint, policy outbound.Policy, denied []netip.Prefix) Receiver {
	r := Receiver{Endpoint: e}
	within := policy
	within.Denied = append(within.Denied[:len(within.Denied):len(within.Denied)], denied...)
	var err error
	if _, err = url.Parse(e.URL); err != nil {
		r.Broken = fmt.Errorf("the endpoint's URL can't be read: %w", withoutURL(err))
	}
	if r.credentials, err = credentialsOf(e); err != nil {
		r.Broken = err
	}
	if r.Identity, err = outbound.NewIdentity(e.Tenant, within, e.CACertificates, r.credentials.certificate); err != nil {
		r.Broken = fmt.Errorf("the endpoint's certificates can't be read: %w", err)
	}
	return r
}

// AuthHeader is the header that the receiver's authentication sets; empty where there is none.
func (r *Receiver) AuthHeader() string { return r.credentials.header }

// Client makes requests.
type Client struct {
	Pool   *outbound.Pool
	Tokens *outbound.Tokens
}

// Answer is the end of a request. Nothing in it is masked yet.
type Answer struct {
	outbound.Result
	// Header are the headers that were sent; nil where no request was made.
	Sent http.Header
	// Token is the access token that was sent, for Hide; empty where there was none.
	Token string
}

// Do makes one request to r, whose Broken is nil. It sets the address and the authentication of req, and its timeouts where r
// has them. Where an access token that was kept is refused, a new one is asked for and the request sent again, unless it was
// sent twice already.
func (c *Client) Do(ctx context.Context, r *Receiver, req outbound.Request) Answer {
	client, err := c.Pool.Client(r.Identity)
	if err != nil { // its certificates were read when it was made
		return Answer{Result: outbound.Result{Class: outbound.ClassLocal, Err: err}}
	}
	// It is read at each request: of 100,000 endpoints few are sent to at once.
	if req.URL, err = url.Parse(r.URL); err != nil {
		return Answer{Result: outbound.Result{Class: outbound.ClassLocal, Err: withoutURL(err)}}
	}
	req.Timeout = r.Timeout
	req.ConnectTimeout, req.TLSTimeout, req.ResponseTimeout = r.Phases.Connect, r.Phases.TLS, r.Phases.Response
	if r.credentials.grant != nil {
		return c.withToken(ctx, client, r, req)
	}
	if r.credentials.header != "" {
		req.Header[r.credentials.header] = []string{r.credentials.value}
	}
	return Answer{Result: client.Do(ctx, req), Sent: req.Header}
}

func (c *Client) withToken(ctx context.Context, client *outbound.Client, r *Receiver, req outbound.Request) Answer {
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	grant := r.credentials.grant
	token, kept, class, err := c.Tokens.Token(within, client, r.Identity, grant)
	if err != nil {
		return Answer{Result: outbound.Result{Class: class, Err: err}}
	}
	req.Header[headerAuthorization] = []string{"Bearer " + token}
	res := client.Do(within, req)
	if res.Status == http.StatusUnauthorized && kept {
		c.Tokens.Drop(r.Identity, grant, token)
		if !res.Repeated {
			// Without a token the refusal stays the result.
			if next, _, _, err := c.Tokens.Token(within, client, r.Identity, grant); err == nil {
				token, req.Header = next, maps.Clone(req.Header) // net/http may still read the one before
				req.Header[headerAuthorization] = []string{"Bearer " + token}
				res = client.Do(within, req)
				res.Repeated = true
			}
		}
	}
	res.Phases.Total = time.Since(began)
	return Answer{Result: res, Sent: req.Header, Token: token}
}

// Hide masks the receiver's secrets, and token where it is not empty, in a text that others wrote.
func (r *Receiver) Hide(text, token string) string { return r.credentials.hide(text, token) }

// HideBody is Hide for a response's body.
func (r *Receiver) HideBody(body []byte, token string) []byte {
	return r.credentials.hideBody(body, token)
}
