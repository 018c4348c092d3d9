package receiver

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
)

// Stages are when a handler is asked.
const (
	StageBefore = webhook.StageBefore
	StageAfter  = webhook.StageAfter
	StageTest   = webhook.StageTest
)

// Question is what a handler is asked about an event, in JSON: all of its data.
func Question(e *event.Event, stage string) ([]byte, error) {
	return webhook.Question(e, stage, channel.Contact)
}

// QuestionHeader are the headers of a question: the receiver's own, and those of Standard Webhooks, signed where the receiver
// has secrets.
func (r *Receiver) QuestionHeader(id string, at time.Time, body []byte) http.Header {
	const headerSignature = "Webhook-Signature"
	h := make(http.Header, 4+len(r.Headers))
	for _, own := range r.Headers {
		h.Add(own.Name, own.Value)
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Del(headerSignature)
	if signature := webhook.Sign(r.Secrets, id, at, body); signature != "" {
		h.Set(headerSignature, signature)
	}
	h.Set("Content-Type", webhook.TypeQuestion)
	return h
}
