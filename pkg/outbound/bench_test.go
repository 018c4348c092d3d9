package outbound

import (
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

// BenchmarkPost is one POST of 1 KiB over waiting connections, server included; the bare row is net/http alone.
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
		b.Run("h2="+strconv.FormatBool(h2), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if got := c.Do(b.Context(), Request{URL: u, Body: body}); got.Status != 200 {
						b.Errorf("%+v", got)
						return
					}
				}
			})
		})
		c.Close()
		s.Close()
	}
}
