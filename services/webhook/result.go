package webhook

import (
	"net/http"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
)

// classify is what a response shows: only 2xx is success; a redirect is a response like any other and is not followed.
func classify(out *delivery.Outcome, header http.Header) {
	if out.Status >= 200 && out.Status < 300 {
		out.Result = delivery.Accepted
		return
	}
	out.RetryAfter = webhook.RetryAfter(out.Status, header.Get("Retry-After"), header.Get("Date"), out.Finished)
	out.Busy = out.Status == http.StatusTooManyRequests || out.Status >= 500
	switch {
	case out.Status == http.StatusGone:
		out.Fault = delivery.FaultGone
	case out.Status == http.StatusTooManyRequests, out.RetryAfter > 0:
		out.Fault = delivery.FaultThrottled
	default:
		out.Fault = delivery.FaultReceiver
	}
}

// faultOf is whose fault it is that there was no response.
func faultOf(class outbound.Class) delivery.Fault {
	switch class {
	case outbound.ClassTimeout:
		return delivery.FaultSlow
	case outbound.ClassLocal, outbound.ClassCancelled:
		return delivery.FaultOurs
	}
	return delivery.FaultReceiver
}
