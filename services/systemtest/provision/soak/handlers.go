package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Handlers of events that arrive.
const (
	quick = "quick"
	slow  = "slow"
	// slowTakes is what a question to the slow one takes.
	slowTakes = 15 * time.Millisecond
)

// handlers are the tenant's: they live as long as the run.
type handlers struct {
	check    *check
	listener net.Listener
	server   *http.Server

	mu   sync.Mutex
	rand *rand.Rand
}

func startHandlers(ctx context.Context, c *check, seed uint64) (*handlers, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &handlers{check: c, listener: l, rand: rand.New(rand.NewPCG(seed, 7))}
	h.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: h}
	go h.server.Serve(l) //nolint:errcheck // it ends with close
	return h, nil
}

func (h *handlers) close() error { return h.server.Close() }

func (h *handlers) url(id string) string { return fmt.Sprintf("http://%s/%s", h.listener.Addr(), id) }

func (h *handlers) policy() *configv1.OutboundPolicy {
	address, _ := h.listener.Addr().(*net.TCPAddr)
	return &configv1.OutboundPolicy{PlainHttp: true, Ports: []uint32{uint32(address.Port)}, Networks: []string{"127.0.0.0/8"}}
}

func (h *handlers) draw(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rand.IntN(n)
}

// question is what a handler reads of what it is sent.
type question struct {
	Event struct{ ID, Stage string }
	Data  struct {
		Client struct{ Name string }
		Offer  string
	}
}

// ServeHTTP notes a question when it has come whole, and answers: one in fifty fails, one in twenty actions is forbidden.
func (h *handlers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever asked was killed
	}
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		h.check.wrong("a question is no JSON: %s", body)
		return
	}
	handler := strings.TrimPrefix(r.URL.Path, "/")
	if q.Event.Stage == "after" {
		h.check.askedAfter(handler, q.Data.Offer, r.Header.Get("Webhook-Id"))
		if handler == slow {
			pause.For(r.Context(), slowTakes)
		}
	} else {
		h.check.askedBefore(handler, q.Data.Client.Name)
		pause.For(r.Context(), time.Duration(h.draw(30))*time.Millisecond)
	}
	switch n := h.draw(100); {
	case n < 2:
		w.WriteHeader(http.StatusInternalServerError)
	case n < 7 && handler == "second":
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"reason":"drawn"}`)
	default:
		_, _ = w.Write(body)
	}
}
