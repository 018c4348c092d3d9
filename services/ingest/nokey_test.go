package ingest

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

// A caller without a key was answered only once its body had come, at whatever path.
func TestHTTP_AsksForTheKeyBeforeTheBody(t *testing.T) {
	for path, want := range map[string]int{"/v1/events": http.StatusUnauthorized, "/elsewhere": http.StatusNotFound} {
		t.Run(path, func(t *testing.T) { answeredWithoutBody(t, path, want) })
	}
}

func answeredWithoutBody(t *testing.T, path string, want int) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		ctx, cancel := context.WithTimeout(f.ctx, 10*time.Second)
		defer cancel()
		body, never := io.Pipe()
		defer never.Close()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.http+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/cloudevents+json")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatalf("no answer while the body does not come: %v", err)
		}
		defer res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}
