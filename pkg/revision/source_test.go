package revision

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
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
	deaf    bool   // calls are not even refused
	text    string // in the only tenant: tells two histories apart
	newest  int64
	tell    chan struct{}
	masks   bool // secrets, as for a key that is no service's
	asked   []int64
	watches int
	hold    chan struct{} // Snapshot waits for it, where not nil
}

func newService(newest int64) *service { return &service{newest: newest} }

func (s *service) message(n int64) *configv1.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := message(n)
	m.Tenants[0].DisplayName = s.text
	if s.masks {
		m.Endpoints[0].Secrets[0], m.Endpoints[0].Headers[0].Value = "whsec_****GVu=", "****"
	}
	return m
}

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
	return &configv1.Snapshot{
		Revision: n, ApplyRevision: n, Tenants: []*configv1.Tenant{{Name: "tenants/a"}},
		Endpoints: []*configv1.Endpoint{{
			Name: "tenants/a/endpoints/e", Metadata: &configv1.Metadata{Etag: "etag"}, DisplayName: "hidden-name", Url: "https://hidden.example",
			Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS, PersonalData: configv1.PersonalData_PERSONAL_DATA_INCLUDE,
			Status: configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT, Secrets: []string{"whsec_aGlkZGVu"}, CaCertificates: "hidden-pem",
			Headers: []*configv1.CustomHeader{{Name: "Authorization", Value: "Bearer hidden-value"}},
		}},
	}
}

func (s *service) Snapshot(ctx context.Context, req *configv1.SnapshotRequest, _ ...grpc.CallOption) (*configv1.SnapshotResponse, error) {
	s.mu.Lock()
	s.asked = append(s.asked, req.GetRevision())
	hold, deaf := s.hold, s.deaf
	s.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return nil, ctx.Err()
	}
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
	return &configv1.SnapshotResponse{Snapshot: s.message(req.GetRevision())}, nil
}

func (s *service) Watch(ctx context.Context, _ *configv1.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[configv1.WatchResponse], error) {
	s.mu.Lock()
	s.watches++
	s.mu.Unlock()
	s.mu.Lock()
	deaf := s.deaf
	s.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return nil, ctx.Err()
	}
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

func (k *keys) has(n int64) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.values[n]
}

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

func put(t *testing.T, k *keys, n int64, m *configv1.Snapshot) {
	t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	k.values[n] = body
}

func TestAStartWhileTheServiceIsAwayWorksFromTheStore(t *testing.T) {
	for name, deaf := range map[string]bool{"refused": false, "nobody answers": true} {
		t.Run(name, func(t *testing.T) {
			s, k := newService(9), newKeys()
			s.away, s.deaf = true, deaf
			put(t, k, 7, Stripped(message(7)))
			k.values[6] = []byte("not a snapshot")
			k.values[5] = k.values[7] // another revision's
			following(t, s, k, func(t *testing.T, source *Source, env daemon.Env) {
				newestIs(t, source, 0, false)
				if f := env.Health.Failing(); len(f) != 1 || f[0].Check != "configuration" {
					t.Errorf("ready without any configuration: %v", f)
				}
				for _, n := range []int64{8, 6, 5} {
					if _, err := (Applied{source}).At(t.Context(), n); err == nil || errors.Is(err, ErrNotReached) {
						t.Errorf("revision %d, which nobody can tell now: %v", n, err)
					}
				}
				found, err := Applied{source}.At(t.Context(), 7)
				if err != nil || found.Revision != 7 {
					t.Fatalf("%v %v", found, err)
				}
				if e, ok := found.Endpoint("tenants/a/endpoints/e"); !ok || e.Profile != ProfileParameters || !e.IncludePersonal || e.Status != Draft {
					t.Errorf("planning reads otherwise than from the service: %+v", e)
				}
				if f := env.Health.Failing(); len(f) != 0 {
					t.Errorf("not ready with a revision to work by: %v", f)
				}
				if _, err := source.At(t.Context(), 7); err == nil {
					t.Error("whoever sends was given endpoints without their secrets")
				}
				s.mu.Lock()
				s.deaf = false
				s.mu.Unlock()
				s.set(false, 9)
				time.Sleep(silence + longestWait)
				if _, err := (Applied{source}).At(t.Context(), 6); err != nil {
					t.Errorf("the service has what the store has not: %v", err)
				}
				whole, err := source.At(t.Context(), 7)
				if err != nil {
					t.Fatal(err)
				}
				if e, _ := whole.Endpoint("tenants/a/endpoints/e"); e.URL == "" || len(e.Secrets) != 1 || len(e.Headers) != 1 {
					t.Errorf("not whole, though the service answers: %+v", e)
				}
			})
		})
	}
}

// A database of the configuration begun anew counts its revisions from 1 again.
func TestAnOldStoreDoesNotSpeakForANewDatabase(t *testing.T) {
	s, k := newService(3), newKeys()
	s.text = "new"
	old := message(3)
	old.Tenants[0].DisplayName = "old"
	put(t, k, 3, old)
	old = message(8)
	old.Tenants[0].DisplayName = "old"
	put(t, k, 8, old)
	following(t, s, k, func(t *testing.T, source *Source, _ daemon.Env) {
		found, err := Applied{source}.At(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		if got := found.Tenants()[0].DisplayName; got != "new" {
			t.Errorf("revision 3 is that of the %s database", got)
		}
		if err := source.Prepare(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		kept := &configv1.Snapshot{}
		if err := proto.Unmarshal(k.has(3), kept); err != nil || kept.GetTenants()[0].GetDisplayName() != "new" {
			t.Errorf("the store keeps revision 3 of the old database: %v", err)
		}
		// A log that is further than the new database stays at what it was decided by.
		if found, err = (Applied{source}).At(t.Context(), 8); err != nil || found.Tenants()[0].DisplayName != "old" {
			t.Errorf("revision 8: %v", err)
		}
	})
}

func TestNoSecretLiesInTheStore(t *testing.T) {
	s, k := newService(9), newKeys()
	put(t, k, 4, message(4)) // by whoever stored all
	following(t, s, k, func(t *testing.T, source *Source, _ daemon.Env) {
		for _, n := range []int64{3, 4} {
			if err := source.Prepare(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"whsec", "aGlkZGVu", "hidden", "Bearer"} {
				if bytes.Contains(k.has(n), []byte(secret)) {
					t.Errorf("revision %d as stored has %q", n, secret)
				}
			}
		}
	})
}

// What is masked would be sent unsigned, or with a mask for a credential.
func TestWhoSendsRefusesAMaskedRevision(t *testing.T) {
	s, k := newService(9), newKeys()
	s.masks = true
	following(t, s, k, func(t *testing.T, source *Source, _ daemon.Env) {
		if found, err := (Applied{source}).At(t.Context(), 4); err != nil || found.Revision != 4 {
			t.Errorf("who plans: %v %v", found, err)
		}
		if _, err := source.At(t.Context(), 4); err == nil || !strings.Contains(err.Error(), "service_key_hashes_file") {
			t.Errorf("who sends: %v", err)
		}
		s.mu.Lock()
		s.masks = false
		s.mu.Unlock()
		if found, err := source.At(t.Context(), 4); err != nil || len(found.Endpoints()[0].Secrets) != 1 {
			t.Errorf("once the key is a service's: %v %v", found, err)
		}
	})
}

func TestAnEmptiedStoreIsFilledAgain(t *testing.T) {
	s, k := newService(9), newKeys()
	following(t, s, k, func(t *testing.T, source *Source, _ daemon.Env) {
		if err := source.Prepare(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		// Another replica's revision, met in the log: nobody here prepares it.
		if _, err := (Applied{source}).At(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.set(true, 9)
		k.mu.Lock()
		k.values = map[int64][]byte{}
		k.mu.Unlock()
		time.Sleep(keepEvery + time.Second)
		synctest.Wait()
		if k.has(4) == nil {
			t.Error("revision 4 is in memory, and not in the store")
		}
		k.mu.Lock()
		k.values = map[int64][]byte{}
		k.mu.Unlock()
		if err := source.Prepare(t.Context(), 3); err != nil || k.has(3) == nil {
			t.Errorf("prepared once more, and not in the store: %v", err)
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
	put(t, k, 2, Stripped(message(2))) // of a process before this one
	following(t, s, k, func(t *testing.T, source *Source, _ daemon.Env) {
		ctx := t.Context()
		if _, err := (Applied{source}).At(ctx, 2); err != nil {
			t.Fatal(err)
		}
		// 4 comes late: the record that names it must be readable all the same.
		for _, n := range []int64{3, 3, 5, 4} {
			if err := source.Prepare(ctx, n); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := slices.Sorted(maps.Keys(k.values)); !slices.Equal(got, []int64{2, 3, 4, 5}) {
			t.Errorf("kept %v", got)
		}
		if !slices.Equal(k.retired, []int64{2, 3, 4}) {
			t.Errorf("retired %v", k.retired)
		}
		kept := &configv1.Snapshot{}
		if err := proto.Unmarshal(k.values[5], kept); err != nil || !proto.Equal(kept, Stripped(message(5))) {
			t.Errorf("%v %v", kept, err)
		}
		k.mu.Lock()
		k.err = errors.New("redis is away")
		k.mu.Unlock()
		if err := source.Prepare(ctx, 6); !errors.Is(err, k.err) {
			t.Errorf("a revision that was not kept: %v", err)
		}
		synctest.Wait()
		k.mu.Lock()
		k.err = nil
		k.mu.Unlock()
		if err := source.Prepare(ctx, 6); err != nil || k.has(6) == nil {
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
