package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/revision"
)

func TestTheSignatureOfTheSpecificationsExample(t *testing.T) {
	// From the specification's text: secret, id, timestamp and payload of its example.
	secret := []byte{0x31, 0xf2, 0x90, 0xab, 0xdb, 0x06, 0x28, 0x9a, 0xab, 0x4e, 0xc0, 0xd4, 0x0f, 0xc2, 0x0b, 0x20, 0xf6, 0x48, 0x36, 0x2d, 0x9a, 0x2d, 0xa4, 0x36}
	at := time.Unix(1614265330, 0)
	got := sign([]revision.Secret{secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`))
	w, err := standardwebhooks.NewWebhookRaw(secret)
	if err != nil {
		t.Fatal(err)
	}
	want, err := w.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`))
	if err != nil || got != want {
		t.Errorf("%s, the library says %s (%v)", got, want, err)
	}
}

func TestEachValidSecretVerifiesAndAnotherDoesNot(t *testing.T) {
	now := time.Now()
	young, old, other := []byte("a secret of twenty-four b"), []byte("the one that it replaces"), []byte("somebody else's entirely")
	d := &delivery.Delivery{ID: "dlv_1", Body: []byte(`{"a":1}`), ContentType: "application/json", Sequence: 7, Previous: "dlv_0", ReplayJob: "job"}
	e := &endpoint{Endpoint: &revision.Endpoint{
		Secrets: []revision.Secret{young, old},
		Headers: []revision.Header{{Name: "X-Api-Key", Value: "k"}, {Name: "webhook-id", Value: "forged"}, {Name: "tollgate-sequence", Value: "9"}},
	}}
	h := header(d, e, now)
	for name, secret := range map[string][]byte{"the young": young, "the old": old} {
		w, err := standardwebhooks.NewWebhookRaw(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Verify(d.Body, h); err != nil {
			t.Errorf("with %s secret: %v", name, err)
		}
		if err := w.Verify([]byte(`{"a":2}`), h); err == nil {
			t.Error("another body verifies")
		}
	}
	w, err := standardwebhooks.NewWebhookRaw(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Verify(d.Body, h); err == nil {
		t.Error("a foreign secret verifies")
	}
	for name, want := range map[string]string{
		"webhook-id": "dlv_1", "webhook-timestamp": strconv.FormatInt(now.Unix(), 10), "content-type": "application/json", "x-api-key": "k",
		"tollgate-sequence": "7", "tollgate-previous": "dlv_0", "tollgate-replay": "job",
	} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q alone", name, got, want)
		}
	}
}

func TestWhatIsRecordedOfARequestHoldsNoKeys(t *testing.T) {
	e := &endpoint{Endpoint: &revision.Endpoint{Headers: []revision.Header{{Name: "authorization", Value: "Bearer hush"}, {Name: "X-Shard", Value: "7"}}}}
	d := &delivery.Delivery{ID: "dlv_1", Headers: []delivery.Header{{Name: "Ce-Type", Value: "a.b"}}}
	got := map[string]string{}
	for _, h := range recordedRequest(header(d, e, time.Now()), e) {
		got[h.Name] = h.Value
	}
	if got["Authorization"] != "****" || got["X-Shard"] != "****" || got["Ce-Type"] != "a.b" || got["Webhook-Id"] != "dlv_1" {
		t.Errorf("recorded %v", got)
	}
	for _, h := range recordedResponse(http.Header{"Set-Cookie": {"session=hush", "b=hush"}, "Server": {"x"}}) {
		if strings.Contains(h.Value, "hush") {
			t.Errorf("recorded %v", h)
		}
	}
}

func TestWithoutSequenceAndSecretTheirHeadersAreAbsent(t *testing.T) {
	h := header(&delivery.Delivery{ID: "dlv_1"}, &endpoint{Endpoint: &revision.Endpoint{}}, time.Now())
	for _, name := range []string{headerSignature, headerSequence, headerPrevious, headerReplay, headerTrace, headerType} {
		if _, ok := h[name]; ok {
			t.Errorf("%s is sent", name)
		}
	}
}
