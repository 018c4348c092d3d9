package queue

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/simulation"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

var histories = simulation.Histories{Short: 1, Test: 1, Long: 1000}

// A consumer that is killed, disconnected and moved to another replica at random gets every event, and those of a subject in
// their order.
func TestSimulation_NothingIsSkippedAndSubjectsKeepTheirOrder(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		simulation.Run(t, histories, func(t *testing.T, seed uint64) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) { checkHistory(newFixture(t, f.cfg.Brokers), seed) })
		})
	})
}

func checkHistory(f *fixture, seed uint64) {
	const subjects, events = 40, 3000
	random := rand.New(rand.NewPCG(seed, 1))
	var all []*event.Event
	number := map[int]int{}
	for range events {
		subject := random.IntN(subjects)
		number[subject]++
		all = append(all, clientUpdated(fmt.Sprintf("%d-%d", subject, number[subject]), fmt.Sprint(subject)))
	}
	h := &consumerHistory{f: f, random: random, acked: map[string]bool{}, last: map[string]int{}}
	f.publish(all[:1000]...)
	for round := range 6 {
		if round < 4 {
			f.publish(all[1000+round*500 : 1500+round*500]...)
		}
		h.life(random.IntN(900))
	}
	for len(h.acked) < events {
		h.life(events)
	}
}

type consumerHistory struct {
	f      *fixture
	random *rand.Rand
	acked  map[string]bool
	// last is the highest number acknowledged of each subject.
	last map[string]int
}

// life is a replica and a stream, until so many were acknowledged; then one of them is killed.
func (h *consumerHistory) life(most int) {
	h.f.Helper()
	r := h.f.replica(nil)
	want := fc76()
	want.Name = "history"
	c := r.subscribe(want)
	begun := len(h.acked)
	for len(h.acked)-begun < most && len(h.acked) < 3000 {
		res, err := c.stream.Recv()
		if err != nil {
			h.f.Fatal(err)
		}
		h.take(c, res.GetEvents())
	}
	switch h.random.IntN(3) {
	case 0:
		r.kill()
	case 1:
		c.cancel()
		r.end()
	default:
		if err := c.stream.CloseSend(); err != nil {
			h.f.Fatal(err)
		}
		_ = c.ends()
		r.end()
	}
}

func (h *consumerHistory) take(c *consumer, events []*ingestv1.QueuedEvent) {
	h.f.Helper()
	var some []*ingestv1.QueuedEvent
	for _, e := range events {
		id := e.GetEvent().GetId()
		subject, text, _ := strings.Cut(id, "-")
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil {
			h.f.Fatal(err)
		}
		switch {
		case h.acked[id] && !e.GetMayHaveBeenSeen():
			h.f.Fatalf("%s comes again without a mark", id)
		case !h.acked[id] && n != h.last[subject]+1:
			h.f.Fatalf("%s comes after number %d of its subject", id, h.last[subject])
		}
		h.acked[id] = true
		h.last[subject] = max(h.last[subject], n)
		some = append(some, e)
	}
	h.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	c.one(some...)
}

func TestSlowReader_HoldsNothingBeyondItsBounds(t *testing.T) {
	f := onEmbedded(t)
	var events []*event.Event
	for i := range 60 {
		e := clientUpdated(fmt.Sprint(i), fmt.Sprint(i))
		e.Data.(*eventv1.ClientChanged).Client.DisplayName = strings.Repeat("x", 300<<10)
		events = append(events, e)
	}
	for len(events) > 0 {
		f.publish(events[:10]...)
		events = events[10:]
	}
	r := f.replica(nil)
	c := r.subscribe(&ingestv1.Subscription{Tenant: "sample", Name: "slow", Types: []string{"client.*"}, Start: earliest()})
	f.until("some of it waits", func() bool { _, unacked, held := r.queue.count(); return unacked+held > 2 })
	if held := r.server.Budget().Held(); held > streamBytes+keptBytes+60*eventBytes {
		t.Errorf("%d bytes are held", held)
	}
	// All of it comes, also what was not kept.
	seen := map[string]bool{}
	for _, e := range c.next(60) {
		seen[e.GetEvent().GetId()] = true
		c.one(e)
	}
	if len(seen) != 60 {
		t.Errorf("%d of 60 came", len(seen))
	}
	f.until("all is given back", func() bool { return r.server.Budget().Held() <= streamBytes+64<<10 })
}

func TestSubscribe_BoundsItsStreams(t *testing.T) {
	f := onEmbedded(t)
	r := f.replica(func(c *Config) { c.MaxStreams = 1 })
	want := &ingestv1.Subscription{Tenant: "sample", Types: []string{"client.*"}, Start: latest()}
	first := r.subscribe(want)
	if _, err := r.try(want); err == nil || !strings.Contains(err.Error(), "TOO_MANY_STREAMS") {
		t.Errorf("%v", err)
	}
	first.cancel()
	_ = first.ends()
	f.until("the first has ended", func() bool { c, err := r.try(want); return err == nil && c != nil })
}

func TestStart_ResumesBehindACursor(t *testing.T) {
	f := onEmbedded(t)
	var events []*event.Event
	for i := range 200 {
		events = append(events, clientUpdated(fmt.Sprint(i), fmt.Sprint(i%17)))
	}
	f.publish(events...)
	r := f.replica(nil)
	want := func() *ingestv1.Subscription {
		return &ingestv1.Subscription{Tenant: "sample", Types: []string{"client.*"}, Ordered: true, Start: earliest()}
	}
	c := r.subscribe(want())
	seen := map[string]bool{}
	var last string
	for len(seen) < 100 {
		res, err := c.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range res.GetEvents() {
			seen[e.GetEvent().GetId()] = true
			last = e.GetCursor()
		}
		c.send(&ingestv1.Ack{Cursor: last})
	}
	resumed := want()
	resumed.Start = atCursor(last)
	c = r.subscribe(resumed)
	for len(seen) < 200 {
		res, err := c.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range res.GetEvents() {
			if id := e.GetEvent().GetId(); seen[id] {
				t.Fatalf("%s comes again behind the last cursor of a response", id)
			} else {
				seen[id] = true
			}
			last = e.GetCursor()
		}
		c.send(&ingestv1.Ack{Cursor: last})
	}
}

// A restart of the broker under a subscription loses nothing.
func TestBroker_KilledUnderASubscription(t *testing.T) {
	onBrokersOwn(t, func(t *testing.T, f *fixture, kill, restart func()) {
		f.publish(clientUpdated("1", "1"))
		r := f.replica(nil)
		c := r.subscribe(fc76())
		c.one(c.next(1)...)
		kill()
		restart()
		f.publish(clientUpdated("2", "1"))
		if ids := c.ids(1); ids != "2" {
			t.Errorf("%q comes", ids)
		}
	})
}
