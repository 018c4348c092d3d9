package try

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func signed(t *testing.T, id string, at time.Time, body string) http.Header {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := wh.Sign(id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{
		"Webhook-Id": {id}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)}, "Webhook-Signature": {signature},
	}
}

func TestVerify_RefusesWhatIsNotSigned(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	change := func(name, value string) func(http.Header) {
		return func(h http.Header) { h.Set(name, value) }
	}
	for _, tt := range []struct {
		name   string
		change func(http.Header)
		body   string
		at     time.Time
		right  bool
	}{
		{name: "what the library of Standard Webhooks signs is right", right: true},
		{name: "one right signature of several is enough", right: true, change: func(h http.Header) {
			h.Set("webhook-signature", "v1a,AAAA v1,AAAA "+h.Get("webhook-signature"))
		}},
		{name: "another body is not", body: `{"spent":2}`},
		{name: "another id is not", change: change("webhook-id", "dlv_2")},
		{name: "another time is not", change: change("webhook-timestamp", "1790000001")},
		{name: "no time is not", change: change("webhook-timestamp", "")},
		{name: "another version is not", change: func(h http.Header) {
			h.Set("webhook-signature", "v2"+h.Get("webhook-signature")[2:])
		}},
		{name: "no signature is not", change: change("webhook-signature", "")},
		{name: "an old one is not", at: now.Add(-6 * time.Minute)},
		{name: "one of the future is not", at: now.Add(6 * time.Minute)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at, body := now, `{"spent":1}`
			if !tt.at.IsZero() {
				at = tt.at
			}
			header := signed(t, "dlv_1", at, body)
			if tt.change != nil {
				tt.change(header)
			}
			if tt.body != "" {
				body = tt.body
			}
			if err := verify(secret, header, []byte(body), now); (err == nil) != tt.right {
				t.Errorf("verify: %v", err)
			}
		})
	}
}
