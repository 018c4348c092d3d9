package outbound

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// oneShot is a receiver that answers the first request of each connection. A later one on it is read whole, counted, and
// lost: the connection closes.
type oneShot struct {
	mu       sync.Mutex
	receipts map[string]int
	// everywhere: also the first request of a connection is lost, once it is set.
	everywhere atomic.Bool
}

func (o *oneShot) count(id string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.receipts[id]
}

func (o *oneShot) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for n := 0; ; n++ {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		o.mu.Lock()
		o.receipts[r.Header.Get("Webhook-Id")]++
		o.mu.Unlock()
		if n > 0 || o.everywhere.Load() {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// atOnce sends n requests that are all under way before one is answered, so that n connections wait afterwards.
func atOnce(t *testing.T, c *Client, u *url.URL, n int, hold *gate) {
	t.Helper()
	hold.arm(n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if got := c.Do(t.Context(), Request{URL: u, Body: []byte("x"), Header: http.Header{"Webhook-Id": {"warm" + strconv.Itoa(i)}}}); got.Status != 200 {
				t.Errorf("%+v", got)
			}
		})
	}
	all.Wait()
}

// gate lets n connections through together.
type gate struct {
	mu     sync.Mutex
	left   int
	opened chan struct{}
}

func (g *gate) arm(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left, g.opened = n, make(chan struct{})
}

func (g *gate) pass() {
	g.mu.Lock()
	opened := g.opened
	if g.left--; g.left == 0 {
		close(opened)
	}
	g.mu.Unlock()
	<-opened
}

// parallel is speak with a goroutine for each connection.
func parallel(t *testing.T, serve func(net.Conn)) (*url.URL, Options) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	o := optionsFor(l.Addr(), nil)
	o.Policy.PlainHTTP = true
	return mustURL(t, "http://"+l.Addr().String()), o
}

// One attempt was once received 65 times in 4 ms: net/http went on as long as another waiting connection was there.
func TestDo_SendsOnceMoreWhereWaitingConnectionsLoseTheRequest(t *testing.T) {
	for name, tc := range map[string]struct {
		repeatable, everywhere bool
		receipts               int
		status                 int
		class                  Class
		repeated               bool
	}{
		"a new connection answers":         {true, false, 2, 200, ClassNone, true},
		"the new connection loses it too":  {true, true, 2, 0, ClassReset, true},
		"the receiver knows no repeats":    {false, false, 1, 0, ClassReset, false},
		"as for a token, which is not one": {false, true, 1, 0, ClassReset, false},
	} {
		t.Run(name, func(t *testing.T) {
			receiver, hold := &oneShot{receipts: map[string]int{}}, &gate{}
			hold.arm(64)
			first := atomic.Bool{}
			u, o := parallel(t, func(conn net.Conn) {
				if !first.Load() {
					hold.pass()
				}
				receiver.serve(conn)
			})
			c := mustClient(t, o)
			atOnce(t, c, u, 64, hold)
			first.Store(true)
			receiver.everywhere.Store(tc.everywhere)
			got := c.Do(t.Context(), Request{URL: u, Body: []byte("x"), Header: http.Header{"Webhook-Id": {"dlv_1"}}, Repeatable: tc.repeatable})
			if got.Status != tc.status || got.Class != tc.class || got.Repeated != tc.repeated {
				t.Errorf("%+v", got)
			}
			if n := receiver.count("dlv_1"); n != tc.receipts {
				t.Errorf("received %d times, want %d", n, tc.receipts)
			}
		})
	}
}

func TestDo_DoesNotRepeatWhatTheFirstRequestOfAConnectionLost(t *testing.T) {
	receiver := &oneShot{receipts: map[string]int{}}
	receiver.everywhere.Store(true)
	u, o := parallel(t, receiver.serve)
	got := mustClient(t, o).Do(t.Context(), Request{URL: u, Body: []byte("x"), Header: http.Header{"Webhook-Id": {"dlv_1"}}, Repeatable: true})
	if got.Class != ClassReset || got.Repeated || receiver.count("dlv_1") != 1 {
		t.Errorf("received %d times, %+v", receiver.count("dlv_1"), got)
	}
}

// A byte of a response, be it of a 1xx, shows that the receiver has the request.
func TestDo_DoesNotRepeatOnceAResponseBegan(t *testing.T) {
	var requests atomic.Int64
	u, o := parallel(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for n := range 2 {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			requests.Add(1)
			_, _ = io.WriteString(conn, [...]string{"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n"}[n])
		}
	})
	c := mustClient(t, o)
	if got := c.Do(t.Context(), Request{URL: u, Repeatable: true}); got.Status != 204 {
		t.Fatalf("%+v", got)
	}
	if got := c.Do(t.Context(), Request{URL: u, Repeatable: true}); got.Class != ClassReset || got.Repeated || requests.Load() != 2 {
		t.Errorf("%d requests, %+v", requests.Load(), got)
	}
}

// A request that found its connection closed was not sent: there is nothing to report of it.
func TestDo_ConnectionsThatTheReceiverClosedMeanwhileAreNoRepeat(t *testing.T) {
	receiver, hold, closed := &oneShot{receipts: map[string]int{}}, &gate{}, make(chan struct{}, 64)
	hold.arm(8)
	var waiting atomic.Int64
	u, o := parallel(t, func(conn net.Conn) {
		if waiting.Add(1) > 8 {
			receiver.serve(conn)
			return
		}
		hold.pass()
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_ = conn.Close()
		closed <- struct{}{}
	})
	c := mustClient(t, o)
	atOnce(t, c, u, 8, hold)
	for range 8 {
		<-closed
	}
	got := c.Do(t.Context(), Request{URL: u, Body: []byte("x"), Header: http.Header{"Webhook-Id": {"dlv_1"}}, Repeatable: true})
	if got.Status != 200 || receiver.count("dlv_1") != 1 {
		t.Errorf("received %d times, %+v", receiver.count("dlv_1"), got)
	}
}
