package outbound

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// Phases are the durations of the parts of a request. A part that was not reached, or not needed because the connection
// was open, took 0; one that was cut off lasts until the end. Where several connections were tried, they are those of the
// last one, but for Total.
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

// stopwatch notes when each part of a request on one connection began and ended. net and net/http call it from several
// goroutines, also after the request has ended: hence atomics, and a new stopwatch for each connection.
type stopwatch struct {
	began time.Time
	trace httptrace.ClientTrace

	dnsStart, dnsDone, connectStart, connectDone, tlsStart, tlsDone atomic.Int64
	gotConn, wrote, firstByte, readDone                             atomic.Int64

	reused, tlsFailed, lost bool

	// patience bounds the wait for the first byte, give ends the request then.
	patience time.Duration
	give     context.CancelFunc
	expired  atomic.Bool
	timer    atomic.Pointer[time.Timer]
}

func newStopwatch(began time.Time) *stopwatch {
	w := &stopwatch{began: began}
	w.trace = httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { w.wroteRequest() },
		GotFirstResponseByte: func() { w.last(&w.firstByte) },
	}
	return w
}

// dialling is ctx for dialling a connection.
func (w *stopwatch) dialling(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { w.first(&w.dnsStart) },
		DNSDone:      func(httptrace.DNSDoneInfo) { w.last(&w.dnsDone) },
		ConnectStart: func(string, string) { w.first(&w.connectStart) },
		ConnectDone:  func(string, string, error) { w.last(&w.connectDone) },
	})
}

// requesting is ctx for a request whose response must begin within patience of its writing, where that is above 0.
func (w *stopwatch) requesting(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	cancel := func() {}
	if patience > 0 {
		ctx, w.give = context.WithCancel(ctx)
		w.patience = patience
		cancel = func() {
			if t := w.timer.Load(); t != nil {
				t.Stop()
			}
			w.give()
		}
	}
	return httptrace.WithClientTrace(ctx, &w.trace), cancel
}

func (w *stopwatch) wroteRequest() {
	w.last(&w.wrote)
	if w.patience > 0 {
		w.timer.Store(time.AfterFunc(w.patience, func() {
			if w.firstByte.Load() == 0 {
				w.expired.Store(true)
				w.give()
			}
		}))
	}
}

// saw takes over what the connection noted, once a request on it has failed.
func (w *stopwatch) saw(c *conn) {
	w.lost = c.lost.Load()
	w.tlsFailed = w.tlsFailed || c.alert.Load()
}

// got marks that there is a connection.
func (w *stopwatch) got(reused bool) {
	w.last(&w.gotConn)
	w.reused = reused
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
	// What a request dialled while another connection became free took none of its time.
	if !w.reused {
		p.DNS = between(&w.dnsStart, &w.dnsDone)
		p.Connect = between(&w.connectStart, &w.connectDone)
		p.TLS = between(&w.tlsStart, &w.tlsDone)
	}
	return p
}
