package stream_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// oneLog is a client of an embedded broker with one topic of one partition, and how long a test may take.
func oneLog(t *testing.T) (context.Context, *stream.Client) {
	t.Helper()
	c, err := stream.Open(stream.Config{Brokers: streamtest.Embedded(t), Prefix: "rerun"}, zap.NewNop(),
		prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(func() {
		cancel()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.CreateTopics(ctx, []stream.TopicSpec{{Name: "log", Partitions: 1, Replication: 1}}, true); err != nil {
		t.Fatal(err)
	}
	return ctx, c
}

// Work that fails after a commit used to get the offset at its assignment again: it began there, its commits were
// refused as going back, and the partition stood still for ever.
func TestConsume_WorkRunAgainStartsAtItsOwnCommit(t *testing.T) {
	t.Parallel()
	ctx, c := oneLog(t)
	p := c.NewProducer()
	for range 3 {
		if err := p.Produce(ctx, stream.Record{Topic: c.Topic("log"), Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(chan int64, 10)
	consuming, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Consume(consuming, stream.GroupConfig{Name: "g", Topics: []string{"log"}},
			func(ctx context.Context, cl *stream.Claim) error {
				seen <- cl.Committed()
				if cl.Committed() < 2 {
					if err := cl.Commit(ctx, cl.Committed()+2); err != nil {
						return err
					}
					return errors.New("fails after its commit")
				}
				<-cl.Draining()
				return nil
			})
	}()
	for _, want := range []int64{-1, 1, 3} {
		select {
		case got := <-seen:
			if got != want {
				t.Fatalf("work begins at %d, want %d", got, want)
			}
		case <-ctx.Done():
			t.Fatal("work was not run again")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A member that waits for its partitions must learn that there are none: one of two members of a group that reads one
// partition.
func TestConsume_ReportsHowManyPartitionsAreAssigned(t *testing.T) {
	t.Parallel()
	ctx, c := oneLog(t)
	consuming, stop := context.WithCancel(ctx)
	var members sync.WaitGroup
	assigned := make([]chan int, 2)
	for i := range assigned {
		assigned[i] = make(chan int, 100)
		members.Go(func() {
			err := c.Consume(consuming, stream.GroupConfig{Name: "g", Topics: []string{"log"},
				Assigned: func(n int) { assigned[i] <- n }},
				func(_ context.Context, cl *stream.Claim) error {
					<-cl.Draining()
					return nil
				})
			if err != nil {
				t.Error(err)
			}
		})
	}
	last := []int{-1, -1}
	for last[0]+last[1] != 1 || last[0] < 0 || last[1] < 0 {
		select {
		case last[0] = <-assigned[0]:
		case last[1] = <-assigned[1]:
		case <-ctx.Done():
			t.Fatalf("the members were assigned %v partitions last", last)
		}
	}
	stop()
	members.Wait()
}

// Health went on saying that a partition waits, and its replica stayed not ready, until the partition moved: however
// well work went after it had failed once.
func TestClaim_ProgressEndsTheWait(t *testing.T) {
	ctx, c := oneLog(t)
	waiting := make(chan [2]int, 1)
	consuming, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	first := true
	go func() {
		ended <- c.Consume(consuming, stream.GroupConfig{Name: "g", Topics: []string{"log"}},
			func(_ context.Context, cl *stream.Claim) error {
				if first {
					first = false
					return errors.New("the store does not answer")
				}
				cl.Waiting(func() {})
				before := len(c.Health().Waiting)
				cl.Progress()
				waiting <- [2]int{before, len(c.Health().Waiting)}
				<-cl.Draining()
				return nil
			})
	}()
	select {
	case got := <-waiting:
		if got != [2]int{1, 0} {
			t.Errorf("%d wait before the work makes progress and %d after it, want 1 and 0", got[0], got[1])
		}
	case <-ctx.Done():
		t.Fatal("work was not run again")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
