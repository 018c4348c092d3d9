package configclient

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/daemon"
)

func TestSource_FollowsNewRevisions(t *testing.T) {
	s := newService(0)
	following(t, s, nil, func(t *testing.T, source *Source, env daemon.Env) {
		newestIs(t, source, 0, true)
		changed, began := source.Changed(), time.Now()
		s.set(false, 3)
		<-changed
		newestIs(t, source, 3, true)
		if took := time.Since(began); took > 0 { // of the two seconds that are promised of a change
			t.Errorf("followed after %s", took)
		}
		if f := env.Health.Failing(); len(f) != 0 {
			t.Errorf("not ready: %v", f)
		}
	})
}

func TestSource_ReconnectsToALostService(t *testing.T) {
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

func TestSource_ReconnectsAfterASilentWatch(t *testing.T) {
	s := newService(2)
	following(t, s, nil, func(t *testing.T, source *Source, _ daemon.Env) {
		time.Sleep(watchTimeout - time.Second)
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

// A masked endpoint would be called unsigned, or with a mask in place of a credential.
func TestSource_AtRejectsAMaskedRevision(t *testing.T) {
	s, k := newService(9), newKeys()
	s.masks = true
	sending(t, s, k, "service-key", func(t *testing.T, source *Source, _ daemon.Env) {
		if _, err := source.At(t.Context(), 4); err == nil || !strings.Contains(err.Error(), "service_key_hashes_file") {
			t.Errorf("who sends: %v", err)
		}
		s.mu.Lock()
		s.masks = false
		s.mu.Unlock()
		found, err := source.At(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := found.Target("tenants/a/endpoints/e"); !ok || len(e.Value.(*webhook.Endpoint).Secrets) != 1 {
			t.Errorf("once the key is a service's: %v", e)
		}
	})
}

func TestSource_ReadsARevisionOnce(t *testing.T) {
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
		if !slices.Equal(s.snapshots(), []int64{9, 4}) { // 9 was compiled
			t.Errorf("24 partitions asked for %v", s.snapshots())
		}
		for _, n := range []int64{5, 6, 7, 4, 8, 4} {
			if _, err := source.At(t.Context(), n); err != nil {
				t.Error(err)
			}
		}
		if !slices.Equal(s.snapshots(), []int64{9, 4, 5, 6, 7, 8}) {
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

// Whoever cancels by a revision must know that it is the newest.
func TestSource_IsCurrentForTheNewestWhileTheServiceAnswers(t *testing.T) {
	s := newService(4)
	following(t, s, nil, func(t *testing.T, source *Source, _ daemon.Env) {
		current := func(what string, newest bool) {
			t.Helper()
			if got := source.Current(4); got != newest {
				t.Errorf("%s: revision 4 is current: %v", what, got)
			}
			if source.Current(3) || source.Current(5) {
				t.Errorf("%s: one that is not the newest is current", what)
			}
		}
		// turn changes the service, and waits until the Source follows it.
		turn := func(what string, newest bool, change func()) {
			t.Helper()
			changed := source.Changed()
			s.becomes(change)
			time.Sleep(2 * longestWait)
			synctest.Wait()
			select {
			case <-changed:
			default:
				if newest { // whoever kept something looks again
					t.Errorf("%s: Changed is not closed", what)
				}
			}
			current(what, newest)
		}
		current("followed", true)
		turn("the service is away", false, func() { s.away = true })
		turn("it is back", true, func() { s.away = false })
		turn("it was set back", false, func() { s.newest = 2 })
		turn("it is whole again", true, func() { s.newest = 4 })
		s.set(false, 5)
		synctest.Wait()
		if source.Current(4) || !source.Current(5) {
			t.Error("the newest is 5, and is not current")
		}
	})
	s = newService(4)
	s.away = true
	following(t, s, nil, func(t *testing.T, source *Source, _ daemon.Env) {
		if source.Current(4) || source.Current(0) {
			t.Error("current before the first word")
		}
	})
}
