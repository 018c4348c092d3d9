package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

type resource = proto.Message

// inbox is when the neighbour's events arrived at its receiver, by their ids.
type inbox struct {
	mu      sync.Mutex
	arrived map[string]time.Time
	news    chan struct{}
}

func newInbox() *inbox { return &inbox{arrived: map[string]time.Time{}, news: make(chan struct{}, 1)} }

func (in *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || !strings.HasPrefix(r.URL.Path, "/good") {
		return
	}
	var e struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	in.mu.Lock()
	if _, repeat := in.arrived[e.ID]; !repeat {
		in.arrived[e.ID] = time.Now()
	}
	in.mu.Unlock()
	select {
	case in.news <- struct{}{}:
	default:
	}
}

// neighbour sends an event every tenth of a second, through all partitions one after the other.
type neighbour struct {
	bed    *bed
	ingest ingestv1.IngestServiceClient

	mu   sync.Mutex
	sent map[string]time.Time
	n    int
	// late is the first event that was not accepted.
	late error
}

const every = 100 * time.Millisecond

func newNeighbour(b *bed) *neighbour {
	return &neighbour{bed: b, ingest: ingestv1.NewIngestServiceClient(b.key["ingest"]), sent: map[string]time.Time{}}
}

// begin sends until ctx ends; it returns once the first events have arrived from every partition.
func (n *neighbour) begin(ctx context.Context) error {
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				go n.send(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	warm, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n.received() < 10*partitions {
		select {
		case <-tick.C:
		case <-warm.Done():
			return fmt.Errorf("the neighbour's first events do not arrive: %d have: %w", n.received(), n.late)
		}
	}
	return nil
}

func (n *neighbour) send(ctx context.Context) {
	n.mu.Lock()
	n.n++
	id, subject := fmt.Sprintf("n-%d", n.n), fmt.Sprintf("client/%d", n.n%257)
	n.mu.Unlock()
	e := &event.Event{ID: id, Source: "neighbour", Type: "client.created", Tenant: "good", Subject: subject, Time: time.Now(), Data: &eventv1.ClientChanged{}}
	before := time.Now()
	_, err := n.ingest.Publish(ctx, &ingestv1.PublishRequest{Event: e.Proto()})
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		if n.late == nil {
			n.late = fmt.Errorf("event %s of the neighbour was not accepted: %w", id, err)
		}
	default:
		// From before it was sent: how long the caller waited counts too.
		n.sent[id] = before
	}
}

func (n *neighbour) received() int64 {
	n.bed.inbox.mu.Lock()
	defer n.bed.inbox.mu.Unlock()
	return int64(len(n.bed.inbox.arrived))
}

// rest forgets what was sent so far.
func (n *neighbour) rest() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.sent)
	n.late = nil
}

// settle goes on for a second, then waits for all that was sent since the rest, and returns how long the slowest took.
func (n *neighbour) settle(ctx context.Context) (slowest time.Duration, err error) {
	after := time.NewTimer(time.Second)
	defer after.Stop()
	select {
	case <-after.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	n.mu.Lock()
	sent, late := map[string]time.Time{}, n.late
	for id, at := range n.sent {
		sent[id] = at
	}
	n.mu.Unlock()
	if late != nil {
		return 0, late
	}
	for id, at := range sent {
		for {
			n.bed.inbox.mu.Lock()
			arrived, there := n.bed.inbox.arrived[id]
			n.bed.inbox.mu.Unlock()
			if there {
				slowest = max(slowest, arrived.Sub(at))
				break
			}
			select {
			case <-n.bed.inbox.news:
			case <-ctx.Done():
				return slowest, fmt.Errorf("event %s of the neighbour, sent %s ago, has not arrived", id, time.Since(at).Round(time.Millisecond))
			}
		}
	}
	return slowest, nil
}
