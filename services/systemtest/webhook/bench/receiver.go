package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// described is the first line that a receiver's process prints.
type described struct {
	URL, Authority, Secret string
	// Closed is a URL that refuses connections.
	Closed string
	Ports  []uint32
}

// receive is the receiver's process: it counts requests below /e/, keeps how old the deliveries of /h/ are when they come,
// and misbehaves below /bad/. Standard input ends it.
func receive(ctx context.Context) error {
	h := &handler{}
	r, err := fleet.StartReceiver(ctx, h, func(s *http.Server) {
		s.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){} // HTTP/1.1 alone
	})
	if err != nil {
		return err
	}
	closed, port, err := closedPort(ctx)
	if err != nil {
		return err
	}
	if err := bench.Described(described{r.URL(""), r.Authority, r.Secret, closed, append(r.Policy().GetPorts(), port)}); err != nil {
		return err
	}
	return r.Close()
}

// closedPort is a URL at a port that nobody listens to.
func closedPort(ctx context.Context) (url string, port uint32, err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", 0, err
	}
	address, _ := l.Addr().(*net.TCPAddr)
	return "https://" + address.String() + "/", uint32(address.Port), l.Close()
}

type handler struct {
	count atomic.Int64
	mu    sync.Mutex
	ages  []time.Duration
}

// ServeHTTP answers.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	switch part, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); part {
	case "e":
		h.count.Add(1)
	case "h":
		h.count.Add(1)
		// The body begins with its time, see payload.
		if len(body) > 30 {
			if ns, err := strconv.ParseInt(string(body[6:25]), 10, 64); err == nil {
				h.mu.Lock()
				h.ages = append(h.ages, time.Since(time.Unix(0, ns)))
				h.mu.Unlock()
			}
		}
	case "bad":
		misbehave(w, r, rest)
		return
	case "count":
		fmt.Fprint(w, h.count.Load())
		return
	case "ages":
		h.mu.Lock()
		ages := h.ages
		h.ages = nil
		h.mu.Unlock()
		for _, a := range ages {
			_ = binary.Write(w, binary.BigEndian, int64(a))
		}
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// refused is the way of an endpoint whose connections are refused.
const refused = "refused"

// ways in which an endpoint misbehaves: thirty, by the answer and how it comes.
var ways = []string{
	"hang", "hang-after-header", "drip", "close", "reset", "half", "endless", "many-headers", "garbage", "slow", "slower", "flap", "tenth", refused,
	"301", "304", "400", "401", "403", "404", "410", "422", "429", "429-later", "500", "500-slow", "502", "503", "503-later", "599",
}

func misbehave(w http.ResponseWriter, r *http.Request, way string) {
	way, later := strings.CutSuffix(way, "-later")
	way, slow := strings.CutSuffix(way, "-slow")
	switch {
	case slow:
		wait(r, 10*time.Second)
	case way == "slow":
		wait(r, 5*time.Second)
		way = "204"
	case way == "slower": // just in time
		wait(r, 14*time.Second)
		way = "204"
	case way == "flap" && time.Now().Unix()/10%2 == 0, way == "tenth" && time.Now().UnixNano()/1000%10 == 0:
		way = "hang"
	case way == "flap", way == "tenth":
		way = "204"
	}
	if status, err := strconv.Atoi(way); err == nil {
		if later {
			w.Header().Set("Retry-After", "3")
		}
		w.Header().Set("Location", "https://127.0.0.1/elsewhere")
		w.WriteHeader(status)
		return
	}
	flush := http.NewResponseController(w).Flush
	switch way {
	case "hang":
		<-r.Context().Done()
	case "hang-after-header":
		_ = flush()
		<-r.Context().Done()
	case "close":
		panic(http.ErrAbortHandler)
	case "reset", "garbage":
		raw(w, way == "garbage")
	case "half":
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(make([]byte, 100))
		panic(http.ErrAbortHandler)
	case "many-headers":
		for i := range 2000 {
			w.Header().Set(fmt.Sprintf("X-Header-%d", i), strings.Repeat("x", 1000))
		}
	case "drip", "endless":
		size, pause := 1, 200*time.Millisecond
		if way == "endless" {
			size, pause = 16<<10, 5*time.Millisecond
		}
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			if _, err := w.Write(make([]byte, size)); err != nil || flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}
}

func wait(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// raw answers with something that is not HTTP, or resets the connection.
func raw(w http.ResponseWriter, answer bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if answer {
		_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
		return
	}
	if secure, ok := conn.(*tls.Conn); ok {
		if plain, ok := secure.NetConn().(*net.TCPConn); ok {
			_ = plain.SetLinger(0)
			_ = plain.Close()
		}
	}
}

// receiver is the process, as this one sees it.
type receiver struct {
	described
	stop   func() error
	client *http.Client
}

func startReceiver(ctx context.Context) (r *receiver, err error) {
	r = &receiver{}
	if r.stop, err = bench.StartReceiver(ctx, &r.described); err != nil {
		return nil, err
	}
	r.client, err = trusting(r.Authority, 2)
	return r, err
}

func (r *receiver) get(path string) ([]byte, error) {
	res, err := r.client.Get(r.URL + path) //nolint:noctx // on loopback, with the client's time limit
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// count is how many deliveries came.
func (r *receiver) count() (int64, error) {
	text, err := r.get("/count")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(text), 10, 64)
}

// ages are those of the deliveries to /h/ since the last call, sorted.
func (r *receiver) ages() ([]time.Duration, error) {
	raw, err := r.get("/ages")
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for ; len(raw) >= 8; raw = raw[8:] {
		all = append(all, time.Duration(binary.BigEndian.Uint64(raw)))
	}
	slices.Sort(all)
	return all, nil
}
