package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/receiver"
)

func TestEachValidSecretVerifiesAndAnotherDoesNot(t *testing.T) {
	now := time.Now()
	young, old, other := []byte("a secret of twenty-four b"), []byte("the one that it replaces"), []byte("somebody else's entirely")
	d := &delivery.Delivery{ID: "dlv_1", Body: []byte(`{"a":1}`), ContentType: "application/json", Sequence: 7, Previous: "dlv_0", ReplayJob: "job"}
	e := &endpoint{Receiver: receiver.Receiver{Endpoint: &webhook.Endpoint{
		Secrets: []webhook.Secret{young, old},
		Headers: []webhook.Header{{Name: "X-Api-Key", Value: "k"}, {Name: "webhook-id", Value: "forged"}, {Name: "tollgate-sequence", Value: "9"}},
	}}}
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
	e := &endpoint{Receiver: receiver.Receiver{Endpoint: &webhook.Endpoint{Headers: []webhook.Header{{Name: "authorization", Value: "Bearer hush"}, {Name: "X-Shard", Value: "7"}}}}}
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
	h := header(&delivery.Delivery{ID: "dlv_1"}, &endpoint{Receiver: receiver.Receiver{Endpoint: &webhook.Endpoint{}}}, time.Now())
	for _, name := range []string{headerSignature, headerSequence, headerPrevious, headerReplay, headerTrace, headerType} {
		if _, ok := h[name]; ok {
			t.Errorf("%s is sent", name)
		}
	}
}

// A delivery that was planned for profile transatel is signed anew at each attempt, with the secret that its receiver
// knows for certain; a header of the endpoint's own does not replace it.
func TestHeader_SignsProfileTransatelInItsOwnHeader(t *testing.T) {
	old, young := webhook.Secret("0123456789abcdef01234567"), webhook.Secret("89abcdef0123456789abcdef")
	d := &delivery.Delivery{ID: "dlv_1", Body: []byte(`{"a":1}`), Headers: []delivery.Header{{Name: webhook.HeaderTransatel}}}
	e := &endpoint{Receiver: receiver.Receiver{Endpoint: &webhook.Endpoint{Secrets: []webhook.Secret{young, old}, Headers: []webhook.Header{{Name: "x-tsl-signature-256", Value: "forged"}}}}}
	const want = "sha256=2cd5cc259d1ac9ab501ad18ad5d1d976a8d8bb6591bfad8fb5b3ca46835f8f1e"
	if got := header(d, e, time.Now()).Values(webhook.HeaderTransatel); len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
	d.Headers = nil
	e.Headers = nil
	if got := header(d, e, time.Now()).Values(webhook.HeaderTransatel); got != nil {
		t.Errorf("%q of another profile", got)
	}
}
