package outbound

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// streamError is how net/http shows the reset of a stream of HTTP/2 to those who ask with errors.As.
type streamError struct {
	StreamID uint32
	Code     streamCode
	Cause    error
}

func (e streamError) Error() string { return "stream reset" }

type streamCode uint32

// Codes of RFC 9113, section 7. REFUSED_STREAM means that the server has not processed the request (section 8.7).
const (
	protocolError streamCode = 1
	refusedStream streamCode = 7
)

// isReset: the server ended the stream, not the connection.
func isReset(err error) bool {
	_, ok := errors.AsType[streamError](err)
	return ok
}

// notProcessed reports that a server of HTTP/2 answered that a request was not processed: it is no receipt.
func notProcessed(err error) bool {
	if reset, ok := errors.AsType[streamError](err); ok {
		return reset.Code == refusedStream
	}
	goAway, unusable := goAwayErrors()
	return errors.Is(err, goAway) || errors.Is(err, unusable)
}

// goAwayErrors are the errors of net/http for a request above the last stream of a GOAWAY (RFC 9113, section 6.8), and
// for one that came to a connection after it. net/http does not export them, so they are obtained once from a connection
// in memory whose server goes away. They are never errors of anything else; where they could not be had, they are errors
// that nothing else is.
var goAwayErrors = sync.OnceValues(func() (goAway, unusable error) {
	goAway, unusable = errors.New("not known"), errors.New("not known")
	client, server := net.Pipe()
	defer server.Close()
	_ = client.SetDeadline(time.Now().Add(time.Second))
	ctx := new(http.Request).Context() // the connection ends by its deadline
	go leaving(server)
	speaking, err := newSpeakers(time.Minute).speak(ctx, &conn{Conn: client, release: func() {}}, "server:80", true)
	if err != nil {
		return goAway, unusable
	}
	defer func() { _ = speaking.Close() }()
	post := func() error {
		req := (&http.Request{Method: http.MethodPost, URL: &url.URL{Scheme: "http", Host: "server"}, Header: http.Header{}}).WithContext(ctx)
		resp, err := speaking.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	if err := post(); err != nil && !timedOut(err) {
		goAway = err
		if err := post(); err != nil && !timedOut(err) {
			unusable = err
		}
	}
	return goAway, unusable
})

// leaving is a server of HTTP/2 that answers the first request with GOAWAY, having processed none.
func leaving(conn net.Conn) {
	const (
		preface  = 24
		headers  = 1
		settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		goAway   = "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00"
	)
	if _, err := io.CopyN(io.Discard, conn, preface); err != nil {
		return
	}
	frame := make([]byte, 9)
	for {
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		length := int64(frame[0])<<16 | int64(frame[1])<<8 | int64(frame[2])
		if _, err := io.CopyN(io.Discard, conn, length); err != nil {
			return
		}
		if frame[3] == headers {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	_, _ = io.WriteString(conn, settings+goAway)
}
