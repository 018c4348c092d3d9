package redisstate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/state"
)

// gate holds the first pipeline until it is opened, and notes how many scripts each has.
type gate struct {
	held  chan struct{}
	open  chan struct{}
	once  sync.Once
	mu    sync.Mutex
	sizes []int
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		g.mu.Lock()
		g.sizes = append(g.sizes, len(commands))
		g.mu.Unlock()
		g.once.Do(func() {
			close(g.held)
			<-g.open
		})
		return next(ctx, commands)
	}
}

// grouped is a store whose first group is held.
func grouped(t *testing.T) (*Store, *gate) {
	server := miniredis.RunT(t)
	c := DefaultConfig()
	c.Address = server.Addr()
	s, err := connect(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	g := &gate{held: make(chan struct{}), open: make(chan struct{})}
	s.redis.AddHook(g)
	return s, g
}

func opened(t *testing.T, s *Store, n int) (partitions []state.Partition, marks []state.Watermark) {
	t.Helper()
	for i := range n {
		p := state.Partition{Domain: "d", Number: int32(i), Count: int32(n)}
		w, err := s.Open(t.Context(), p, "here:1")
		if err != nil {
			t.Fatal(err)
		}
		partitions, marks = append(partitions, p), append(marks, w)
	}
	return partitions, marks
}

// waits returns once n commits wait for a group.
func (g *group) waits(n int) {
	for {
		g.mu.Lock()
		there := len(g.waiting)
		g.mu.Unlock()
		if there == n {
			return
		}
		runtime.Gosched()
	}
}

func TestCommit_GoesWithThoseThatAreReady(t *testing.T) {
	s, gate := grouped(t)
	const n = groupMost + 5
	partitions, marks := opened(t, s, n)
	marks[3].Serial += 7 // fenced
	errs := make([]error, n)
	var all sync.WaitGroup
	send := func(i int) {
		all.Go(func() {
			to := marks[i]
			to.Serial++
			errs[i] = s.Commit(t.Context(), partitions[i], marks[i], to, state.Commit{Puts: []state.Entry{{Key: "k", Value: fmt.Append(nil, i)}}})
		})
	}
	send(0)
	<-gate.held
	for i := 1; i < n; i++ {
		send(i)
	}
	s.group.waits(n - 1)
	if err := s.redis.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	close(gate.open)
	all.Wait()
	for i, err := range errs {
		if i == 3 {
			if !errors.Is(err, state.ErrFenced) {
				t.Errorf("the fenced one: %v", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("commit %d: %v", i, err)
		}
		w, values, err := s.Peek(t.Context(), partitions[i], []string{"k"})
		if err != nil || w.Serial != marks[i].Serial+1 || string(values[0]) != fmt.Sprint(i) {
			t.Errorf("partition %d stands at %d with %q: %v", i, w.Serial, values[0], err)
		}
	}
	if got := fmt.Sprint(gate.sizes); got != fmt.Sprint([]int{1, groupMost, n - 1 - groupMost}) {
		t.Errorf("went in groups of %s", got)
	}
}

func TestCommit_LargeOneGoesBesideTheOthers(t *testing.T) {
	s, gate := grouped(t)
	partitions, marks := opened(t, s, 2)
	done := make(chan error)
	go func() { done <- s.Commit(t.Context(), partitions[0], marks[0], marks[0], state.Commit{}) }()
	<-gate.held
	large := state.Commit{Puts: []state.Entry{{Key: "k", Value: make([]byte, aloneBytes)}}}
	if err := s.Commit(t.Context(), partitions[1], marks[1], marks[1], large); err != nil {
		t.Error(err)
	}
	close(gate.open)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCommit_GivenUpWhileItWaits(t *testing.T) {
	s, gate := grouped(t)
	partitions, marks := opened(t, s, 2)
	first := make(chan error)
	go func() { first <- s.Commit(t.Context(), partitions[0], marks[0], marks[0], state.Commit{}) }()
	<-gate.held
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() { second <- s.Commit(ctx, partitions[1], marks[1], marks[1], state.Commit{}) }()
	s.group.waits(1)
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	close(gate.open)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
