package webhook

import (
	"encoding/base64"
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
