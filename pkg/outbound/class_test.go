package outbound

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// speak answers each connection on loopback with what answer writes; there is no TLS.
func speak(t *testing.T, answer func(net.Conn)) (*url.URL, Options) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answer(conn)
			_ = conn.Close()
		}
	}()
	o := optionsFor(l.Addr(), nil)
	o.Policy.PlainHTTP = true
	return mustURL(t, "http://"+l.Addr().String()), o
}

func readRequest(conn net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(conn)) }

func TestDo_ClassifiesErrors(t *testing.T) {
	answer := func(text string) func(net.Conn) {
		return func(conn net.Conn) { readRequest(conn); _, _ = io.WriteString(conn, text) }
	}
	tests := map[string]struct {
		answer func(net.Conn)
		change func(*Request)
		want   Class
	}{
		"closed before the answer":        {readRequest, nil, ClassReset},
		"reset before the answer":         {func(c net.Conn) { readRequest(c); _ = c.(*net.TCPConn).SetLinger(0) }, nil, ClassReset},
		"closed within the headers":       {answer("HTTP/1.1 200 OK\r\nA: "), nil, ClassReset},
		"not HTTP":                        {answer("220 mail.example.com ESMTP\r\n"), nil, ClassProtocol},
		"a status that is none":           {answer("HTTP/1.1 abc\r\n\r\n"), nil, ClassProtocol},
		"a status of three zeros":         {answer("HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n"), nil, ClassProtocol},
		"a status beyond those of HTTP":   {answer("HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n"), nil, ClassProtocol},
		"a status before those of HTTP":   {answer("HTTP/1.1 099 Early\r\nContent-Length: 0\r\n\r\n"), nil, ClassProtocol},
		"https to a server without TLS":   {answer("HTTP/1.1 400 Bad\r\n\r\n"), func(r *Request) { r.URL.Scheme = "https" }, ClassTLS},
		"a header with a line break":      {readRequest, func(r *Request) { r.Header = http.Header{"A": {"b\r\nc"}} }, ClassRequest},
		"a method that is none":           {readRequest, func(r *Request) { r.Method = "PO ST" }, ClassRequest},
		"no host":                         {readRequest, func(r *Request) { r.URL.Host = "" }, ClassRequest},
		"no URL":                          {readRequest, func(r *Request) { r.URL = nil }, ClassRequest},
		"a body cut short is an answer":   {answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), nil, ClassNone},
		"a body that ends with the close": {answer("HTTP/1.1 200 OK\r\n\r\nabc"), nil, ClassNone},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			u, o := speak(t, tc.answer)
			r := Request{URL: u}
			if tc.change != nil {
				tc.change(&r)
			}
			got := mustClient(t, o).Do(t.Context(), r)
			if got.Class != tc.want || (got.Err == nil) != (tc.want == ClassNone) {
				t.Errorf("class %q, %v", got.Class, got.Err)
			}
			if tc.want == ClassNone && (string(got.Body) != "abc" || got.Status != 200 || got.BodyTruncated != strings.Contains(name, "short")) {
				t.Errorf("%+v", got)
			}
		})
	}

	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		o := optionsFor(l.Addr(), nil)
		got := mustClient(t, o).Do(t.Context(), Request{URL: mustURL(t, "https://"+l.Addr().String())})
		if got.Class != ClassConnect || got.Phases.Connect <= 0 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a stream of HTTP/2 that is reset", func(t *testing.T) {
		s, o := receiver(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		if got := mustClient(t, o).Do(t.Context(), Request{URL: mustURL(t, s.URL)}); got.Class != ClassReset {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the caller stops", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		u, o := speak(t, func(c net.Conn) { readRequest(c); cancel(); _, _ = io.Copy(io.Discard, c) })
		if got := mustClient(t, o).Do(ctx, Request{URL: u}); got.Class != ClassCancelled || !errors.Is(got.Err, context.Canceled) {
			t.Errorf("%+v", got)
		}
	})
}

func TestDo_RepeatsOnClosingConnectionOnlyIfRepeatable(t *testing.T) {
	for _, repeatable := range []bool{false, true} {
		t.Run(strconv.FormatBool(repeatable), func(t *testing.T) {
			// Each connection serves one request; the second one on it is read and answered by closing.
			u, o := speak(t, func(conn net.Conn) {
				in := bufio.NewReader(conn)
				for n := range 2 {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if n == 0 {
						_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
					}
				}
			})
			c := mustClient(t, o)
			post := func() Result {
				return c.Do(t.Context(), Request{URL: u, Body: []byte("x"), Repeatable: repeatable})
			}
			if got := post(); got.Status != 204 {
				t.Fatalf("%+v", got)
			}
			got := post()
			if repeatable && got.Status != 204 || !repeatable && got.Class != ClassReset {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestClasses_ListsEachOnce(t *testing.T) {
	seen := map[Class]bool{}
	for _, c := range Classes {
		if seen[c] || c == ClassNone {
			t.Errorf("%q", c)
		}
		seen[c] = true
	}
	if len(seen) != 11 {
		t.Errorf("%d classes", len(seen))
	}
}
