package webhook

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestSign_IsTheSignatureOfStandardWebhooks(t *testing.T) {
	const (
		secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
		id     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
		body   = `{"test": 2432232314}`
		want   = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	)
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1614265330, 0)
	if got := Sign([]Secret{key}, id, at, []byte(body)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	w, err := standardwebhooks.NewWebhook("whsec_" + secret)
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err := w.Sign(id, at, []byte(body)); err != nil || theirs != want {
		t.Errorf("the library makes %s (%v)", theirs, err)
	}
}

// The vector is openssl's: printf '{"a":1}' | openssl dgst -sha256 -hmac whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3.
func TestSignTransatel_IsOfTheSecretAsShownAndOfTheOlderOne(t *testing.T) {
	older, newer := Secret("0123456789abcdef01234567"), Secret("89abcdef0123456789abcdef")
	const want = "sha256=2cd5cc259d1ac9ab501ad18ad5d1d976a8d8bb6591bfad8fb5b3ca46835f8f1e"
	for _, secrets := range [][]Secret{{older}, {newer, older}} {
		if got := SignTransatel(secrets, []byte(`{"a":1}`)); got != want {
			t.Errorf("%s with %d secrets, want %s", got, len(secrets), want)
		}
	}
	if got := SignTransatel(nil, nil); got != "" {
		t.Errorf("%q without a secret", got)
	}
}

func TestNewSecret_IsAccepted(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i * 37)
	}
	secret := NewSecret(key)
	if text := secretViolation(secret); text != "" || !strings.HasPrefix(secret, "whsec_") {
		t.Errorf("%s %s", secret, text)
	}
}
