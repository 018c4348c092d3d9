package streamtest

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollgate/tollgate/pkg/stream"
)

func testOrder(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("order", 1, nil)
	p := s.NewProducer()
	// Many callers hand in to one partition at once; each caller's records keep their order, and all
	// bytes come back as they were.
	const callers, each = 16, 200
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for n := 0; n < each; n += 4 {
				var recs []stream.Record
				for i := range 4 {
					recs = append(recs, stream.Record{
						Topic: topic, Partition: 0, Key: []byte(strconv.Itoa(c)), Value: []byte(strconv.Itoa(n + i)),
						Headers: []stream.Header{{Key: "ce_id", Value: []byte(strconv.Itoa(n))}, {Key: "empty"}},
						Time:    time.UnixMilli(1_700_000_000_000 + int64(n)),
					})
				}
				if err := p.Produce(s.ctx, recs...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	next := map[string]int{}
	recs := s.readAll(topic, 0)
	for i, r := range recs {
		seq, _ := strconv.Atoi(string(r.Value))
		if seq != next[string(r.Key)] {
			t.Fatalf("offset %d: caller %s's record %d is where %d belongs", r.Offset, r.Key, seq, next[string(r.Key)])
		}
		next[string(r.Key)]++
		if r.Offset != int64(i) || r.Time.UnixMilli() != 1_700_000_000_000+int64(seq-seq%4) {
			t.Fatalf("record %d came back as offset %d of %s", i, r.Offset, r.Time)
		}
		if v, ok := r.Header("ce_id"); !ok || string(v) != strconv.Itoa(seq-seq%4) {
			t.Fatalf("record %d came back with headers %v", i, r.Headers)
		}
	}
	if len(recs) != callers*each {
		t.Fatalf("%d records in the log, %d handed in", len(recs), callers*each)
	}
	// Keys and values: nil stays nil, empty stays empty.
	results, err := p.ProduceResults(s.ctx,
		stream.Record{Topic: topic, Partition: 0, Value: []byte("no key")},
		stream.Record{Topic: topic, Partition: 0, Key: []byte{}, Value: nil})
	if err != nil {
		t.Fatal(err)
	}
	back, err := s.FetchFrom(s.ctx, topic, 0, results[0].Offset, 1<<20)
	if err != nil || len(back.Records) != 2 {
		t.Fatalf("fetched %d records, %v", len(back.Records), err)
	}
	if r := back.Records[0]; r.Key != nil || string(r.Value) != "no key" {
		t.Errorf("a record without a key came back as %v %v", r.Key, r.Value)
	}
	if r := back.Records[1]; r.Key == nil || len(r.Key) != 0 || r.Value != nil {
		t.Errorf("an empty key and no value came back as %v %v", r.Key, r.Value)
	}
}

func testFreshTopic(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.Topic("fresh")
	p := s.NewProducer()
	// A producer and a group ask for the topic before it exists; a foreign client creates it without waiting.
	seen := make(chan string, 2)
	end := s.consume(s.Client, s.group("fresh", topic), each(func(r stream.Record) error {
		seen <- string(r.Value)
		return nil
	}))
	produced := make(chan error, 1)
	go func() {
		produced <- p.Produce(s.ctx,
			stream.Record{Topic: topic, Partition: stream.AnyPartition, Key: []byte("k"), Value: []byte("1")},
			stream.Record{Topic: topic, Partition: stream.AnyPartition, Key: []byte("k"), Value: []byte("2")})
	}()
	s.waitHealth("both to wait for the topic", func(h stream.Health) bool { return len(h.Waiting) == 2 })
	s.foreign(func(c *kgo.Client) {
		req := kmsg.NewPtrCreateTopicsRequest()
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, 4, 1
		req.Topics = append(req.Topics, rt)
		if _, err := req.RequestWith(s.ctx, c); err != nil {
			t.Fatal(err)
		}
	})
	partition := stream.PartitionOf([]byte("k"), 4)
	batch, err := s.FetchFrom(s.ctx, topic, partition, 0, 1<<20) // at once: no leader may be there yet
	if err != nil {
		t.Fatal(err)
	}
	if err := waitFor(s, "the records to be acknowledged", produced); err != nil {
		t.Fatal(err)
	}
	for batch.Next < 2 {
		more, err := s.FetchFrom(s.ctx, topic, partition, batch.Next, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		batch.Records, batch.Next = append(batch.Records, more.Records...), more.Next
	}
	if len(batch.Records) != 2 || string(batch.Records[0].Value) != "1" {
		t.Fatalf("fetched %v", batch.Records)
	}
	for _, want := range []string{"1", "2"} {
		if got := waitFor(s, "the group to have the records", seen); got != want {
			t.Errorf("handled %s, want %s", got, want)
		}
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if h := s.Health(); len(h.Waiting) != 0 || len(h.Incidents) != 0 {
		t.Errorf("health after all is well: %+v", h)
	}
}

func testRefused(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("refused", 1, map[string]string{"max.message.bytes": "100000",
		"message.timestamp.after.max.ms": "10000"})
	plain := s.open(nil, func(cfg *stream.Config) {
		cfg.Compression = stream.Compression{Public: "none",
			Internal: "none"}
	})
	p := plain.NewProducer(stream.UnknownTopicAfter(2 * time.Second))
	rec := func(value []byte) stream.Record { return stream.Record{Topic: topic, Partition: 0, Value: value} }
	ahead := rec([]byte("ahead"))
	ahead.Time = time.Now().Add(time.Hour)
	huge := bytes.Repeat([]byte("x"), 9<<20)

	recs := []stream.Record{rec([]byte("0")), rec(bytes.Repeat([]byte("x"), 200_000)), rec([]byte("2")), rec(huge),
		{Topic: s.Topic("nowhere"), Partition: stream.AnyPartition, Value: []byte("4")}, rec([]byte("5"))}
	want := []error{nil, stream.ErrTooLarge, nil, stream.ErrTooLarge, stream.ErrUnknownTopic, nil}
	if b.Real() { // the embedded broker does not know the bound
		recs, want = append(recs, ahead, rec([]byte("7"))), append(want, stream.ErrTimestampAhead, nil)
	}
	results, err := p.ProduceResults(s.ctx, recs...)
	for i := range want {
		if !errors.Is(results[i].Err, want[i]) || (want[i] == nil) != (results[i].Err == nil) {
			t.Errorf("record %d: %v, want %v", i, results[i].Err, want[i])
		}
	}
	var one *stream.ProduceError
	if !errors.As(err, &one) || one.Index != 1 {
		t.Errorf("the joined error begins with %v, want record 1", one)
	}
	var got []string
	for _, r := range s.readAll(topic, 0) {
		got = append(got, string(r.Value))
	}
	accepted := []string{"0", "2", "5"}
	if b.Real() {
		accepted = append(accepted, "7")
	}
	if len(got) != len(accepted) {
		t.Fatalf("the log holds %q, want %q", got, accepted)
	}
	for i := range got {
		if got[i] != accepted[i] {
			t.Fatalf("the log holds %q, want %q", got, accepted)
		}
	}
}

func testUnknown(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("unknown", 1, nil)
	link := NewLink()
	c := s.open(link, nil)
	p := c.NewProducer()
	if err := p.Produce(s.ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("before")}); err != nil {
		t.Fatal(err)
	}
	link.Cut()
	// One record waits for the link, and one behind it is given up: it was never sent.
	waited := make(chan error, 1)
	go func() {
		waited <- p.Produce(s.ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("waiting")})
	}()
	s.waitHealthOf(c, "the producer to wait", func(h stream.Health) bool {
		return len(h.Waiting) == 1 && h.Waiting[0].For == "produce" && h.Waiting[0].Topic == topic
	})
	ctx, cancel := context.WithCancel(s.ctx)
	lost := make(chan error, 1)
	go func() { lost <- p.Produce(ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("given up")}) }()
	cancel()
	if err := waitFor(s, "the call to end with its context", lost); !errors.Is(err, stream.ErrUnknown) ||
		!errors.Is(err, context.Canceled) {
		t.Errorf("a call whose context ended returned %v", err)
	}
	after := make(chan error, 1)
	go func() { after <- p.Produce(s.ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("after")}) }()
	link.Mend()
	for _, c := range []<-chan error{waited, after} {
		if err := waitFor(s, "records produced after the link was mended", c); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(s.ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(s.ctx, stream.Record{Topic: topic, Partition: 0}); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("a closed producer returned %v", err)
	}
	recs := s.readAll(topic, 0)
	for _, r := range recs {
		if string(r.Value) == "given up" {
			t.Error("a record that was given up before it was sent was sent all the same")
		}
	}
	if n := len(recs); n < 3 || string(recs[n-1].Value) != "after" {
		t.Errorf("the log holds %d records", n)
	}
}

func testAbsent(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("absent", 1, nil)
	link := NewLink()
	link.Cut()
	c := s.open(link, nil)
	p := c.NewProducer(stream.UnknownTopicAfter(time.Nanosecond))
	produced, fetched := make(chan error, 2), make(chan error, 1)
	go func() { produced <- p.Produce(s.ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("x")}) }()
	go func() {
		produced <- p.Produce(s.ctx, stream.Record{Topic: topic, Partition: stream.AnyPartition, Key: []byte("x")})
	}()
	go func() {
		_, err := c.FetchFrom(s.ctx, topic, 0, 0, 1<<20)
		fetched <- err
	}()
	s.waitHealthOf(c, "all three to wait", func(h stream.Health) bool { return len(h.Waiting) == 3 })
	link.Mend()
	for range 2 {
		if err := waitFor(s, "the records", produced); err != nil {
			t.Errorf("produced before the broker was there: %v", err)
		}
	}
	if err := waitFor(s, "the fetch", fetched); err != nil {
		t.Errorf("fetched before the broker was there: %v", err)
	}
}

// foreign runs f with a client of another library.
func (s *suite) foreign(f func(*kgo.Client), opts ...kgo.Opt) {
	s.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.b.Addrs...)}, opts...)...)
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	f(c)
}

func (s *suite) waitHealth(what string, ok func(stream.Health) bool) {
	s.Helper()
	s.waitHealthOf(s.Client, what, ok)
}

// waitHealthOf asks a client's health until it is as wanted: it is a state, not
// an event, so there is no signal to wait for.
func (s *suite) waitHealthOf(c *stream.Client, what string, ok func(stream.Health) bool) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok(c.Health()) {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.Fatalf("waited in vain for %s; health: %+v", what, c.Health())
		}
	}
}
