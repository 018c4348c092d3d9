package streamtest

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

func testFailingWork(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("failing", 2, nil)
	s.fill(topic, 2, 5)
	var mu sync.Mutex
	var order [2][]string
	heal := make(chan struct{})
	tried, done := make(chan struct{}, 1000), make(chan int32, 10)
	end := s.consume(s.Client, s.group("failing", topic), each(func(r stream.Record) error {
		mu.Lock()
		order[r.Partition] = append(order[r.Partition], string(r.Value))
		mu.Unlock()
		if r.Partition == 1 && string(r.Value) == "2" {
			select {
			case <-heal:
			default:
				tried <- struct{}{}
				return errors.New("redis is away")
			}
		}
		if string(r.Value) == "4" {
			done <- r.Partition
		}
		return nil
	}))
	if got := waitFor(s, "the partition whose work does not fail to go on", done); got != 0 {
		t.Fatalf("partition %d is done first", got)
	}
	for range 3 {
		waitFor(s, "the record on which the work fails to come again", tried)
	}
	s.waitHealth("the waiting partition to show", func(h stream.Health) bool {
		return len(h.Waiting) == 1 && h.Waiting[0].Partition == 1 && h.Waiting[0].For == "work"
	})
	close(heal)
	waitFor(s, "the waiting partition to go on", done)
	s.waitHealth("health to be well again", func(h stream.Health) bool {
		return len(h.Waiting) == 0 &&
			len(h.Incidents) == 0
	})
	if err := end(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(order[0], ""); got != "01234" {
		t.Errorf("partition 0 was handled as %s", got)
	}
	// A batch comes again from the last commit: none of its records is passed over, and none after the failing one
	// comes early.
	if got := strings.Join(order[1], ""); !regexp.MustCompile("^(012|12|2){4,}34$").MatchString(got) ||
		got[:3] != "012" {
		t.Errorf("partition 1 was handled as %s", got)
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
			return errors.Join(errors.New("another member has opened"), stream.ErrRejoin)
		}
		<-cl.Draining()
		return nil
	})
	got := map[int32]int{}
	for range 4 {
		got[waitFor(s, "both partitions to be worked twice", runs)]++
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
	if err := s.NewProducer().Produce(s.ctx, stream.Record{Topic: topic, Partition: 0,
		Value: []byte("x")}); err != nil {
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
		failed <- c.Consume(s.ctx, cfg, each(func(stream.Record) error {
			entered <- struct{}{}
			<-free // does not return, whatever its context
			return nil
		}))
	}()
	waitFor(s, "the handler to be entered", entered)
	if err := waitFor(s, "Consume to end", failed); !errors.Is(err, stream.ErrStuck) {
		t.Fatalf("Consume ended with %v", err)
	}
	if h := c.Health(); len(h.Incidents) != 1 || h.Incidents[0].Code != stream.IncidentStuck ||
		h.Incidents[0].Topic != topic {
		t.Errorf("incidents: %+v", h.Incidents)
	}
	// The member has left: the next owner need not wait for a session timeout, and nothing was skipped.
	seen := make(chan int64, 1)
	cfg.Watchdog = 0
	end := s.consume(s.Client, cfg, each(func(r stream.Record) error {
		seen <- r.Offset
		return nil
	}))
	if got := waitFor(s, "the next owner", seen); got != 0 {
		t.Errorf("the next owner began at %d", got)
	}
	if err := end(); err != nil {
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
	var violations interface{ Unwrap() []error }
	if !errors.As(err, &violations) || len(violations.Unwrap()) != 5 {
		t.Errorf("want five violations (missing, partitions, replicas, policy, retention), got: %v", err)
	}
}
