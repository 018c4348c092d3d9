package ingest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// A caller without a key was answered only once its body had come, at whatever path.
func TestHTTP_AsksForTheKeyBeforeTheBody(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{"/v1/events": http.StatusUnauthorized, "/elsewhere": http.StatusNotFound} {
		t.Run(path, func(t *testing.T) { answeredWithoutBody(t, path, want) })
	}
}

func answeredWithoutBody(t *testing.T, path string, want int) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		body, never := io.Pipe()
		defer never.Close()
		req, err := http.NewRequestWithContext(f.ctx, http.MethodPost, "http://"+r.http+path, body)
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

// What is refused by its headers, with a valid key, once waited for its body; and so did a body that was wrong from its
// first bytes on.
func TestHTTP_RefusesByTheHeadersBeforeTheBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t))
	r := f.start(nil)
	for name, tc := range map[string]struct {
		headers string
		begin   []byte
		status  int
		reason  string
	}{
		"a foreign media type":           {"content-type: text/csv\r\ncontent-length: 1000\r\n", nil, 415, reason.MediaTypeUnsupported},
		"one of an event in binary mode": {"content-type: text/csv\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: crm\r\nce-type: client.created\r\ncontent-length: 1000\r\n", nil, 415, reason.MediaTypeUnsupported},
		"another format of CloudEvents":  {"content-type: application/cloudevents+avro\r\ncontent-length: 1000\r\n", nil, 415, reason.MediaTypeUnsupported},
		"a foreign batch":                {"content-type: application/cloudevents-batch+protobuf\r\ntransfer-encoding: chunked\r\n", nil, 415, reason.MediaTypeUnsupported},
		"a foreign content coding":       {"content-type: application/cloudevents+json\r\ncontent-encoding: br\r\ncontent-length: 1000\r\n", nil, 415, reasonEncoding},
		"an event that is too long":      {"content-type: application/cloudevents+json\r\ncontent-length: 1048577\r\n", nil, 413, reason.TooLarge},
		"a batch that is too long":       {"content-type: application/cloudevents-batch+json\r\ncontent-length: 8388609\r\n", nil, 413, reason.TooLarge},
		"gzip that is none":              {"content-type: application/cloudevents+json\r\ncontent-encoding: gzip\r\ncontent-length: 1000\r\n", []byte("no gzip at all"), 400, "BODY_INCOMPLETE"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(f.ctx, "tcp", r.http)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(patienceOfTests)); err != nil { // it only ends a test that fails
				t.Fatal(err)
			}
			if _, err := fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\n%s\r\n%s", testKey, tc.headers, tc.begin); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("no answer while the body does not come: %v", err)
			}
			defer res.Body.Close()
			if a := readAnswer(t, res); a.Status != tc.status || a.Reason != tc.reason || !res.Close {
				t.Errorf("%+v, the connection closes: %v", a, res.Close)
			}
		})
	}
}
