package webhook

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/receiver"
)

// BenchmarkSend is one attempt: headers, signature, POST, judgement; the
// receiver is in the same process.
func BenchmarkSend(b *testing.B) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	pool, err := outbound.NewPool(1, outbound.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	s := &sender{Client: receiver.Client{Pool: pool}, clock: time.Now, newest: func(string) *endpoint { return nil }}
	e := localEndpoint(b, server.URL)
	d := &delivery.Delivery{ID: "dlv_06eaih8afco4kfkf2nc8j8cvio", Body: make([]byte, 500), ContentType: "application/json", Sequence: 1}
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if out := s.Send(b.Context(), d, e, 1); out.Result != delivery.Accepted {
				b.Errorf("%+v", out)
				return
			}
		}
	})
	if n.Load() != int64(b.N) {
		b.Errorf("%d requests of %d", n.Load(), b.N)
	}
}

func localEndpoint(b *testing.B, url string) *endpoint {
	b.Helper()
	var port uint32
	if _, err := fmt.Sscanf(url, "http://127.0.0.1:%d", &port); err != nil {
		b.Fatal(err)
	}
	policy, err := outbound.PolicyOf([]uint32{port}, true, []string{"127.0.0.0/8"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	e := &webhook.Endpoint{Name: "e", Tenant: "acme", URL: url, Timeout: 5 * time.Second, Concurrency: 64, Secrets: []webhook.Secret{[]byte("thirty-two bytes of a secret key")}}
	out := &endpoint{Receiver: receiver.New(e, policy, nil), answers: &answers{}}
	if out.Broken != nil {
		b.Fatal(out.Broken)
	}
	return out
}

// BenchmarkBarePost is what BenchmarkSend is compared with: net/http and
// nothing of ours, in the same run.
func BenchmarkBarePost(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 512}
	defer transport.CloseIdleConnections()
	body := make([]byte, 500)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL, bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}
