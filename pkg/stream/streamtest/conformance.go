package streamtest

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
)

// patience is how long a test waits for a named signal before it fails. It is
// generous: a machine may be busy, and nothing waits for it in a run that passes.
const patience = 5 * time.Minute

// Conformance checks on one broker what package stream promises.
func Conformance(t *testing.T, b Broker) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, b Broker)
	}{
		{"records of one partition are appended in the order of hand-in", testOrder},
		{"a topic is usable the moment it is created", testFreshTopic},
		{"a client that starts before its broker waits for it", testAbsent},
		{"a refused record does not hold others back", testRefused},
		{"a producer whose context ended returns unknown and goes on", testUnknown},
		{"lost answers repeat records but lose and reorder none", testLostAnswers},
		{"answers that never come end by the deadline", testSwallowedAnswers},
		{"offsets out of range are an incident and never a jump", testOutOfRange},
		{"a fetch passes over control batches and nothing else", testControlBatches},
		{"commits never move back and end with the generation", testCommits},
		{"positions of a group without members are kept with their metadata", testPositions},
		{"offsets that need not be waited for are committed together", testCommitSoon},
		{"what a member commits beside an offset reaches the next one", testCommittedMetadata},
		{"members that join, leave and are killed hand over without a gap", testRebalance},
		{"a drained worker finishes and commits what it began", testDrain},
		{"work that fails is run again at its record, and neighbours go on", testFailingWork},
		{"a worker that asks to rejoin gets its partitions again", testRejoin},
		{"a stuck worker leaves its partition to others and ends Consume", testStuck},
		{"topics are created by the table and every violation is listed", testTopics},
		{"a broker killed while both sides run loses nothing", testBrokerKilled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of their time is a broker's session timeout
			c.run(t, b)
		})
	}
}

// suite is what one test of the suite works with.
type suite struct {
	*testing.T
	b      Broker
	prefix string
	ctx    context.Context
	*stream.Client
	reg *prometheus.Registry
}

func newSuite(t *testing.T, b Broker) *suite {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	s := &suite{T: t, b: b, prefix: NewPrefix(t), ctx: ctx, reg: prometheus.NewRegistry()}
	s.Client = s.open(nil, nil)
	return s
}

// open makes a further client, over a link of its own when there is one.
func (s *suite) open(l *Link, change func(*stream.Config)) *stream.Client {
	s.Helper()
	cfg := stream.Config{Brokers: s.b.Addrs, Prefix: s.prefix, ClientID: "conformance"}
	if l != nil {
		cfg.Dial = l.Dial
	}
	if change != nil {
		change(&cfg)
	}
	reg := prometheus.NewRegistry()
	if s.Client == nil {
		reg = s.reg
	}
	c, err := stream.Open(cfg, zap.NewNop(), reg)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// topic creates one and returns its full name.
func (s *suite) topic(name string, partitions int, config map[string]string) string {
	s.Helper()
	err := s.CreateTopics(s.ctx, []stream.TopicSpec{{Name: name, Partitions: partitions, Config: config,
		Replication: 1}}, true)
	if err != nil {
		s.Fatal(err)
	}
	return s.Topic(name)
}

// group is a configuration whose members no busy machine makes late, and that learn soon of each other.
func (s *suite) group(name string, topics ...string) stream.GroupConfig {
	return stream.GroupConfig{
		Name: name, Topics: topics,
		Session: 6 * time.Second, Heartbeat: s.b.Session / 5, Drain: 3 * time.Second,
	}
}

// waitFor fails the test when the signal does not come.
func waitFor[T any](s *suite, what string, c <-chan T) T {
	s.Helper()
	select {
	case v := <-c:
		return v
	case <-s.ctx.Done():
		s.Fatalf("waited in vain for %s; health: %+v", what, s.Health())
		panic("unreachable")
	}
}

// consume runs a group member until the returned function is called, which
// waits for Consume to end and returns its error.
func (s *suite) consume(c *stream.Client, cfg stream.GroupConfig,
	work func(context.Context, *stream.Claim) error) (end func() error) {
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- c.Consume(ctx, cfg, work) }()
	ended := false
	end = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			s.Error("Consume did not end")
			return nil
		}
	}
	s.Cleanup(func() { _ = end() })
	return end
}

// fill produces the numbers below n to each partition of a topic, one after the other.
func (s *suite) fill(topic string, partitions, n int) {
	s.Helper()
	p := s.NewProducer()
	for partition := range int32(partitions) {
		for i := range n {
			if err := p.Produce(s.ctx, stream.Record{Topic: topic, Partition: partition,
				Value: []byte(strconv.Itoa(i))}); err != nil {
				s.Fatal(err)
			}
		}
	}
}

// each is work that hands on a claim's records one by one.
func each(handle func(stream.Record) error) func(context.Context, *stream.Claim) error {
	return func(ctx context.Context, cl *stream.Claim) error {
		return cl.Each(ctx, stream.FetchOptions{}, func(_ context.Context, b stream.Batch) error {
			for _, r := range b.Records {
				if err := handle(r); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// readAll reads a whole partition outside any group.
func (s *suite) readAll(topic string, partition int32) []stream.Record {
	s.Helper()
	from, end, err := s.Offsets(s.ctx, topic, partition)
	if err != nil {
		s.Fatal(err)
	}
	var out []stream.Record
	for from < end {
		b, err := s.FetchFrom(s.ctx, topic, partition, from, 1<<20)
		if err != nil {
			s.Fatal(err)
		}
		out = append(out, b.Records...)
		from = b.Next
	}
	return out
}
