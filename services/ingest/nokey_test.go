package ingest

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

// A caller without a key was answered only once its body had come.
func TestHTTP_AsksForTheKeyBeforeTheBody(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		ctx, cancel := context.WithTimeout(f.ctx, 10*time.Second)
		defer cancel()
		body, never := io.Pipe()
		defer never.Close()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.http+"/v1/events", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/cloudevents+json")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatalf("no answer while the body does not come: %v", err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}
