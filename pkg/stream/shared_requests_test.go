package stream_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// A partition whose replicas do not answer in time is asked for alone until it succeeds: it holds the others of its
// request back once.
func TestProduce_SlowPartitionIsSentAlone(t *testing.T) {
	t.Parallel()
	cluster := streamtest.EmbeddedCluster(t)
	c, topic, ctx := openOn(t, cluster, 8)
	var mu sync.Mutex
	var failing bool
	var alone, together int // requests with the slow partition, once it had failed
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{5},
		Err: kerr.RequestTimedOut, Count: 3,
		When: func(req kmsg.Request) bool {
			r, ok := req.(*kmsg.ProduceRequest)
			if !ok {
				return false
			}
			for _, p := range r.Topics[0].Partitions {
				if p.Partition == 5 {
					mu.Lock()
					switch {
					case !failing:
					case partitionsOf(r) == 1:
						alone++
					default:
						together++
					}
					failing = true
					mu.Unlock()
					return true
				}
			}
			return false
		}})
	p := c.NewProducer()
	var callers sync.WaitGroup
	var done atomic.Bool
	last := make([]int, 8)
	for n := range 8 { // the others' callers go on until the slow partition's is through
		callers.Go(func() {
			for i := 0; n == 5 && i < 50 || n != 5 && !done.Load(); i++ {
				last[n] = i
				if err := p.Produce(ctx, stream.Record{Topic: topic, Partition: int32(n),
					Value: fmt.Append(nil, i)}); err != nil {
					t.Error(err)
					break
				}
			}
			if n == 5 {
				done.Store(true)
			}
		})
	}
	callers.Wait()
	mu.Lock()
	defer mu.Unlock()
	if alone == 0 || together > 0 {
		t.Errorf("after it had failed, the slow partition stood alone in %d requests and with others in %d", alone,
			together)
	}
	for n := range int32(8) {
		b, err := c.FetchFrom(ctx, topic, n, 0, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		next := 0 // what timed out may have been appended, and comes again
		for _, r := range b.Records {
			i, err := strconv.Atoi(string(r.Value))
			if err != nil || i > next || n != 5 && i < next {
				t.Fatalf("partition %d goes on with %q after %d", n, r.Value, next-1)
			}
			next = max(next, i+1)
		}
		if next != last[n]+1 {
			t.Errorf("partition %d ends with %d, want %d", n, next-1, last[n])
		}
	}
}

// Readers of one group share their requests; a partition whose worker is busy and has enough is left out, and the
// others' records still come.
func TestReaders_ShareRequestsWithoutHoldingOthersBack(t *testing.T) {
	t.Parallel()
	const partitions = 8
	cluster := streamtest.EmbeddedCluster(t)
	c, topic, ctx := openOn(t, cluster, partitions)
	var mu sync.Mutex
	requests, most := 0, 0
	cluster.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if r, ok := req.(*kmsg.FetchRequest); ok {
			mu.Lock()
			requests++
			n := 0
			for _, rt := range r.Topics {
				n += len(rt.Partitions)
			}
			most = max(most, n)
			mu.Unlock()
		}
		return nil, nil, false
	})
	p := c.NewProducer()
	big := make([]byte, 100<<10)
	fill := func(partition int32, n int) {
		for range n {
			if err := p.Produce(ctx, stream.Record{Topic: topic, Partition: partition, Value: big}); err != nil {
				t.Error(err)
			}
		}
	}
	fill(0, 20)
	const rounds = 200
	busy, goOn := make(chan struct{}), make(chan struct{})
	var seen, arrived sync.WaitGroup
	seen.Add(partitions - 1)
	round := make(chan struct{}, partitions)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrived.Go(func() {
		<-busy
		for range rounds {
			var recs []stream.Record
			for n := int32(1); n < partitions; n++ {
				recs = append(recs, stream.Record{Topic: topic, Partition: n, Value: []byte("x")})
			}
			if err := p.Produce(ctx, recs...); err != nil {
				t.Error(err)
				return
			}
			for range partitions - 1 {
				select {
				case <-round:
				case <-ctx.Done():
					return
				}
			}
		}
		close(goOn)
	})
	err := c.Consume(ctx, stream.GroupConfig{Name: "g", Topics: []string{"t"}},
		func(ctx context.Context, cl *stream.Claim) error {
			r := cl.Reader(ctx, 0, stream.FetchOptions{})
			defer r.Close()
			want := rounds
			if cl.Partition == 0 {
				want = 20
			}
			for got := 0; got < want; {
				b, err := r.Next(ctx)
				if err != nil {
					return err
				}
				got += len(b.Records)
				if cl.Partition == 0 && got == len(b.Records) && got > 0 {
					close(busy)
					cl.Waiting(func() {
						select {
						case <-goOn:
						case <-ctx.Done():
						}
					})
				}
				if cl.Partition > 0 {
					for range b.Records {
						round <- struct{}{}
					}
				}
			}
			if cl.Partition > 0 {
				seen.Done()
				<-cl.Draining()
				return nil
			}
			seen.Wait()
			cancel()
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	arrived.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most < partitions-1 {
		t.Errorf("no request was for more than %d partitions", most)
	}
	if each := rounds * (partitions - 1); requests > each*2/3 {
		t.Errorf("%d fetch requests for %d records that came %d at a time", requests, each, partitions-1)
	}
}
