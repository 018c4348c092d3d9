package configclient

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/daemon"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// accessStore is one that replicas share.
type accessStore struct {
	mu       sync.Mutex
	revision int64
	body     []byte
	away     bool
	stored   func() // called after each store
}

var errStoreAway = errors.New("redis: connection refused")

func (a *accessStore) GetAccess(context.Context, string) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return nil, errStoreAway
	}
	return a.body, nil
}

func (a *accessStore) PutAccess(ctx context.Context, _ string, revision int64, body []byte) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		a.mu.Unlock()
		<-ctx.Done() // it does not even refuse
		a.mu.Lock()
		return false, ctx.Err()
	}
	if revision < a.revision {
		return false, nil
	}
	a.revision, a.body = revision, body
	if a.stored != nil {
		a.stored()
	}
	return true, nil
}

func (a *accessStore) set(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

// inForce are the keys that a replica has, by the last part of their names.
type inForce struct {
	mu  sync.Mutex
	ids []string
	any bool
}

func (f *inForce) replace(keys []access.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids, f.any = nil, true
	for _, k := range keys {
		f.ids = append(f.ids, k.Name[strings.LastIndexByte(k.Name, '/')+1:])
	}
}

func (f *inForce) is(t *testing.T, want ...string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.ids, want) {
		t.Errorf("in force are %v, not %v", f.ids, want)
	}
}

func apiKey(id string) *configv1.ApiKey {
	hash := access.HashOf("tg_" + id)
	return &configv1.ApiKey{Name: "tenants/a/apiKeys/" + id, SecretHash: hash[:], Scopes: []configv1.ApiKeyScope{access.Publish}}
}

// setKeys makes a revision of the service with these keys.
func (s *service) setKeys(ids ...string) {
	s.becomes(func() {
		s.newest++
		s.apiKeys = nil
		for _, id := range ids {
			s.apiKeys = append(s.apiKeys, apiKey(id))
		}
	})
}

// newTestService is made within a bubble.
func newTestService(newest int64) *service {
	s := newService(newest)
	s.changed = make(chan struct{})
	return s
}

// replica runs one with the key that it calls config with, until stop.
func replica(t *testing.T, s *service, store AccessStore, key string) (f *inForce, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	source, err := open(ctx, s, nothing{}, key, daemon.NewEnv("test", zap.NewNop()), nil, Needs{})
	if err != nil {
		t.Fatal(err)
	}
	f = &inForce{}
	if err := source.FollowKeys(ctx, "ingest", store, f.replace); err != nil {
		t.Fatal(err)
	}
	return f, func() { cancel(); source.Close(); synctest.Wait() }
}

func TestKeys_AReplicaStartsWithEveryWithdrawalThatOneHasApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newTestService(1), &accessStore{}
		s.setKeys("k", "other")
		one, stopOne := replica(t, s, store, "service-key")
		two, stopTwo := replica(t, s, store, "service-key")
		synctest.Wait()
		one.is(t, "k", "other")
		two.is(t, "k", "other")
		s.setKeys("other")
		synctest.Wait()
		one.is(t, "other")
		two.is(t, "other")
		stopOne()
		stopTwo()
		s.set(true, s.newest)
		again, stop := replica(t, s, store, "service-key")
		defer stop()
		synctest.Wait()
		again.is(t, "other")
		// Once config answers, what it has holds.
		s.setKeys("other", "new")
		s.set(false, s.newest)
		time.Sleep(longestWait)
		synctest.Wait()
		again.is(t, "other", "new")
	})
}

// A replica that was killed between the two would start with a key that is refused already.
func TestKeys_AWithdrawalIsStoredBeforeItIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newTestService(1), &accessStore{}
		s.setKeys("k")
		one, stop := replica(t, s, store, "service-key")
		defer stop()
		synctest.Wait()
		seen := make(chan []string, 1)
		store.mu.Lock()
		store.stored = func() {
			one.mu.Lock()
			defer one.mu.Unlock()
			seen <- slices.Clone(one.ids)
		}
		store.mu.Unlock()
		s.setKeys()
		if ids := <-seen; !slices.Equal(ids, []string{"k"}) {
			t.Errorf("in force when it was stored: %v", ids)
		}
		synctest.Wait()
		one.is(t)
	})
}

func TestKeys_AWithdrawalHoldsWithin2sWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newTestService(1), &accessStore{}
		s.setKeys("k")
		one, stop := replica(t, s, store, "service-key")
		defer stop()
		synctest.Wait()
		store.set(true)
		s.setKeys()
		time.Sleep(keptTimeout)
		synctest.Wait()
		one.is(t)
		// It goes into the store as soon as that answers.
		store.set(false)
		time.Sleep(keysRetry + keptTimeout)
		synctest.Wait()
		store.mu.Lock()
		defer store.mu.Unlock()
		if store.revision != s.newest {
			t.Errorf("the store has revision %d", store.revision)
		}
	})
}

func TestKeys_AReplicaThatIsCutOffLearnsFromTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reached, cut, store := newTestService(1), newTestService(1), &accessStore{}
		reached.setKeys("k")
		cut.setKeys("k")
		one, stopOne := replica(t, reached, store, "service-key")
		defer stopOne()
		two, stopTwo := replica(t, cut, store, "service-key")
		defer stopTwo()
		synctest.Wait()
		cut.set(true, cut.newest)
		synctest.Wait()
		reached.setKeys()
		time.Sleep(keysRetry)
		synctest.Wait()
		one.is(t)
		two.is(t)
	})
}

func TestKeys_WhatIsKeptIsEncrypted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newTestService(1), &accessStore{}
		s.setKeys("k")
		_, stop := replica(t, s, store, "service-key")
		synctest.Wait()
		stop()
		hash := access.HashOf("tg_k")
		if len(store.body) == 0 || bytes.Contains(store.body, hash[:]) || bytes.Contains(store.body, []byte("apiKeys")) {
			t.Errorf("the store has %q", store.body)
		}
		s.set(true, s.newest)
		for name, change := range map[string]func(b []byte) []byte{
			"another bit":    func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
			"another format": func(b []byte) []byte { b[0]++; return b },
			"a part":         func(b []byte) []byte { return b[:5] },
			"nothing":        func([]byte) []byte { return nil },
		} {
			other := &accessStore{revision: 9, body: change(bytes.Clone(store.body))}
			f, stop := replica(t, s, other, "service-key")
			synctest.Wait()
			if f.any {
				t.Errorf("%s is taken", name)
			}
			stop()
		}
		f, stop := replica(t, s, store, "another-key")
		synctest.Wait()
		if f.any {
			t.Error("opened by another key")
		}
		stop()
	})
}

// What the store has of the configuration may be there before the keys are asked for, and its revision can't be asked of config, which is
// away. Keys of such a replica were never read again.
func TestKeys_AReplicaWithAConfigurationOfTheStoreReadsTheKeysThereToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reached, away := newTestService(4), newTestService(4)
		k, store := newKeys(), &accessStore{}
		reached.setKeys("k", "other")
		one, _, stopOne := sender(t, reached, k, "service-key")
		ctx, cancel := context.WithCancel(t.Context())
		follow := func(source *Source) *inForce {
			f := &inForce{}
			if err := source.FollowKeys(ctx, "ingest", store, f.replace); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return f
		}
		follow(one).is(t, "k", "other")
		away.set(true, 0)
		two, _, stopTwo := sender(t, away, k, "service-key")
		if got := works(t, two); got != reached.newest {
			t.Fatalf("it works by %d of the store", got)
		}
		cut := follow(two)
		cut.is(t, "k", "other")
		// It learns of a withdrawal from the other, with the revision or before.
		reached.setKeys("other")
		synctest.Wait()
		time.Sleep(2 * keysRetry)
		synctest.Wait()
		cut.is(t, "other")
		reached.setKeys()
		time.Sleep(2 * keysRetry)
		synctest.Wait()
		cut.is(t)
		cancel()
		stopOne()
		stopTwo()
	})
}

// A replica of config may be behind the one that another replica follows: its keys are in force again only once it has caught up.
func TestKeys_NeverGoBackToAServiceThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead, behind, store := newTestService(1), newTestService(1), &accessStore{}
		ahead.setKeys("k")
		behind.setKeys("k")
		one, stopOne := replica(t, ahead, store, "service-key")
		defer stopOne()
		two, stopTwo := replica(t, behind, store, "service-key")
		defer stopTwo()
		synctest.Wait()
		behind.set(true, behind.newest)
		synctest.Wait()
		ahead.setKeys("k", "new")
		ahead.setKeys()
		time.Sleep(2 * keysRetry)
		synctest.Wait()
		one.is(t)
		two.is(t)
		behind.setKeys("k", "new")
		behind.set(false, behind.newest)
		time.Sleep(longestWait)
		synctest.Wait()
		two.is(t)
		behind.setKeys("after")
		behind.setKeys("later")
		time.Sleep(longestWait)
		synctest.Wait()
		two.is(t, "later")
	})
}
