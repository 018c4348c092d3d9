package webhook

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
)

// sender posts deliveries.
type sender struct {
	pool   *outbound.Pool
	tokens *outbound.Tokens
	clock  func() time.Time
	// newest is the endpoint of a name as the newest revision has it; nil where there is none.
	newest func(name string) *endpoint
}

// Send implements delivery.Sender: one signed POST, classified by its status. Only 2xx is success; a redirect is a response
// like any other and is not followed. The endpoint is that of the newest revision when the request starts.
func (s *sender) Send(ctx context.Context, d *delivery.Delivery, to delivery.Target, _ int) delivery.Outcome {
	e := to.(*endpoint)
	if now := s.newest(e.Name); now != nil {
		e = now
	}
	return s.attempt(ctx, d, e)
}

func (s *sender) attempt(ctx context.Context, d *delivery.Delivery, e *endpoint) delivery.Outcome {
	out := delivery.Outcome{Started: s.clock()}
	if e.broken != nil {
		return s.failed(ctx, out, e, "", outbound.ClassRequest, e.broken)
	}
	client, err := s.pool.Client(e.identity)
	if err != nil { // its certificates were read when the endpoint was made
		return s.failed(ctx, out, e, "", outbound.ClassLocal, err)
	}
	h := header(d, e, out.Started)
	if e.credentials.grant == nil {
		if e.credentials.header != "" {
			h[e.credentials.header] = []string{e.credentials.value}
		}
		return s.finished(ctx, out, e, h, "", s.post(ctx, client, d, e, h))
	}
	return s.withToken(ctx, out, client, d, e, h)
}

// withToken sends with an access token. Where a token that was kept is refused, a new one is asked for and the request
// sent again, unless it was sent twice already.
func (s *sender) withToken(ctx context.Context, out delivery.Outcome, c *outbound.Client, d *delivery.Delivery, e *endpoint, h http.Header) delivery.Outcome {
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	grant := e.credentials.grant
	token, kept, class, err := s.tokens.Token(within, c, e.identity, grant)
	if err != nil {
		return s.failed(ctx, out, e, "", class, err)
	}
	h[headerAuthorization] = []string{"Bearer " + token}
	r := s.post(within, c, d, e, h)
	if r.Status == http.StatusUnauthorized && kept {
		s.tokens.Drop(e.identity, grant, token)
		if !r.Repeated {
			// Without a token the refusal stays the result.
			if next, _, _, err := s.tokens.Token(within, c, e.identity, grant); err == nil {
				token, h = next, maps.Clone(h) // net/http may still read the one before
				h[headerAuthorization] = []string{"Bearer " + token}
				r = s.post(within, c, d, e, h)
				r.Repeated = true
			}
		}
	}
	r.Phases.Total = time.Since(began)
	return s.finished(ctx, out, e, h, token, r)
}

func (s *sender) post(ctx context.Context, c *outbound.Client, d *delivery.Delivery, e *endpoint, h http.Header) outbound.Result {
	second := s.clock().Unix()
	r := c.Do(ctx, outbound.Request{
		URL: e.url, Header: h, Body: d.Body,
		Timeout: e.Timeout, ConnectTimeout: e.Phases.Connect, TLSTimeout: e.Phases.TLS, ResponseTimeout: e.Phases.Response,
		KeepFailure: e.answers.keep(second),
		Repeatable:  true, // receivers know repeats by webhook-id
	})
	if len(r.Body) > 0 {
		e.answers.kept(second, len(r.Body))
	}
	return r
}

// finished is the outcome of a request. Secrets that the receiver sends back are masked.
func (s *sender) finished(ctx context.Context, out delivery.Outcome, e *endpoint, h http.Header, token string, r outbound.Result) delivery.Outcome {
	out.RequestHeaders = recordedRequest(h, e)
	out.Phases = delivery.Phases{DNS: r.Phases.DNS, Connect: r.Phases.Connect, TLS: r.Phases.TLS, Wait: r.Phases.Wait, Total: r.Phases.Total}
	out.RepeatedRequest = r.Repeated
	if r.Class != outbound.ClassNone {
		return s.failed(ctx, out, e, token, r.Class, r.Err)
	}
	out.Finished = s.clock()
	out.Status = r.Status
	out.ResponseHeaders = recordedResponse(r.Header)
	for i := range out.ResponseHeaders {
		out.ResponseHeaders[i].Value = e.credentials.hide(out.ResponseHeaders[i].Value, token)
	}
	out.ResponseBody, out.ResponseBodyTruncated = e.credentials.hideBody(r.Body, token), r.BodyTruncated
	classify(&out, r.Header)
	return out
}

// failed is the outcome where there is no response.
func (s *sender) failed(ctx context.Context, out delivery.Outcome, e *endpoint, token string, class outbound.Class, err error) delivery.Outcome {
	out.Finished = s.clock()
	// Broken off by us, whatever the error looks like: it shows nothing about the receiver.
	out.Unfinished = errors.Is(ctx.Err(), context.Canceled)
	if class == outbound.ClassLocal {
		out.Result = delivery.LocalFailure
	}
	out.ErrorClass, out.Error, out.Fault = string(class), e.credentials.hide(err.Error(), token), faultOf(class)
	return out
}
