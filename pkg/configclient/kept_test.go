package configclient

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/daemon"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// sender is one replica of a service that sends, which takes each revision as a directory does.
func sender(t *testing.T, s *service, k KeyStore, key string) (source *Source, env daemon.Env, stop func()) {
	t.Helper()
	return senderOf(t, s, k, key, Needs{Encrypted: true})
}

// senderOf is a sender with needs of its own.
func senderOf(t *testing.T, s *service, k KeyStore, key string, needs Needs) (source *Source, env daemon.Env, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	env = daemon.NewEnv("webhook", zap.NewNop())
	source, err := open(ctx, s, nothing{}, key, env, k, needs)
	if err != nil {
		t.Fatal(err)
	}
	source.running.Go(func() {
		for ctx.Err() == nil {
			changed := source.Changed()
			if _, all, ok := source.Newest(); ok {
				_, _ = source.At(ctx, all)
			}
			select {
			case <-changed:
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	})
	synctest.Wait()
	return source, env, func() {
		cancel()
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
}

// sending runs one replica in a bubble of time.
func sending(t *testing.T, s *service, k KeyStore, key string, f func(t *testing.T, source *Source, env daemon.Env)) {
	synctest.Test(t, func(t *testing.T) {
		s.changed = make(chan struct{})
		source, env, stop := sender(t, s, k, key)
		f(t, source, env)
		stop()
	})
}

// works is the revision that a replica has, with its endpoint whole; 0 while it has none.
func works(t *testing.T, source *Source) int64 {
	t.Helper()
	_, all, ok := source.Newest()
	if !ok {
		return 0
	}
	found, err := source.At(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := found.Target("tenants/a/endpoints/e")
	if !ok || e.Value.(*webhook.Endpoint).URL != "https://hidden.example" || len(e.Value.(*webhook.Endpoint).Secrets) != 1 {
		t.Errorf("the endpoint of revision %d is %+v", all, e)
	}
	return found.Revision
}

var space = spaceOf("webhook") + ":encrypted"

func TestKept_AReplicaStartsWithTheHighestRevisionThatOneHasApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newTestService(4), newKeys()
		one, _, stopOne := sender(t, s, k, "service-key")
		s.set(false, 5)
		synctest.Wait()
		if got := works(t, one); got != 5 {
			t.Fatalf("it works by %d", got)
		}
		s.set(true, 5)
		stopOne()
		two, env, stopTwo := sender(t, s, k, "service-key")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := works(t, two); got != 5 {
			t.Errorf("it starts with %d", got)
		}
		if f := env.Health.Failing(); len(f) != 0 || two.Current(5) {
			t.Errorf("not ready: %v; current: %t", f, two.Current(5))
		}
		// Another replica reaches config a moment longer.
		three := newTestService(6)
		other, _, stopThree := sender(t, three, k, "service-key")
		if got := works(t, other); got != 6 {
			t.Fatalf("the other works by %d", got)
		}
		stopThree()
		time.Sleep(2 * recallEvery)
		synctest.Wait()
		if got := works(t, two); got != 6 {
			t.Errorf("what another replica has applied is not: it works by %d", got)
		}
		// config comes back, set back to a backup.
		s.set(false, 5)
		time.Sleep(2 * longestWait)
		synctest.Wait()
		if got := works(t, two); got != 6 || len(env.Health.Failing()) != 1 {
			t.Errorf("it works by %d: %v", got, env.Health.Failing())
		}
		s.set(false, 7)
		time.Sleep(2 * longestWait)
		synctest.Wait()
		if got := works(t, two); got != 7 || len(env.Health.Failing()) != 0 || !two.Current(7) {
			t.Errorf("it works by %d: %v", got, env.Health.Failing())
		}
		stopTwo()
	})
}

func TestKept_TheStoreShowsNothingAndNobodyElseFills(t *testing.T) {
	fill := func(t *testing.T, key string) *keys {
		k := newKeys()
		sending(t, newService(4), k, key, func(t *testing.T, source *Source, _ daemon.Env) {
			if works(t, source) != 4 || k.content(spaced{space, of(4)}) == nil {
				t.Fatal("nothing is kept")
			}
		})
		return k
	}
	k := fill(t, "service-key")
	for _, shown := range []string{"whsec", "aGlkZGVu", "hidden", "Bearer", "tenants/a"} {
		if bytes.Contains(k.content(spaced{space, of(4)}), []byte(shown)) {
			t.Errorf("the store shows %q", shown)
		}
	}
	for name, change := range map[string]func(k *keys){
		"of another key": func(k *keys) {
			*k = keys{values: fill(t, "other-key").values, parts: fill(t, "other-key").parts, seen: k.seen}
		},
		"under a higher one": func(k *keys) { k.values[spaced{space, of(9)}] = k.values[spaced{space, of(4)}] },
		"another list": func(k *keys) {
			v := k.values[spaced{space, of(4)}]
			v.addresses = v.addresses[1:]
		},
		"parts exchanged": func(k *keys) {
			a := k.values[spaced{space, of(4)}].addresses
			k.parts[space+a[0]], k.parts[space+a[1]] = k.parts[space+a[1]], k.parts[space+a[0]]
		},
		"a part damaged": func(k *keys) {
			for at := range k.parts {
				k.parts[at] = append(k.parts[at], 0)
			}
		},
		"plain": func(k *keys) {
			clear(k.parts)
			clear(k.values)
			f := form{address: plainAddress}
			m := message(4)
			m.History = theirs
			var c changes
			found, err := f.snapshot(headOf(m), nil, &c)
			if err = errors.Join(err, (&Source{store: k, space: space, form: f}).put(t.Context(), found)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := fill(t, "service-key")
			change(k)
			s := newService(4)
			s.away = true
			sending(t, s, k, "service-key", func(t *testing.T, source *Source, env daemon.Env) {
				time.Sleep(time.Second)
				synctest.Wait()
				if _, _, ok := source.Newest(); ok {
					t.Error("it is followed")
				}
				if noted := env.Health.Noted(); len(noted) != 1 || noted[0].Code != IncidentStoreRefused {
					t.Errorf("noted: %v", noted)
				}
				// config answers, and replaces it.
				s.set(false, 10)
				time.Sleep(2 * longestWait)
				synctest.Wait()
				if got := works(t, source); got != 10 || len(env.Health.Noted()) != 0 {
					t.Errorf("it works by %d: %v", got, env.Health.Noted())
				}
			})
		})
	}
}

func TestKept_AStoreThatDoesNotAnswerDelaysNoRevision(t *testing.T) {
	k := newKeys()
	s := newService(4)
	sending(t, s, k, "service-key", func(t *testing.T, source *Source, _ daemon.Env) {
		k.fails(errors.New("redis is away"))
		s.set(false, 5)
		synctest.Wait()
		if got := works(t, source); got != 5 {
			t.Errorf("it works by %d", got)
		}
		k.fails(nil)
		time.Sleep(2 * recallEvery)
		synctest.Wait()
		if k.content(spaced{space, of(5)}) == nil {
			t.Error("it is not kept once the store answers")
		}
		k.empty()
		time.Sleep(keepEvery + recallEvery)
		synctest.Wait()
		if k.content(spaced{space, of(5)}) == nil {
			t.Error("an emptied store was not filled again")
		}
	})
}

// A change costs the parts that it is in.
func TestPut_WritesOnlyPartsThatTheStoreDoesNotHave(t *testing.T) {
	k := newKeys()
	f := form{address: plainAddress}
	source := &Source{store: k, space: space, form: f}
	m := &configv1.Snapshot{Revision: 1, History: theirs}
	for i := range 2000 {
		add(m, "tenants/a/endpoints/"+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)), 1)
	}
	var all, one changes
	if err := all.add(m); err != nil {
		t.Fatal(err)
	}
	first, err := f.snapshot(headOf(m), nil, &all)
	if err = errors.Join(err, source.put(t.Context(), first)); err != nil {
		t.Fatal(err)
	}
	if k.puts < 200 {
		t.Errorf("%d parts of 2,000 resources", k.puts)
	}
	k.puts = 0
	changed := &configv1.Snapshot{Revision: 2, History: theirs}
	add(changed, "tenants/a/endpoints/aaa", 2)
	if err := one.add(changed); err != nil {
		t.Fatal(err)
	}
	second, err := f.snapshot(headOf(changed), first, &one)
	if err = errors.Join(err, source.put(t.Context(), second)); err != nil {
		t.Fatal(err)
	}
	if k.puts != 1 {
		t.Errorf("a change of one resource wrote %d parts", k.puts)
	}
}

// suppressing is a stream of suppressions.
type suppressing struct {
	grpc.ServerStreamingClient[configv1.WatchSuppressionsResponse]
	ctx  context.Context
	left chan *configv1.WatchSuppressionsResponse
}

func (s *suppressing) Recv() (*configv1.WatchSuppressionsResponse, error) {
	select {
	case next := <-s.left:
		return next, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

// suppressor is a service of which only suppressions are followed.
type suppressor struct {
	configv1.ConfigWatchServiceClient
	away bool
	left chan *configv1.WatchSuppressionsResponse
}

func (s *suppressor) Watch(context.Context, *configv1.WatchRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[configv1.WatchResponse], error) {
	return nil, errAway
}

func (s *suppressor) WatchSuppressions(ctx context.Context, _ *configv1.WatchSuppressionsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[configv1.WatchSuppressionsResponse], error) {
	if s.away {
		return nil, errAway
	}
	return &suppressing{ctx: ctx, left: s.left}, nil
}

func TestSuppressions_AreKnownAtAStartWithoutTheService(t *testing.T) {
	start := func(t *testing.T, s *suppressor, k KeyStore, key string, f func(t *testing.T, p *Suppressions)) {
		ctx, cancel := context.WithCancel(t.Context())
		source, err := open(ctx, s, nothing{}, key, daemon.NewEnv("email", zap.NewNop()), k, Needs{Encrypted: true})
		if err != nil {
			t.Fatal(err)
		}
		p := source.FollowSuppressions(ctx)
		time.Sleep(2 * recallEvery)
		synctest.Wait()
		f(t, p)
		cancel()
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
	ready := func(p *Suppressions) bool {
		select {
		case <-p.Ready():
			return true
		default:
			return false
		}
	}
	for name, sent := range map[string][]*configv1.WatchSuppressionsResponse{
		"none": {{Reset_: true, Complete: true}},
		"some": {
			{Reset_: true, Added: []string{"tenants/a/suppressions/x", "tenants/a/suppressions/y"}, Position: &configv1.Position{History: 7, Revision: 3}, Complete: true},
			{Added: []string{"tenants/a/suppressions/z"}, Removed: []string{"tenants/a/suppressions/y"}, Position: &configv1.Position{History: 7, Revision: 5}, Complete: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeys()
				s := &suppressor{left: make(chan *configv1.WatchSuppressionsResponse, 9)}
				start(t, s, k, "service-key", func(t *testing.T, p *Suppressions) {
					for _, part := range sent {
						s.left <- part
						time.Sleep(2 * recallEvery)
						synctest.Wait()
					}
					if !ready(p) {
						t.Fatal("not ready")
					}
				})
				s.away = true
				start(t, s, k, "service-key", func(t *testing.T, p *Suppressions) {
					some := name == "some"
					if !ready(p) || p.Has("tenants/a/suppressions/x") != some || p.Has("tenants/a/suppressions/z") != some || p.Has("tenants/a/suppressions/y") {
						t.Errorf("ready: %t, %t %t %t", ready(p), p.Has("tenants/a/suppressions/x"), p.Has("tenants/a/suppressions/z"), p.Has("tenants/a/suppressions/y"))
					}
				})
				start(t, s, k, "other-key", func(t *testing.T, p *Suppressions) {
					if ready(p) {
						t.Error("a list that another wrote is followed")
					}
				})
			})
		})
	}
}
