package outbound

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
)

func countConnections(n *atomic.Int64, closed chan<- struct{}) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			n.Add(1)
		case http.StateClosed:
			select {
			case closed <- struct{}{}:
			default:
			}
		}
	}
}

// BenchmarkPost is one POST of 1 KiB over waiting connections, server included; "bare" is the same without what
// this package adds.
func BenchmarkPost(b *testing.B) {
	for _, h2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		s.EnableHTTP2 = h2
		s.StartTLS()
		c, err := NewClient(optionsFor(s.Listener.Addr(), s.Certificate()))
		if err != nil {
			b.Fatal(err)
		}
		u, err := url.Parse(s.URL)
		if err != nil {
			b.Fatal(err)
		}
		body := make([]byte, 1024)
		bare := bareTransport(c, h2)
		for name, post := range map[string]func() int{
			"ours": func() int { return c.Do(b.Context(), Request{URL: u, Body: body}).Status },
			"bare": func() int {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.URL, bytes.NewReader(body))
				if err != nil {
					return 0
				}
				resp, err := bare.RoundTrip(req)
				if err != nil {
					return 0
				}
				_ = resp.Body.Close()
				return resp.StatusCode
			},
		} {
			b.Run("h2="+strconv.FormatBool(h2)+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if status := post(); status != 200 {
							b.Errorf("status %d", status)
							return
						}
					}
				})
			})
		}
		c.Close()
		bare.CloseIdleConnections()
		s.Close()
	}
}

func bareTransport(c *Client, h2 bool) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	conf := c.tls.Clone()
	conf.NextProtos = nil
	return &http.Transport{TLSClientConfig: conf, Protocols: &protocols, MaxIdleConnsPerHost: 512, DisableCompression: true}
}
