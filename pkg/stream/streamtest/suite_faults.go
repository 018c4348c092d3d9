package streamtest

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tollgate/tollgate/pkg/stream"
)

// traffic runs producers of several keys and returns what ends them.
func (h *history) traffic(p *stream.Producer, keys int) (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for k := range keys {
		wg.Go(func() { h.produce(h.s.ctx, p, "key-"+strconv.Itoa(k), quit) })
	}
	return func() {
		close(quit)
		wg.Wait()
	}
}

// more waits until n further records were acknowledged.
func (h *history) more(n int) {
	h.s.Helper()
	total := func() int {
		sum := 0
		for _, a := range h.acked {
			sum += a
		}
		return sum
	}
	h.mu.Lock()
	want := total() + n
	h.mu.Unlock()
	h.until("more records to be acknowledged", func() bool { return total() >= want })
}

func testLostAnswers(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("lost", 2, nil)
	h := newHistory(s, topic)
	link := NewLink()
	c := s.open(link, nil)
	var asked, lost [3]atomic.Int64
	link.Lose(func(key int16) Loss {
		i := map[int16]int{KeyProduce: 0, KeyFetch: 1, KeyOffsetCommit: 2}
		n, ok := i[key]
		if ok && asked[n].Add(1)%7 == 0 {
			lost[n].Add(1)
			return Drop
		}
		return Keep
	})
	end := s.consume(c, s.group("lost", topic), h.work)
	stop := h.traffic(c.NewProducer(), 6)
	for {
		key := waitFor(s, "answers to be lost", link.Lost())
		_ = key
		if lost[0].Load() >= 10 && lost[1].Load() >= 10 && lost[2].Load() >= 3 {
			break
		}
	}
	link.Lose(nil)
	stop()
	h.caughtUp()
	if err := end(); err != nil {
		t.Fatal(err)
	}
	h.verify(2)
	t.Logf("answers lost: %d produce, %d fetch, %d commit", lost[0].Load(), lost[1].Load(), lost[2].Load())
}

func testSwallowedAnswers(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("swallowed", 1, nil)
	link := NewLink()
	c := s.open(link, func(cfg *stream.Config) { cfg.CallTimeout = 300 * time.Millisecond })
	p := c.NewProducer()
	rec := func(v string) stream.Record { return stream.Record{Topic: topic, Partition: 0, Value: []byte(v)} }
	if err := p.Produce(s.ctx, rec("0")); err != nil {
		t.Fatal(err)
	}
	var once atomic.Bool
	link.Lose(func(key int16) Loss {
		if key == KeyProduce && once.CompareAndSwap(false, true) {
			return Swallow
		}
		return Keep
	})
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- p.Produce(s.ctx, rec("1")) }()
	waitFor(s, "the answer to be swallowed", link.Lost())
	go func() { second <- p.Produce(s.ctx, rec("2")) }()
	if err := waitFor(s, "the record whose answer was swallowed", first); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(s, "the record behind it", second); err != nil {
		t.Fatal(err)
	}
	var got string
	for _, r := range s.readAll(topic, 0) {
		got += string(r.Value)
	}
	// A slow broker answers others too late, too: they are there again in their place.
	if !regexp.MustCompile("^0+1{2,}2+$").MatchString(got) {
		t.Errorf("the log holds %s, want 0112: the same record again, before anything later", got)
	}
}

func testOutOfRange(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("range", 2, nil)
	s.fill(topic, 2, 10)
	// Both partitions are committed at 3; then the log of partition 0 loses what lies below 6.
	type seen struct {
		partition int32
		offset    int64
	}
	commits := make(chan int32, 2)
	end := s.consume(s.Client, s.group("range", topic), func(ctx context.Context, cl *stream.Claim) error {
		if err := cl.Commit(ctx, 3); err != nil {
			return err
		}
		commits <- cl.Partition
		<-cl.Draining()
		return nil
	})
	waitFor(s, "the first commit", commits)
	waitFor(s, "the second commit", commits)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	CutTopic(t, s.b.Addrs, topic, 0, 6)
	handled := make(chan seen, 100)
	end = s.consume(s.Client, s.group("range", topic), each(func(r stream.Record) error {
		handled <- seen{r.Partition, r.Offset}
		return nil
	}))
	for i := range 7 { // the neighbour goes on
		if got := waitFor(s, "the neighbour's records", handled); got != (seen{1, int64(3 + i)}) {
			t.Fatalf("handled %+v, want partition 1 offset %d: a record was reached by a jump", got, 3+i)
		}
	}
	s.waitHealth("the incident", func(h stream.Health) bool { return len(h.Incidents) == 1 })
	in := s.Health().Incidents[0]
	if in.Code != stream.IncidentOutOfRange || in.Topic != topic || in.Partition != 0 || in.Offset != 3 {
		t.Errorf("incident %+v", in)
	}
	s.waitHealth("the partition to wait", func(h stream.Health) bool {
		return len(h.Waiting) == 1 && h.Waiting[0].For == "work" && h.Waiting[0].Partition == 0
	})
	if err := end(); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-handled:
		t.Errorf("handled %+v after the incident", got)
	default:
	}
	if h := s.Health(); len(h.Incidents) != 0 {
		t.Errorf("incidents of a partition that is no longer ours: %+v", h.Incidents)
	}
	// Beyond the end, below the start, and negative numbers that kafka-go reads as wishes.
	for _, from := range []int64{11, 5, -1, -2} {
		batch, err := s.FetchFrom(s.ctx, topic, 0, from, 1<<20)
		var gone *stream.OutOfRangeError
		if !errors.As(err, &gone) || gone.From != from || gone.Start != 6 || gone.End != 10 {
			t.Errorf("fetch from %d: %v, %v", from, batch.Records, err)
		}
	}
	if batch, err := s.FetchFrom(s.ctx, topic, 0, 10, 1<<20); err != nil || len(batch.Records) != 0 ||
		batch.Next != 10 || batch.End != 10 {
		t.Errorf("a fetch at the log's end: %+v, %v", batch, err)
	}
}

func testControlBatches(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("control", 1, nil)
	s.foreign(func(c *kgo.Client) {
		for i := range 3 {
			if err := c.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := c.ProduceSync(s.ctx, &kgo.Record{Topic: topic,
				Value: []byte(strconv.Itoa(i))}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := c.EndTransaction(s.ctx, kgo.TryCommit); err != nil {
				t.Fatal(err)
			}
		}
	}, kgo.TransactionalID(s.prefix))
	// The log: record, marker, record, marker, record, marker.
	var offsets []int64
	from := int64(0)
	for from < 6 {
		batch, err := s.FetchFrom(s.ctx, topic, 0, from, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.Records {
			offsets = append(offsets, r.Offset)
		}
		if len(batch.Records) == 0 && batch.Next == from && batch.End > from {
			t.Fatalf("stuck at %d below the log's end %d", from, batch.End)
		}
		from = batch.Next
	}
	if len(offsets) != 3 || offsets[0] != 0 || offsets[1] != 2 || offsets[2] != 4 {
		t.Errorf("records at %v, want 0, 2, 4", offsets)
	}
	if batch, err := s.FetchFrom(s.ctx, topic, 0, 5, 1<<20); err != nil || batch.Next != 6 || len(batch.Records) != 0 {
		t.Errorf("a fetch from a marker: %+v, %v", batch, err)
	}
	if n := s.metric("tollgate_stream_offsets_passed_over_total"); n < 3 {
		t.Errorf("passed over %v offsets by the metric, want at least 3", n)
	}
}

func testBrokerKilled(t *testing.T, b Broker) {
	began := time.Now()
	phase := func(what string) {
		t.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond))
		began = time.Now()
	}
	own := b.Own(t)
	phase("broker started")
	b.Addrs = own.Addrs()
	s := newSuite(t, b)
	topic := s.topic("killed", 4, nil)
	h := newHistory(s, topic)
	end := s.consume(s.Client, s.group("killed", topic), h.work)
	stop := h.traffic(s.NewProducer(), 8)
	h.more(500)
	h.until("something to be handled", func() bool { return len(h.firsts) > 0 })
	phase("traffic")
	own.Kill9()
	s.waitHealth("the outage to show", func(hl stream.Health) bool {
		for _, w := range hl.Waiting {
			if w.For == "produce" {
				return true
			}
		}
		return false
	})
	phase("outage seen")
	own.Restart()
	phase("broker back")
	h.more(500)
	phase("producers on")
	stop()
	h.caughtUp()
	phase("consumers caught up")
	if err := end(); err != nil {
		t.Fatal(err)
	}
	h.verify(4)
	if hl := s.Health(); len(hl.Incidents) != 0 {
		t.Errorf("incidents: %+v", hl.Incidents)
	}
}

// metric sums a counter or gauge of the suite's client.
func (s *suite) metric(name string) float64 {
	s.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
