package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

// receiver is two HTTPS servers, one of HTTP/2 and one of HTTP/1.1 alone, with a path for each endpoint. While it is disturbed an endpoint behaves in one
// of the ways below for a few seconds, then in another.
type receiver struct {
	servers   [2]*fleet.Receiver
	disturbed atomic.Bool
	// misbehaving: each endpoint misbehaves at each request, in one way all the time.
	misbehaving atomic.Bool
	rand        *rand.Rand // of run

	mu       sync.Mutex
	receipts []soak.Receipt
	ways     map[string]string // by endpoint
	counts   map[string]int    // of answers, by way
	// secrets of each endpoint, all that it ever had.
	secrets map[string][]string
}

// Ways to answer. Only the first half of requests of an endpoint that does not just answer meets its way; the others are
// answered: a receiver is seldom wholly dead.
const (
	fine      = "answered"
	slow      = "answered after 300 ms"
	broken    = "500"
	throttled = "429 with Retry-After"
	away      = "503 with Retry-After"
	silent    = "no answer"
	closing   = "closed without an answer"
	gone      = "410"
	dripping  = "500, byte by byte"
	endless   = "500 without end"
	flapping  = "away every other 10 s"
	tenth     = "no answer one time in ten"
	refused   = "422"
	late      = "answered after 900 ms"
)

// drawn are the ways as often as they come.
var drawn = []string{fine, fine, fine, fine, fine, fine, slow, broken, broken, throttled, away, silent, closing, closing, closing}

func newReceiver(ctx context.Context, r *rand.Rand) (*receiver, error) {
	out := &receiver{rand: r, ways: map[string]string{}, counts: map[string]int{}, secrets: map[string][]string{}}
	for i := range out.servers {
		var err error
		out.servers[i], err = fleet.StartReceiver(ctx, http.HandlerFunc(out.receive), func(s *http.Server) {
			if i == 1 {
				s.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){} // no HTTP/2
			}
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// of is the server of an endpoint.
func (r *receiver) of(i int) *fleet.Receiver { return r.servers[i%2] }

// policy lets a tenant reach both.
func (r *receiver) policy() *configv1.OutboundPolicy {
	p := r.servers[0].Policy()
	p.Ports = append(p.Ports, r.servers[1].Policy().GetPorts()...)
	return p
}

func (r *receiver) close() error {
	var faults []error
	for _, s := range r.servers {
		if s != nil {
			faults = append(faults, s.Close())
		}
	}
	return errors.Join(faults...)
}

func (r *receiver) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return soak.Counted(r.counts)
}

func (r *receiver) number() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.receipts)
}

// since returns the receipts from the nth on.
func (r *receiver) since(n int) []soak.Receipt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.receipts[n:])
}

// knows adds a secret of an endpoint.
func (r *receiver) knows(endpoint, secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets[endpoint] = append(r.secrets[endpoint], secret)
}

// run changes the ways until stretch ends.
func (r *receiver) run(_, stretch context.Context) error {
	for pause.For(stretch, 500*time.Millisecond) {
		r.mu.Lock()
		for i := range endpointCount {
			if name := endpointID(i); r.rand.IntN(6) == 0 {
				r.ways[name] = drawn[r.rand.IntN(len(drawn))]
				if r.rand.IntN(120) == 0 {
					r.ways[name] = gone
				}
			}
		}
		r.mu.Unlock()
	}
	return nil
}

func (r *receiver) receive(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(io.LimitReader(q.Body, 1<<20))
	if err != nil {
		return // the sender ended within the request
	}
	way := r.note(q, body)
	switch way {
	case slow:
		pause.For(q.Context(), 300*time.Millisecond)
	case late:
		pause.For(q.Context(), 900*time.Millisecond)
	case broken:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case throttled:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case away:
		w.Header().Set("Retry-After", time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case silent:
		<-q.Context().Done()
		panic(http.ErrAbortHandler)
	case dripping, endless:
		drip(w, q, way == endless)
		panic(http.ErrAbortHandler)
	case refused:
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	case closing:
		panic(http.ErrAbortHandler)
	case gone:
		w.WriteHeader(http.StatusGone)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// note keeps the receipt and returns how it is answered.
func (r *receiver) note(q *http.Request, body []byte) string {
	endpoint := strings.TrimPrefix(q.URL.Path, "/")
	sequence, _ := strconv.ParseInt(q.Header.Get("tollgate-sequence"), 10, 64)
	got := soak.Receipt{
		ID: q.Header.Get("webhook-id"), To: endpoint, Content: content(body, sequence, q.Header.Get("tollgate-previous")), At: time.Now(),
		Wrong: "bears no signature of a secret that its endpoint ever had",
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, secret := range r.secrets[endpoint] {
		if bytes.Contains([]byte(q.Header.Get("webhook-signature")), []byte(signature(secret, q.Header, body))) {
			got.Wrong = ""
		}
	}
	way := fine
	if chosen := r.ways[endpoint]; chosen != "" && r.disturbed.Load() && (got.Content[0] < 128 || r.misbehaving.Load()) {
		way = chosen
	}
	switch {
	case way == flapping && got.At.Unix()/10%2 == 0, way == tenth && got.Content[1]%10 == 0:
		way = silent
	case way == flapping, way == tenth:
		way = fine
	}
	got.Accepted = way == fine || way == slow || way == late
	r.counts[way]++
	r.receipts = append(r.receipts, got)
	return way
}

// content is what must arrive as it was planned.
func content(body []byte, sequence int64, previous string) soak.Content {
	return sha256.Sum256(fmt.Appendf(body[:len(body):len(body)], " %d %s", sequence, previous))
}
