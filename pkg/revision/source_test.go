package revision

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// service is the configuration service as a Source calls it, with every revision up to newest.
type service struct {
	mu      sync.Mutex
	away    bool
	newest  int64
	tell    chan struct{}
	asked   []int64
	watches int
	hold    chan struct{} // Snapshot waits for it, where not nil
}

func newService(newest int64) *service { return &service{newest: newest} }

func (s *service) set(away bool, newest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.newest = away, newest
	close(s.tell)
	s.tell = make(chan struct{})
}

func (s *service) state() (bool, int64, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away, s.newest, s.tell
}

func (s *service) watched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches
}

func (s *service) snapshots() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

var errAway = fault.New(fault.Unavailable, "UNAVAILABLE", "connection refused")

func message(n int64) *configv1.Snapshot {
	return &configv1.Snapshot{Revision: n, ApplyRevision: n, Tenants: []*configv1.Tenant{{Name: "tenants/a"}}}
}

func (s *service) Snapshot(ctx context.Context, req *configv1.SnapshotRequest, _ ...grpc.CallOption) (*configv1.SnapshotResponse, error) {
	s.mu.Lock()
	s.asked = append(s.asked, req.GetRevision())
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	away, newest, _ := s.state()
	switch {
	case away:
		return nil, errAway
	case req.GetRevision() > newest:
		return nil, fault.New(fault.NotFound, "REVISION_UNKNOWN", "not reached")
	}
	return &configv1.SnapshotResponse{Snapshot: message(req.GetRevision())}, nil
}

func (s *service) Watch(ctx context.Context, _ *configv1.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[configv1.WatchResponse], error) {
	s.mu.Lock()
	s.watches++
	s.mu.Unlock()
	if away, _, _ := s.state(); away {
		return nil, errAway
	}
	return &watch{ctx: ctx, service: s, last: -1}, nil
}

type watch struct {
	grpc.ServerStreamingClient[configv1.WatchResponse]
	ctx     context.Context
	service *service
	last    int64
}

// Recv tells a new standing once and is silent for ever after: the Source must notice.
func (w *watch) Recv() (*configv1.WatchResponse, error) {
	for {
		away, newest, tell := w.service.state()
		if away {
			return nil, errAway
		}
		if newest != w.last {
			w.last = newest
			return &configv1.WatchResponse{Revision: newest, ApplyRevision: newest}, nil
		}
		select {
		case <-tell:
		case <-w.ctx.Done():
			return nil, w.ctx.Err()
		}
	}
}

// keys is a KeyStore in memory.
type keys struct {
	mu      sync.Mutex
	values  map[int64][]byte
	retired []int64
	err     error
}

func newKeys() *keys { return &keys{values: map[int64][]byte{}} }

func (k *keys) GetRevision(_ context.Context, n int64) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.values[n], k.err
}

func (k *keys) PutRevision(_ context.Context, n int64, body []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values[n] = body
	return k.err
}

func (k *keys) RetireRevision(_ context.Context, n int64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retired = append(k.retired, n)
	return k.err
}

type nothing struct{}

func (nothing) Close() error { return nil }

var _ io.Closer = nothing{}

// following runs f with a Source in a bubble of time.
func following(t *testing.T, s *service, k KeyStore, f func(t *testing.T, source *Source, env daemon.Env)) {
	synctest.Test(t, func(t *testing.T) {
		// Channels belong to the bubble they were made in.
		s.tell = make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		env := daemon.NewEnv("safeguard", zap.NewNop())
		source, err := open(ctx, s, nothing{}, env, k)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f(t, source, env)
		stop()
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
}

func newestIs(t *testing.T, s *Source, want int64, wantOK bool) {
	t.Helper()
	apply, all, ok := s.Newest()
	if apply != want || all != want || ok != wantOK {
		t.Errorf("newest %d, %d, %v; want %d, %v", apply, all, ok, want, wantOK)
	}
	if (Applied{s}).Newest() != want {
		t.Errorf("applied %d, want %d", Applied{s}.Newest(), want)
	}
}

func TestNewsArrive(t *testing.T) {
	s := newService(0)
	following(t, s, nil, func(t *testing.T, source *Source, env daemon.Env) {
		newestIs(t, source, 0, true)
		changed := source.Changed()
		s.set(false, 3)
		<-changed
		newestIs(t, source, 3, true)
		if f := env.Health.Failing(); len(f) != 0 {
			t.Errorf("not ready: %v", f)
		}
	})
}

func TestALostServiceIsFoundAgain(t *testing.T) {
	s := newService(2)
	following(t, s, nil, func(t *testing.T, source *Source, env daemon.Env) {
		s.set(true, 2)
		time.Sleep(time.Minute)
		newestIs(t, source, 2, true)
		if f := env.Health.Failing(); len(f) != 0 {
			t.Errorf("what is known already is enough to go on: %v", f)
		}
		if s.watched() < 10 || s.watched() > 40 {
			t.Errorf("%d attempts in a minute", s.watched())
		}
		s.set(false, 5)
		time.Sleep(longestWait)
		synctest.Wait()
		newestIs(t, source, 5, true)
	})
}

func TestASilentWatchIsLost(t *testing.T) {
	s := newService(2)
	following(t, s, nil, func(t *testing.T, source *Source, _ daemon.Env) {
		time.Sleep(silence - time.Second)
		synctest.Wait()
		if s.watched() != 1 {
			t.Fatalf("%d watches before the silence was too long", s.watched())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s.watched() != 2 {
			t.Errorf("%d watches after it", s.watched())
		}
	})
}

func TestAStartWhileTheServiceIsAwayWorksFromTheStore(t *testing.T) {
	s, k := newService(9), newKeys()
	s.away = true
	body, err := proto.Marshal(message(7))
	if err != nil {
		t.Fatal(err)
	}
	k.values[7] = body
	k.values[6] = []byte("not a snapshot")
	k.values[5] = body // another revision's
	following(t, s, k, func(t *testing.T, source *Source, env daemon.Env) {
		newestIs(t, source, 0, false)
		if f := env.Health.Failing(); len(f) != 1 || f[0].Check != "configuration" {
			t.Errorf("ready without any configuration: %v", f)
		}
		for _, n := range []int64{8, 6, 5} {
			if _, err := source.At(t.Context(), n); !errors.Is(err, errAway) || errors.Is(err, ErrNotReached) {
				t.Errorf("revision %d, which nobody can tell now: %v", n, err)
			}
		}
		found, err := source.At(t.Context(), 7)
		if err != nil || found.Revision != 7 {
			t.Fatalf("%v %v", found, err)
		}
		if f := env.Health.Failing(); len(f) != 0 {
			t.Errorf("not ready with a revision to work by: %v", f)
		}
		s.set(false, 9)
		time.Sleep(longestWait)
		if _, err := source.At(t.Context(), 6); err != nil {
			t.Errorf("the service has what the store has not: %v", err)
		}
	})
}

func TestARevisionIsReadOnceAndRemembered(t *testing.T) {
	s := newService(9)
	following(t, s, newKeys(), func(t *testing.T, source *Source, _ daemon.Env) {
		s.mu.Lock()
		s.hold = make(chan struct{})
		s.mu.Unlock()
		var all sync.WaitGroup
		for range 24 {
			all.Go(func() {
				if found, err := source.At(t.Context(), 4); err != nil || found.Revision != 4 {
					t.Errorf("%v %v", found, err)
				}
			})
		}
		synctest.Wait()
		close(s.hold)
		all.Wait()
		if !slices.Equal(s.snapshots(), []int64{4}) {
			t.Errorf("24 partitions asked for %v", s.snapshots())
		}
		for _, n := range []int64{5, 6, 7, 4, 8, 4} {
			if _, err := source.At(t.Context(), n); err != nil {
				t.Error(err)
			}
		}
		if !slices.Equal(s.snapshots(), []int64{4, 5, 6, 7, 8}) {
			t.Errorf("asked for %v: what is used stays in memory", s.snapshots())
		}
		if empty, err := source.At(t.Context(), 0); err != nil || len(empty.Tenants()) != 0 {
			t.Errorf("revision 0: %v %v", empty, err)
		}
		if _, err := source.At(t.Context(), 10); !errors.Is(err, ErrNotReached) {
			t.Errorf("a revision to come: %v", err)
		}
	})
}

func TestPrepareKeepsARevisionAndLetsTheOneBeforeGo(t *testing.T) {
	s, k := newService(9), newKeys()
	body, err := proto.Marshal(message(2))
	if err != nil {
		t.Fatal(err)
	}
	k.values[2] = body // of a process before this one
	following(t, s, k, func(t *testing.T, source *Source, _ daemon.Env) {
		ctx := t.Context()
		if _, err := source.At(ctx, 2); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int64{3, 3, 5, 4} {
			if err := source.Prepare(ctx, n); err != nil {
				t.Fatal(err)
			}
		}
		if got := slices.Sorted(maps.Keys(k.values)); !slices.Equal(got, []int64{2, 3, 5}) {
			t.Errorf("kept %v", got)
		}
		if !slices.Equal(k.retired, []int64{2, 3}) {
			t.Errorf("retired %v", k.retired)
		}
		kept := &configv1.Snapshot{}
		if err := proto.Unmarshal(k.values[5], kept); err != nil || !proto.Equal(kept, message(5)) {
			t.Errorf("%v %v", kept, err)
		}
		k.err = errors.New("redis is away")
		if err := source.Prepare(ctx, 6); !errors.Is(err, k.err) {
			t.Errorf("a revision that was not kept: %v", err)
		}
		k.err = nil
		if err := source.Prepare(ctx, 6); err != nil || k.values[6] == nil {
			t.Errorf("the second attempt: %v", err)
		}
	})
}

func TestAServiceSetBackIsBelieved(t *testing.T) {
	s := newService(9)
	following(t, s, nil, func(t *testing.T, source *Source, _ daemon.Env) {
		if _, err := source.At(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		s.set(false, 3)
		synctest.Wait()
		newestIs(t, source, 3, true)
		if _, err := source.At(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.snapshots(), []int64{3, 3}) {
			t.Errorf("asked for %v: revision 3 may be another one now", s.snapshots())
		}
	})
}
