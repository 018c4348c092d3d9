package outbound

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

// endless writes a piece again and again until the other side has enough, and returns how much that was.
func endless(w io.Writer, piece string) int64 {
	written := int64(0)
	for {
		n, err := io.WriteString(w, piece)
		written += int64(n)
		if err != nil || written > 64<<20 {
			return written
		}
	}
}

// A receiver decides what it sends; we decide what we read of it, and a connection that is misused serves nobody else.
func TestSafety_ResponsesAreBounded(t *testing.T) {
	const much = 4 << 20 // what the buffers of two kernels may hold beside what is read
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 50<<20))
	_ = z.Close()
	for name, tc := range map[string]struct {
		begin, again string
		class        Class
		status       int
		body         int
	}{
		"endless headers":              {"HTTP/1.1 200 OK\r\n", "A: " + strings.Repeat("x", 1000) + "\r\n", ClassProtocol, 0, 0},
		"one endless header":           {"HTTP/1.1 200 OK\r\nA: ", strings.Repeat("x", 1000), ClassProtocol, 0, 0},
		"an endless status line":       {"HTTP/1.1 200 ", strings.Repeat("x", 1000), ClassProtocol, 0, 0},
		"a flood of 1xx":               {"", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", ClassProtocol, 0, 0},
		"a flood of 100":               {"", "HTTP/1.1 100 Continue\r\n\r\n", ClassProtocol, 0, 0},
		"an endless body":              {"HTTP/1.1 500 Oh\r\n\r\n", strings.Repeat("x", 1000), ClassNone, 500, KeepOfFailure},
		"an endless body of chunks":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", ClassNone, 200, KeepOfSuccess},
		"an endless size of a chunk":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1", ClassNone, 200, 0},
		"an endless chunk extension":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", strings.Repeat("x", 1000), ClassNone, 200, 0},
		"endless trailers":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", "A: b\r\n", ClassNone, 200, 1},
		"a body longer than announced": {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", "x", ClassNone, 200, 1},
		"a body of an enormous length": {"HTTP/1.1 500 Oh\r\nContent-Length: 9000000000000000000\r\n\r\n", strings.Repeat("x", 1000), ClassNone, 500, KeepOfFailure},
		"a switch of protocols":        {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "x", ClassNone, 101, 0},
		"a compressed bomb": {
			fmt.Sprintf("HTTP/1.1 500 Oh\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.String()), "",
			ClassNone, 500, min(bomb.Len(), KeepOfFailure),
		},
	} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			u, o := parallel(t, func(conn net.Conn) {
				readRequest(conn)
				_, _ = io.WriteString(conn, tc.begin)
				if tc.again != "" {
					sent.Add(endless(conn, tc.again))
				}
			})
			c := mustClient(t, o)
			got := c.Do(t.Context(), Request{URL: u, Body: []byte("x"), Repeatable: true})
			if got.Class != tc.class || got.Status != tc.status || len(got.Body) != tc.body {
				t.Errorf("class %q, status %d, %d bytes: %v", got.Class, got.Status, len(got.Body), got.Err)
			}
			if n := sent.Load(); n > much {
				t.Errorf("%d bytes were taken", n)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			waits := false
			for _, s := range c.places {
				waits = waits || len(s.idle) > 0
			}
			// What follows a whole response is seen once the connection is used again.
			if whole := name == "a body longer than announced" || tc.again == ""; waits && !whole {
				t.Errorf("the connection waits for another request")
			}
		})
	}
}

func TestSafety_ResponsesOfHTTP2AreBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		flood  func(fr *http2.Framer, stream uint32) error
		class  Class
		status int
	}{
		"endless headers": {func(fr *http2.Framer, stream uint32) error {
			err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x88}})
			for range 1000 {
				if err == nil {
					// A literal header, not indexed: "a" and 100 bytes.
					err = fr.WriteContinuation(stream, false, bytes.Repeat(append([]byte{0, 1, 'a', 100}, make([]byte, 100)...), 50))
				}
			}
			return err
		}, ClassProtocol, 0},
		"a flood of 1xx": {func(fr *http2.Framer, stream uint32) error {
			var err error
			for range 100_000 {
				if err == nil {
					err = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x08, 3, '1', '0', '3'}, EndHeaders: true})
				}
			}
			return err
		}, ClassProtocol, 0},
		"an endless body": {func(fr *http2.Framer, stream uint32) error {
			err := answerOpen(fr, stream, "500")
			for range 10 {
				if err == nil {
					err = fr.WriteData(stream, false, make([]byte, 16<<10))
				}
			}
			return err
		}, ClassNone, 500},
	} {
		t.Run(name, func(t *testing.T) {
			u, o := h2Receiver(t, func(fr *http2.Framer) {
				eachRequest(fr, func(stream uint32, _ string) error { return tc.flood(fr, stream) })
			})
			got := mustClient(t, o).Do(t.Context(), Request{URL: u, Body: []byte("x"), Repeatable: true})
			if got.Class != tc.class || got.Status != tc.status || len(got.Body) > KeepOfFailure || got.Repeated {
				t.Errorf("%+v", got)
			}
		})
	}
}
