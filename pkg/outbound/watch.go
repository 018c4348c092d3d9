package outbound

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// Phases are the durations of the parts of a request. A part that was not reached, or not needed because the connection
// was open, took 0; one that was cut off lasts until the end.
type Phases struct {
	// DNS is name resolution.
	DNS time.Duration
	// Connect is from the first packet to a connection, over all addresses tried.
	Connect time.Duration
	// TLS is the handshake.
	TLS time.Duration
	// Wait is from the written request to the first byte of the response.
	Wait time.Duration
	// Read is from the first byte of the response to the end of what was read.
	Read time.Duration
	// Total is all of it, including the wait for a connection and the writing.
	Total time.Duration
}

// stopwatch notes when each part began and ended. net/http calls it from several goroutines, also after the request has
// ended: hence atomics, and a new stopwatch for each request.
type stopwatch struct {
	began time.Time
	trace httptrace.ClientTrace

	dnsStart, dnsDone, connectStart, connectDone, tlsStart, tlsDone atomic.Int64
	gotConn, wrote, firstByte, readDone                             atomic.Int64

	reused, tlsFailed atomic.Bool
}

func newStopwatch() *stopwatch {
	w := &stopwatch{began: time.Now()}
	w.trace = httptrace.ClientTrace{
		DNSStart:          func(httptrace.DNSStartInfo) { w.first(&w.dnsStart) },
		DNSDone:           func(httptrace.DNSDoneInfo) { w.last(&w.dnsDone) },
		ConnectStart:      func(string, string) { w.first(&w.connectStart) },
		ConnectDone:       func(string, string, error) { w.last(&w.connectDone) },
		TLSHandshakeStart: func() { w.first(&w.tlsStart) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			w.last(&w.tlsDone)
			w.tlsFailed.Store(err != nil)
		},
		GotConn: func(info httptrace.GotConnInfo) {
			w.last(&w.gotConn)
			w.reused.Store(info.Reused)
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { w.last(&w.wrote) },
		GotFirstResponseByte: func() { w.last(&w.firstByte) },
	}
	return w
}

// since is the time from the beginning, never 0: 0 means not reached.
func (w *stopwatch) since() int64 { return max(1, int64(time.Since(w.began))) }

func (w *stopwatch) first(at *atomic.Int64) { at.CompareAndSwap(0, w.since()) }
func (w *stopwatch) last(at *atomic.Int64)  { at.Store(w.since()) }

// read marks that the body was read so far.
func (w *stopwatch) read() { w.last(&w.readDone) }

func (w *stopwatch) phases() Phases {
	end := w.since()
	between := func(from, to *atomic.Int64) time.Duration {
		a, b := from.Load(), to.Load()
		if a == 0 {
			return 0
		}
		if b == 0 {
			b = end
		}
		return time.Duration(max(b-a, 0))
	}
	sent := &w.wrote
	if first := w.firstByte.Load(); first != 0 && (sent.Load() == 0 || sent.Load() > first) {
		// A response may arrive before the request is written; HTTP/2 may also report late that it is.
		sent = &w.gotConn
	}
	p := Phases{
		Wait: between(sent, &w.firstByte), Read: between(&w.firstByte, &w.readDone), Total: time.Duration(end),
	}
	// A request that used an idle connection may have started to dial another one, which took none of its time.
	if !w.reused.Load() {
		p.DNS = between(&w.dnsStart, &w.dnsDone)
		p.Connect = between(&w.connectStart, &w.connectDone)
		p.TLS = between(&w.tlsStart, &w.tlsDone)
	}
	return p
}
