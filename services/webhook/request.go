package webhook

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/receiver"
)

// Names of the headers as net/http keys them.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
	headerSequence  = "Tollgate-Sequence"
	headerPrevious  = "Tollgate-Previous"
	headerReplay    = "Tollgate-Replay"
	headerType      = "Content-Type"
	headerTrace     = "Traceparent"
)

// header makes the headers of one attempt: the endpoint's own, those of its
// payload profile, and ours, which none of them replaces.
func header(d *delivery.Delivery, e *endpoint, at time.Time) http.Header {
	h := make(http.Header, 8+len(e.Headers)+len(d.Headers))
	for _, own := range e.Headers {
		h.Add(own.Name, own.Value)
	}
	for _, own := range d.Headers {
		if own.Name == webhook.HeaderTransatel {
			own.Value = webhook.SignTransatel(e.Secrets, d.Body)
		}
		h.Set(own.Name, own.Value)
	}
	// One piece of memory for all values; each may be handed to net/http alone.
	values := make([]string, 0, 8)
	set := func(name, value string) {
		values = append(values, value)
		n := len(values)
		h[name] = values[n-1 : n : n]
	}
	set(headerID, d.ID)
	set(headerTimestamp, strconv.FormatInt(at.Unix(), 10))
	delete(h, headerSignature)
	if signature := webhook.Sign(e.Secrets, d.ID, at, d.Body); signature != "" {
		set(headerSignature, signature)
	}
	if d.ContentType != "" {
		set(headerType, d.ContentType)
	}
	delete(h, headerSequence)
	delete(h, headerPrevious)
	delete(h, headerReplay)
	if d.Sequence > 0 {
		set(headerSequence, strconv.FormatInt(d.Sequence, 10))
	}
	if d.Previous != "" {
		set(headerPrevious, d.Previous)
	}
	if d.ReplayJob != "" {
		set(headerReplay, d.ReplayJob)
	}
	if d.Trace != "" {
		set(headerTrace, d.Trace)
	}
	return h
}

// masked stands for a value that must not be read.
const masked = receiver.Masked

// recordedRequest is what the attempt's record holds of the headers sent: all
// of them, but no value that a tenant gave us, which are its keys more often
// than not.
func recordedRequest(h http.Header, e *endpoint) []delivery.Header {
	out := recorded(h)
	for _, own := range e.Headers {
		name := http.CanonicalHeaderKey(own.Name)
		for i := range out {
			if out[i].Name == name && slices.Contains(h[name], own.Value) && !ours(name) {
				out[i].Value = masked
			}
		}
	}
	if name := e.AuthHeader(); name != "" {
		for i := range out {
			if out[i].Name == name {
				out[i].Value = masked
			}
		}
	}
	return out
}

// ours are the headers whose value is never the tenant's.
func ours(name string) bool {
	return strings.HasPrefix(name, "Webhook-") || strings.HasPrefix(name, "Tollgate-")
}

// recordedResponse is what the attempt's record holds of the answer's headers.
func recordedResponse(h http.Header) []delivery.Header {
	out := recorded(h)
	for i := range out {
		if out[i].Name == "Set-Cookie" || out[i].Name == "Authorization" {
			out[i].Value = masked
		}
	}
	return out
}

// recorded lists headers by name; empty values, which are not sent, are left out.
func recorded(h http.Header) []delivery.Header {
	out := make([]delivery.Header, 0, len(h))
	for name, values := range h {
		for _, v := range values {
			out = append(out, delivery.Header{Name: name, Value: v})
		}
	}
	slices.SortStableFunc(out, func(a, b delivery.Header) int { return strings.Compare(a.Name, b.Name) })
	return out
}
