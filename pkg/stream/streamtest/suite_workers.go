package streamtest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

func testResults(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic, rejected := s.topic("results", 2, nil), s.topic("results.rejected", 1, nil)
	p := s.NewProducer()
	for part := range int32(2) {
		for i := range 5 {
			if err := p.Produce(s.ctx, stream.Record{Topic: topic, Partition: part, Value: []byte(strconv.Itoa(i))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	cfg := s.group("results", topic)
	rejects := make(chan stream.Rejection, 10)
	cfg.Reject = func(ctx context.Context, r stream.Record, why stream.Rejection) error {
		err := p.Produce(ctx, stream.Record{Topic: rejected, Partition: 0, Value: r.Value, Headers: []stream.Header{{Key: "reason", Value: []byte(why.Code)}}})
		if err == nil {
			rejects <- why
		}
		return err
	}
	var mu sync.Mutex
	var order [2][]string
	heal := make(chan struct{})
	tried, done := make(chan struct{}, 1000), make(chan int32, 10)
	end := s.consume(s.Client, cfg, func(ctx context.Context, cl *stream.Claim) error {
		return cl.Each(ctx, func(_ context.Context, r stream.Record) stream.Result {
			mu.Lock()
			order[r.Partition] = append(order[r.Partition], string(r.Value))
			mu.Unlock()
			switch {
			case r.Partition == 0 && string(r.Value) == "1":
				return stream.Poison(stream.Rejection{Code: "BAD", Detail: "for the test"})
			case r.Partition == 0 && string(r.Value) == "2":
				panic("a bug")
			case r.Partition == 1 && string(r.Value) == "2":
				select {
				case <-heal:
				default:
					tried <- struct{}{}
					return stream.Ours(errors.New("redis is away"))
				}
			}
			if string(r.Value) == "4" {
				done <- r.Partition
			}
			return stream.Done()
		})
	})
	if got := await(s, "the partition with poison to go on", done); got != 0 {
		t.Fatalf("partition %d is done first", got)
	}
	for _, code := range []string{"BAD", stream.IncidentPanic} {
		if why := await(s, "rejected records", rejects); why.Code != code {
			t.Errorf("rejected as %q, want %q", why.Code, code)
		}
	}
	for range 3 {
		await(s, "the waiting record to come again", tried)
	}
	s.waitHealth("the waiting record to show", func(h stream.Health) bool {
		return len(h.Waiting) == 1 && h.Waiting[0].Partition == 1 && h.Waiting[0].For == "record"
	})
	close(heal)
	await(s, "the waiting partition to go on", done)
	s.waitHealth("health to be well again", func(h stream.Health) bool { return len(h.Waiting) == 0 && len(h.Incidents) == 0 })
	if err := end(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := order[0]; len(got) != 5 {
		t.Errorf("partition 0 was handled as %v", got)
	}
	for i, v := range order[1] { // 0 1 2 2 2 … 3 4
		if v != "2" && v != map[int]string{0: "0", 1: "1", len(order[1]) - 2: "3", len(order[1]) - 1: "4"}[i] {
			t.Fatalf("partition 1 was handled as %v", order[1])
		}
	}
	if recs := s.readAll(rejected, 0); len(recs) != 2 || string(recs[0].Value) != "1" || string(recs[1].Value) != "2" {
		t.Errorf("the rejected topic holds %d records", len(recs))
	}
	if n := s.metric("tollgate_stream_incidents_total"); n != 1 {
		t.Errorf("%v incidents counted, want the panic's", n)
	}
}

func testLatest(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("latest", 1, nil)
	p := s.NewProducer()
	put := func(v string) {
		t.Helper()
		if err := p.Produce(s.ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte(v)}); err != nil {
			t.Fatal(err)
		}
	}
	put("old")
	cfg := s.group("latest", topic)
	cfg.Start = stream.Latest
	seen := make(chan string, 10)
	claims := make(chan *stream.Claim, 10)
	work := func(ctx context.Context, cl *stream.Claim) error {
		claims <- cl
		return cl.Each(ctx, func(_ context.Context, r stream.Record) stream.Result {
			seen <- string(r.Value)
			return stream.Done()
		})
	}
	end := s.consume(s.Client, cfg, work)
	cl := await(s, "the claim", claims)
	for { // the start is committed before the first record; a second owner sees it
		if s.metric("tollgate_stream_commits_total") > 0 {
			break
		}
		s.waitHealth("the start to be committed", func(stream.Health) bool { return s.metric("tollgate_stream_commits_total") > 0 })
	}
	_ = cl
	if err := end(); err != nil {
		t.Fatal(err)
	}
	put("while nobody was there")
	end = s.consume(s.Client, cfg, work)
	if got := await(s, "the record that came while nobody was there", seen); got != "while nobody was there" {
		t.Errorf("handled %q", got)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

func testRejoin(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("rejoin", 2, nil)
	runs := make(chan int32, 100)
	var once sync.Once
	end := s.consume(s.Client, s.group("rejoin", topic), func(ctx context.Context, cl *stream.Claim) error {
		runs <- cl.Partition
		fenced := false
		if cl.Partition == 0 {
			once.Do(func() { fenced = true })
		}
		if fenced {
			return errors.Join(errors.New("somebody else has opened"), stream.ErrRejoin)
		}
		<-cl.Draining()
		return nil
	})
	got := map[int32]int{}
	for range 4 {
		got[await(s, "both partitions to be worked twice", runs)]++
	}
	if got[0] != 2 || got[1] != 2 {
		t.Errorf("runs per partition: %v", got)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

func testStuck(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("stuck", 1, nil)
	if err := s.NewProducer().Produce(s.ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	cfg := s.group("stuck", topic)
	cfg.Watchdog = 400 * time.Millisecond
	free := make(chan struct{})
	defer close(free)
	entered := make(chan struct{}, 1)
	c := s.open(NewLink(), nil)
	failed := make(chan error, 1)
	go func() {
		failed <- c.Consume(s.ctx, cfg, func(ctx context.Context, cl *stream.Claim) error {
			return cl.Each(ctx, func(context.Context, stream.Record) stream.Result {
				entered <- struct{}{}
				<-free // does not return, whatever its context says
				return stream.Done()
			})
		})
	}()
	await(s, "the handler to be entered", entered)
	if err := await(s, "Consume to end", failed); !errors.Is(err, stream.ErrStuck) {
		t.Fatalf("Consume ended with %v", err)
	}
	if h := c.Health(); len(h.Incidents) != 1 || h.Incidents[0].Code != stream.IncidentStuck || h.Incidents[0].Topic != topic {
		t.Errorf("incidents: %+v", h.Incidents)
	}
	// The member has left: the next owner need not wait for a session timeout, and nothing was skipped.
	seen := make(chan int64, 1)
	cfg.Watchdog = 0
	end := s.consume(s.Client, cfg, func(ctx context.Context, cl *stream.Claim) error {
		return cl.Each(ctx, func(_ context.Context, r stream.Record) stream.Result {
			seen <- r.Offset
			return stream.Done()
		})
	})
	if got := await(s, "the next owner", seen); got != 0 {
		t.Errorf("the next owner began at %d", got)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

func testPause(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("pause", 1, nil)
	p := s.NewProducer()
	put := func() {
		t.Helper()
		if err := p.Produce(s.ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	cfg := s.group("pause", topic)
	claims, seen := make(chan *stream.Claim, 1), make(chan int64, 10)
	end := s.consume(s.Client, cfg, func(ctx context.Context, cl *stream.Claim) error {
		return cl.Each(ctx, func(_ context.Context, r stream.Record) stream.Result {
			if r.Offset == 0 {
				cl.Pause()
				claims <- cl
			}
			seen <- r.Offset
			return stream.Done()
		})
	})
	cl := await(s, "the claim to pause", claims)
	await(s, "the record it paused at", seen)
	put()
	// A member of another group tells that the record is there to be had.
	other := make(chan struct{}, 10)
	endOther := s.consume(s.Client, s.group("pause.other", topic), func(ctx context.Context, cl *stream.Claim) error {
		return cl.Each(ctx, func(_ context.Context, r stream.Record) stream.Result {
			if r.Offset == 1 {
				other <- struct{}{}
			}
			return stream.Done()
		})
	})
	await(s, "the other group to have the record", other)
	select {
	case o := <-seen:
		t.Fatalf("a paused claim handled offset %d", o)
	default:
	}
	cl.Resume()
	if got := await(s, "the record after the pause", seen); got != 1 {
		t.Errorf("handled offset %d after the pause", got)
	}
	if err := errors.Join(end(), endOther()); err != nil {
		t.Fatal(err)
	}
}

func testTopics(t *testing.T, b Broker) {
	s := newSuite(t, b)
	specs := stream.Topics(3)
	if err := s.CreateTopics(s.ctx, specs, true); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateTopics(s.ctx, specs, true); err != nil {
		t.Errorf("creating again: %v", err)
	}
	if err := s.VerifyTopics(s.ctx, specs, true); err != nil {
		t.Errorf("what was just created: %v", err)
	}
	if n, err := s.Partitions(s.ctx, s.Topic(stream.EventsOrdered)); err != nil || n != 3 {
		t.Errorf("%d partitions, %v", n, err)
	}
	if _, err := s.Partitions(s.ctx, s.Topic("nowhere")); !errors.Is(err, stream.ErrUnknownTopic) {
		t.Errorf("partitions of a topic that is not there: %v", err)
	}
	wrong := []stream.TopicSpec{
		{Name: "missing", Partitions: 1, Replication: 1},
		{Name: stream.Audit, Partitions: 4, Replication: 3, Config: map[string]string{
			"cleanup.policy": "compact", "retention.ms": "999999999999", "max.message.bytes": "1"}},
	}
	err := s.VerifyTopics(s.ctx, wrong, false)
	var faults interface{ Unwrap() []error }
	if !errors.As(err, &faults) || len(faults.Unwrap()) != 5 {
		t.Errorf("want five faults (missing, partitions, replicas, policy, retention), got: %v", err)
	}
}
