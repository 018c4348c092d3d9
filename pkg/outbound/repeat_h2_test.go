package outbound

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Receiver speaks HTTP/2 frame by frame.
func h2Receiver(t *testing.T, serve func(fr *http2.Framer)) (*url.URL, Options) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	certificate := s.TLS.Certificates[0]
	o := optionsFor(s.Listener.Addr(), s.Certificate())
	s.Close()
	u, plain := parallel(t, func(raw net.Conn) {
		conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}})
		if conn.HandshakeContext(t.Context()) != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		fr := http2.NewFramer(conn, conn)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		if fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1000}) != nil {
			return
		}
		serve(fr)
		_ = conn.Close()
	})
	o.Policy.Ports = plain.Policy.Ports
	u.Scheme = "https"
	return u, o
}

// eachRequest calls handle once a request is whole, until the connection ends.
func eachRequest(fr *http2.Framer, handle func(stream uint32, id string) error) {
	ids := map[uint32]string{}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = fr.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			ids[f.StreamID] = ""
			for _, h := range f.RegularFields() {
				if h.Name == "webhook-id" {
					ids[f.StreamID] = h.Value
				}
			}
			if f.StreamEnded() {
				err = handle(f.StreamID, ids[f.StreamID])
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				err = handle(f.StreamID, ids[f.StreamID])
			}
		}
		if err != nil {
			return
		}
	}
}

func answer(fr *http2.Framer, stream uint32, status string) error {
	var block bytes.Buffer
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: status})
	return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
}

// Each connection processes 100 requests and goes away; what came above is not processed by GOAWAY, so it is no receipt.
func TestDo_GoAwayLosesAndRepeatsNothing(t *testing.T) {
	const each, total, workers = 100, 6400, 64
	var mu sync.Mutex
	receipts := map[string]int{}
	ignored := 0
	u, o := h2Receiver(t, func(fr *http2.Framer) {
		served, last, leaving := 0, uint32(0), false
		eachRequest(fr, func(stream uint32, id string) error {
			if served++; served > each && stream > last { // bodies may end in another order than streams begin
				mu.Lock()
				ignored++
				mu.Unlock()
				if !leaving {
					leaving = true
					return fr.WriteGoAway(last, http2.ErrCodeNo, nil)
				}
				return nil
			}
			last = max(last, stream)
			mu.Lock()
			receipts[id]++
			mu.Unlock()
			return answer(fr, stream, "204")
		})
	})
	c := mustClient(t, o)
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for n := next.Add(1); n <= total; n = next.Add(1) {
				got := c.Do(t.Context(), Request{URL: u, Body: []byte("x"), Header: http.Header{"Webhook-Id": {"dlv_" + strconv.Itoa(int(n))}}, Repeatable: true})
				if got.Status != 204 || got.Repeated {
					t.Errorf("%d: %+v", n, got)
				}
			}
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	for id, n := range receipts {
		if n != 1 {
			t.Errorf("%s received %d times", id, n)
		}
	}
	if len(receipts) != total || ignored == 0 {
		t.Errorf("%d received, %d ignored", len(receipts), ignored)
	}
}

// On a connection that has served a request, each way of HTTP/2 to lose the next one.
func TestDo_RepeatsOfHTTP2FollowTheServersGoaway(t *testing.T) {
	errClosed := errors.New("closed")
	for name, tc := range map[string]struct {
		lose     func(fr *http2.Framer, stream uint32) error
		requests int64
		status   int
		class    Class
		repeated bool
	}{
		"the connection closes": {func(*http2.Framer, uint32) error { return errClosed }, 2, 204, ClassNone, true},
		"GOAWAY covers it, then it closes": {func(fr *http2.Framer, stream uint32) error {
			_ = fr.WriteGoAway(stream, http2.ErrCodeNo, nil)
			return errClosed
		}, 2, 204, ClassNone, true},
		"GOAWAY leaves it out": {func(fr *http2.Framer, stream uint32) error {
			return fr.WriteGoAway(stream-2, http2.ErrCodeNo, nil)
		}, 2, 204, ClassNone, false},
		"the stream is refused": {func(fr *http2.Framer, stream uint32) error {
			return fr.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		}, 2, 204, ClassNone, false},
		"the stream is reset": {func(fr *http2.Framer, stream uint32) error {
			return fr.WriteRSTStream(stream, http2.ErrCodeInternal)
		}, 1, 0, ClassReset, false},
		"the stream is reset for a breach of the protocol": {func(fr *http2.Framer, stream uint32) error {
			return fr.WriteRSTStream(stream, http2.ErrCodeProtocol)
		}, 1, 0, ClassProtocol, false},
		"what is answered is no frame": {func(fr *http2.Framer, stream uint32) error {
			return fr.WriteRawFrame(http2.FrameContinuation, 0, stream, []byte("x"))
		}, 1, 0, ClassProtocol, false},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			var lost atomic.Bool
			u, o := h2Receiver(t, func(fr *http2.Framer) {
				eachRequest(fr, func(stream uint32, id string) error {
					if id == "warm" {
						return answer(fr, stream, "204")
					}
					requests.Add(1)
					if lost.Swap(true) {
						return answer(fr, stream, "204")
					}
					return tc.lose(fr, stream)
				})
			})
			c := mustClient(t, o)
			post := func(id string) Result {
				return c.Do(t.Context(), Request{URL: u, Body: []byte("x"), Header: http.Header{"Webhook-Id": {id}}, Repeatable: true})
			}
			if got := post("warm"); got.Status != 204 {
				t.Fatalf("%+v", got)
			}
			got := post("dlv_1")
			if got.Status != tc.status || got.Class != tc.class || got.Repeated != tc.repeated || requests.Load() != tc.requests {
				t.Errorf("%d requests, %+v", requests.Load(), got)
			}
		})
	}
}

func TestDo_HTTP2SharesOneConnection(t *testing.T) {
	var connections atomic.Int64
	u, o := h2Receiver(t, func(fr *http2.Framer) {
		connections.Add(1)
		eachRequest(fr, func(stream uint32, _ string) error { return answer(fr, stream, "204") })
	})
	c := mustClient(t, o)
	post := func(n int) {
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				if got := c.Do(t.Context(), Request{URL: u, Body: []byte("x")}); got.Status != 204 {
					t.Errorf("%+v", got)
				}
			})
		}
		all.Wait()
	}
	post(1)
	for range 10 {
		post(50)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	c.Close() // once the place is known to speak HTTP/2 again, those that need a connection wait for one
	post(1)
	post(50)
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestGoAwayErrors_AreThoseOfNetHTTP(t *testing.T) {
	goAway, unusable := goAwayErrors()
	if goAway == nil || unusable == nil || goAway == unusable || notProcessed(io.EOF) || !notProcessed(fmt.Errorf("x: %w", goAway)) {
		t.Errorf("%v, %v", goAway, unusable)
	}
}

// answerOpen begins a response that has a body.
func answerOpen(fr *http2.Framer, stream uint32, status string) error {
	var block bytes.Buffer
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: status})
	return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
}
