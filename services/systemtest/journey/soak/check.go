package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// patience bounds what a quiet point waits for; it only ends runs that are stuck.
const patience = 5 * time.Minute

// check compares what was sent with what arrived.
type check struct {
	lost, doubled, outOfOrder int
	examples                  []string

	mu       sync.Mutex
	events   int
	again    int
	subjects map[string]*history
	webhooks map[string]string // event, by webhook id
}

// history is what happened to a subscriber.
type history struct {
	sent    []expected
	places  map[string]int // in sent, by event
	highest int            // number of those that arrived without a gap, from the first on
	latest  int            // place of the latest that arrived first
}

// expected is an event, and the webhook about it once that is there.
type expected struct{ id, kind, webhook string }

func newCheck() *check { return &check{subjects: map[string]*history{}, webhooks: map[string]string{}} }

func (c *check) expect(subject, id, kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.subjects[subject]
	if h == nil {
		h = &history{places: map[string]int{}, latest: -1}
		c.subjects[subject] = h
	}
	h.places[id] = len(h.sent)
	h.sent = append(h.sent, expected{id: id, kind: kind})
	c.events++
}

func (c *check) received(subject, id, kind, webhook string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.subjects[subject]
	if h == nil {
		c.add(&c.doubled, "%s about %s, of which nothing was sent", kind, subject)
		return
	}
	at, ok := h.places[id]
	switch e := c.webhooks[webhook]; {
	case !ok || h.sent[at].kind != kind:
		c.add(&c.doubled, "%s about event %q of %s, which was not to come", kind, id, subject)
	case e != "" && e != id:
		c.add(&c.doubled, "webhook %s is about %s and about %s", webhook, e, id)
	case h.sent[at].webhook == webhook:
		c.again++
	case h.sent[at].webhook != "":
		c.add(&c.doubled, "event %s came as webhook %s and as %s", id, h.sent[at].webhook, webhook)
	default:
		h.sent[at].webhook, c.webhooks[webhook] = webhook, id
		if at < h.latest {
			c.add(&c.outOfOrder, "event %s came after %s", id, h.sent[h.latest].id)
		}
		h.latest = max(h.latest, at)
	}
}

// fault is something that must not be received at all.
func (c *check) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(&c.doubled, format, args...)
}

func (c *check) add(count *int, format string, args ...any) {
	if *count++; len(c.examples) < 40 {
		c.examples = append(c.examples, fmt.Sprintf(format, args...))
	}
}

func (c *check) wrong() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost+c.doubled+c.outOfOrder > 0
}

func (c *check) expected() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events
}

func (c *check) repeated() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.again
}

// missing are the events whose webhook is not there.
func (c *check) missing() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.subjects {
		for h.highest < len(h.sent) && h.sent[h.highest].webhook != "" {
			h.highest++
		}
		for _, e := range h.sent[h.highest:] {
			if e.webhook == "" {
				ids = append(ids, e.id)
			}
		}
	}
	return ids
}

// rests waits until everything that was sent has arrived.
func (c *check) rests(ctx context.Context) error {
	end := time.Now().Add(patience)
	for reported := time.Now(); ; {
		ids := c.missing()
		switch {
		case len(ids) == 0:
			fleet.Report("all %d arrived; %d came again", c.expected(), c.repeated())
			return nil
		case time.Now().After(end):
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, id := range ids {
				c.add(&c.lost, "event %s has no webhook after %s", id, patience)
			}
			return nil
		case time.Since(reported) > 20*time.Second:
			fleet.Report("%d have not arrived yet, such as %s", len(ids), ids[0])
			reported = time.Now()
		}
		if !pause.For(ctx, 200*time.Millisecond) {
			return ctx.Err()
		}
	}
}
