package webhook

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
)

// sender posts deliveries.
type sender struct {
	pool  *outbound.Pool
	clock func() time.Time
}

// Send implements delivery.Sender: one signed POST, classified by its status.
func (s *sender) Send(ctx context.Context, d *delivery.Delivery, to delivery.Target, _ int) delivery.Outcome {
	e := to.(*endpoint)
	out := delivery.Outcome{Started: s.clock()}
	if e.broken != nil {
		return s.unsent(out, e.broken)
	}
	client, err := s.pool.Client(e.identity)
	if err != nil { // its certificates were read when the endpoint was made
		out = s.unsent(out, err)
		out.Result, out.ErrorClass = delivery.LocalFailure, string(outbound.ClassLocal)
		return out
	}
	h := header(d, e, out.Started)
	out.RequestHeaders = recordedRequest(h, e)
	r := client.Do(ctx, outbound.Request{
		URL: e.url, Header: h, Body: d.Body, Timeout: e.Timeout,
		Repeatable: true, // receivers know repeats by webhook-id
	})
	out.Finished = s.clock()
	out.Phases = delivery.Phases{DNS: r.Phases.DNS, Connect: r.Phases.Connect, TLS: r.Phases.TLS, Wait: r.Phases.Wait, Total: r.Phases.Total}
	if r.Class != outbound.ClassNone {
		// Broken off by us, whatever the error looks like: it says nothing about the receiver.
		out.Unfinished = ctx.Err() != nil
		if r.Class == outbound.ClassLocal {
			out.Result = delivery.LocalFailure
		}
		out.ErrorClass, out.Error, out.Fault = string(r.Class), r.Err.Error(), faultOf(r.Class)
		return out
	}
	out.Status = r.Status
	out.ResponseHeaders = recordedResponse(r.Header)
	out.ResponseBody, out.ResponseBodyTruncated = r.Body, r.BodyTruncated
	classify(&out, r.Header)
	return out
}

// unsent is the outcome where there was nothing to send with.
func (s *sender) unsent(out delivery.Outcome, err error) delivery.Outcome {
	out.Finished = s.clock()
	out.ErrorClass, out.Error = string(outbound.ClassRequest), err.Error()
	return out
}
