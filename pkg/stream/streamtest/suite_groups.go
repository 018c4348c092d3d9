package streamtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

func testCommits(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("commits", 1, nil)
	p := s.NewProducer()
	for range 10 {
		if err := p.Produce(s.ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	claims := make(chan *stream.Claim, 10)
	work := func(ctx context.Context, cl *stream.Claim) error {
		claims <- cl
		<-cl.Draining()
		return nil
	}
	cfg := s.group("commits", topic)
	end := s.consume(s.Client, cfg, work)
	cl := waitFor(s, "the claim", claims)
	if cl.Committed() != -1 {
		t.Errorf("a new group has committed %d", cl.Committed())
	}
	if err := cl.Commit(s.ctx, 5); err != nil {
		t.Fatal(err)
	}
	if err := cl.Commit(s.ctx, 4); !errors.Is(err, stream.ErrNotMonotonic) {
		t.Errorf("a commit of 4 after 5 returned %v", err)
	}
	if err := cl.Commit(s.ctx, 5); err != nil {
		t.Errorf("the same commit again: %v", err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if err := cl.Commit(s.ctx, 9); !errors.Is(err, stream.ErrRevoked) {
		t.Errorf("a commit after the member has left returned %v", err)
	}
	end = s.consume(s.Client, cfg, work)
	cl = waitFor(s, "the claim of the second life", claims)
	if cl.Committed() != 5 {
		t.Errorf("committed is %d, want 5", cl.Committed())
	}
	if err := cl.Commit(s.ctx, 3); !errors.Is(err, stream.ErrNotMonotonic) {
		t.Errorf("a commit of 3 below the group's 5 returned %v", err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

// member is one process of a group: a client over a link of its own.
type member struct {
	link *Link
	got  chan int32 // partitions assigned
	end  func() error
}

func (s *suite) member(h *history, cfg stream.GroupConfig) *member {
	m := &member{link: NewLink(), got: make(chan int32, 1000)}
	c := s.open(m.link, nil)
	m.end = s.consume(c, cfg, func(ctx context.Context, cl *stream.Claim) error {
		m.got <- cl.Partition
		return h.work(ctx, cl)
	})
	return m
}

func testRebalance(t *testing.T, b Broker) {
	s := newSuite(t, b)
	const partitions = 6
	topic := s.topic("rebalance", partitions, nil)
	h := newHistory(s, topic)
	cfg := s.group("rebalance", topic)
	cfg.Session, cfg.Drain = s.b.Session, s.b.Session/2 // the end of a session is waited for
	stop := h.traffic(s.NewProducer(), 12)

	first := s.member(h, cfg)
	for range partitions {
		waitFor(s, "the first member's partitions", first.got)
	}
	second := s.member(h, cfg) // joins
	waitFor(s, "the second member's partition", second.got)
	third := s.member(h, cfg) // joins
	waitFor(s, "the third member's partition", third.got)
	h.more(300)

	if err := second.end(); err != nil { // leaves
		t.Fatal(err)
	}
	drainChannel(first.got)
	drainChannel(third.got)
	h.more(300)

	third.link.Cut() // killed: its partitions move after the session timeout
	began := time.Now()
	got := map[int32]bool{}
	for len(got) < partitions {
		got[waitFor(s, "all partitions to be the first member's", first.got)] = true
	}
	t.Logf("partitions of the killed member moved after %s", time.Since(began).Round(time.Millisecond))
	h.more(300)
	stop()
	h.caughtUp()
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	h.verify(partitions)
}

func drainChannel[T any](c <-chan T) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}

func testDrain(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("drain", 2, nil)
	if err := s.NewProducer().Produce(s.ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("x")},
		stream.Record{Topic: topic, Partition: 1, Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	cfg := s.group("drain", topic)
	began, ended := make(chan int32, 10), make(chan error, 10)
	work := func(ctx context.Context, cl *stream.Claim) error {
		if cl.Committed() >= 0 {
			began <- cl.Partition
			<-cl.Draining()
			return nil
		}
		batch, err := cl.Fetch(ctx, 0, stream.FetchOptions{})
		if err != nil {
			return err
		}
		began <- cl.Partition
		<-cl.Draining()
		if _, err := cl.Fetch(ctx, batch.Next, stream.FetchOptions{}); !errors.Is(err, stream.ErrRevoked) {
			t.Errorf("a fetch while draining returned %v", err)
		}
		if ctx.Err() != nil {
			t.Error("the work's context ended before the drain deadline")
		}
		ended <- cl.Commit(ctx, batch.Next)
		return nil
	}
	end := s.consume(s.Client, cfg, work)
	waitFor(s, "the first partition's work", began)
	waitFor(s, "the second partition's work", began)
	// A second member: both partitions are revoked, and what was begun is committed before they move.
	other := s.open(NewLink(), nil)
	endOther := s.consume(other, cfg, work)
	for range 2 {
		if err := waitFor(s, "the commits of what was begun", ended); err != nil {
			t.Errorf("a commit while draining: %v", err)
		}
	}
	waitFor(s, "the first partition's next owner", began)
	waitFor(s, "the second partition's next owner", began)
	if err := errors.Join(end(), endOther()); err != nil {
		t.Fatal(err)
	}

	// Work that goes on is ended by its context once the drain deadline has passed.
	cfg.Drain = s.b.Session / 2
	entered, over := make(chan struct{}, 2), make(chan struct{}, 2)
	end = s.consume(s.Client, cfg, func(ctx context.Context, cl *stream.Claim) error {
		entered <- struct{}{}
		<-ctx.Done()
		over <- struct{}{}
		return ctx.Err()
	})
	waitFor(s, "work that does not drain", entered)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	waitFor(s, "the work's context to end", over)
}
