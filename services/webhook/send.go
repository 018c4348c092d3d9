package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/receiver"
	"github.com/tollgate/tollgate/pkg/secret"
)

// sender posts deliveries.
type sender struct {
	receiver.Client
	clock func() time.Time
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
	if e.Broken != nil {
		class := outbound.ClassRequest
		if errors.Is(e.Broken, secret.ErrUnknownKey) {
			class = outbound.ClassLocal // another replica may have the key, and this one gets it: no attempt is used
		}
		return s.failed(ctx, out, e, "", class, e.Broken)
	}
	second := out.Started.Unix()
	a := s.Do(ctx, &e.Receiver, outbound.Request{
		Header: header(d, e, out.Started), Body: d.Body, KeepFailure: e.answers.keep(second),
		Repeatable: true, // receivers know repeats by webhook-id
	})
	if len(a.Body) > 0 {
		e.answers.kept(second, len(a.Body))
	}
	return s.finished(ctx, out, e, a)
}

// finished is the outcome of a request. Secrets that the receiver sends back are masked.
func (s *sender) finished(ctx context.Context, out delivery.Outcome, e *endpoint, r receiver.Answer) delivery.Outcome {
	if r.Sent != nil {
		out.RequestHeaders = recordedRequest(r.Sent, e)
	}
	out.Phases = delivery.Phases{DNS: r.Phases.DNS, Connect: r.Phases.Connect, TLS: r.Phases.TLS, Wait: r.Phases.Wait, Total: r.Phases.Total}
	out.RepeatedRequest = r.Repeated
	if r.Class != outbound.ClassNone {
		return s.failed(ctx, out, e, r.Token, r.Class, r.Err)
	}
	out.Finished = s.clock()
	out.Status = r.Status
	out.ResponseHeaders = recordedResponse(r.Header)
	for i := range out.ResponseHeaders {
		out.ResponseHeaders[i].Value = e.Hide(out.ResponseHeaders[i].Value, r.Token)
	}
	out.ResponseBody, out.ResponseBodyTruncated = e.HideBody(r.Body, r.Token), r.BodyTruncated
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
	out.ErrorClass, out.Error, out.Fault = string(class), e.Hide(err.Error(), token), faultOf(class)
	return out
}
