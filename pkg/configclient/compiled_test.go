package configclient

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

var zero = state.Partition{Domain: "safeguard", Number: 0, Count: 2}

func put(t *testing.T, k *keys, r state.Revision, text string) {
	t.Helper()
	m := message(r.Number)
	m.History, m.Tenants[0].DisplayName = r.History, text
	for i, e := range m.GetEndpoints() {
		m.Endpoints[i] = KindOf(e).Planned(e).(*configv1.Endpoint)
	}
	var c changes
	if err := c.add(m); err != nil {
		t.Fatal(err)
	}
	f := form{planned: true, address: plainAddress}
	found, err := f.snapshot(headOf(m), nil, &c)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Source{store: k, space: spaceOf(planning), form: f}).put(t.Context(), found); err != nil {
		t.Fatal(err)
	}
}

// at asks until a revision is in memory, or the service and the store answered that they do not have it.
func at(t *testing.T, c *Compiled[*Snapshot], r state.Revision) (*Snapshot, error) {
	t.Helper()
	_, _ = c.At(r)
	synctest.Wait()
	return c.At(r)
}

func TestCompiled_OwnersNeverWait(t *testing.T) {
	s, k := newService(3), newKeys()
	compiling(t, s, k, func(t *testing.T, _ *Source, c *Compiled[*Snapshot], _ daemon.Env) {
		if c.Newest() != of(3) || k.has(of(3)) == nil {
			t.Fatalf("newest %s, stored %t", c.Newest(), k.has(of(3)) != nil)
		}
		// The service accepts calls from here on and answers none.
		s.becomes(func() { s.newest, s.deaf = 4, true })
		put(t, k, of(2), "")
		began := time.Now()
		synctest.Wait()
		changed := c.Changed()
		if c.Newest() != of(3) {
			t.Errorf("newest %s while it is being read", c.Newest())
		}
		if _, err := c.At(of(2)); !errors.Is(err, state.ErrNotReady) {
			t.Errorf("not at hand: %v", err)
		}
		<-changed
		if _, err := c.At(of(2)); err != nil {
			t.Errorf("what a log names was not read while the newest is: %v", err)
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("a log waited %s for the reading of the newest revision", waited)
		}
		s.becomes(func() { s.deaf = false })
		time.Sleep(fetchTimeout + 2*retryEvery)
		synctest.Wait()
		if c.Newest() != of(4) {
			t.Errorf("newest %s after the service answers again", c.Newest())
		}
	})
}

func TestCompiled_RevisionIsNewestOnceStored(t *testing.T) {
	s, k := newService(3), newKeys()
	compiling(t, s, k, func(t *testing.T, _ *Source, c *Compiled[*Snapshot], _ daemon.Env) {
		k.fails(errors.New("redis is away"))
		s.set(false, 4)
		time.Sleep(time.Minute)
		synctest.Wait()
		if c.Newest() != of(3) {
			t.Errorf("%s would be announced, and nobody could open a partition at it", c.Newest())
		}
		k.fails(nil)
		time.Sleep(retryEvery)
		synctest.Wait()
		if c.Newest() != of(4) || k.has(of(4)) == nil {
			t.Errorf("newest %s", c.Newest())
		}
	})
}

func TestCompiled_StartsFromStoreWithoutService(t *testing.T) {
	for name, deaf := range map[string]bool{"refused": false, "nobody answers": true} {
		t.Run(name, func(t *testing.T) {
			s, k := newService(9), newKeys()
			s.away, s.deaf = true, deaf
			put(t, k, of(7), "")
			k.values[spaced{spaceOf(planning), of(6)}] = &kept{head: []byte("\x03not a snapshot")}
			k.values[spaced{spaceOf(planning), of(5)}] = k.values[spaced{spaceOf(planning), of(7)}] // another revision's
			k.values[spaced{spaceOf(planning), of(4)}] = &kept{head: k.values[spaced{spaceOf(planning), of(7)}].head, addresses: []string{"gone"}}
			put(t, k, of(3), "has a part that is another's")
			whole := k.values[spaced{spaceOf(planning), of(7)}].addresses
			for _, a := range k.values[spaced{spaceOf(planning), of(3)}].addresses {
				if !slices.Contains(whole, a) {
					k.parts[spaceOf(planning)+a] = k.parts[spaceOf(planning)+whole[0]]
				}
			}
			compiling(t, s, k, func(t *testing.T, source *Source, c *Compiled[*Snapshot], env daemon.Env) {
				newestIs(t, source, 0, false)
				if f := env.Health.Failing(); len(f) != 1 || f[0].Check != "configuration" {
					t.Errorf("ready without any configuration: %v", f)
				}
				found, err := at(t, c, of(7))
				if err != nil {
					t.Fatal(err)
				}
				want := (&webhook.Endpoint{Profile: webhook.Parameters, IncludePersonal: true, Status: webhook.Draft}).Planning()
				if e, ok := found.Target("tenants/a/endpoints/e"); !ok || e.Value.Planning() != want {
					t.Errorf("planning reads otherwise than from the service: %+v", e)
				}
				if f := env.Health.Failing(); len(f) != 0 {
					t.Errorf("not ready with a revision to work by: %v", f)
				}
				for _, n := range []int64{8, 6, 5, 4, 3} {
					if _, err := at(t, c, of(n)); !errors.Is(err, state.ErrNotReady) {
						t.Errorf("revision %d, which is not known now: %v", n, err)
					}
				}
			})
		})
	}
}

func TestCompiled_UnavailableRevisionIsReported(t *testing.T) {
	s, k := newService(9), newKeys()
	compiling(t, s, k, func(t *testing.T, _ *Source, c *Compiled[*Snapshot], env daemon.Env) {
		if _, err := at(t, c, of(10)); fault.KindOf(err) != fault.NotFound {
			t.Errorf("neither has it: %v", err)
		}
		k.fails(errors.New("redis is away"))
		if _, err := at(t, c, of(11)); !errors.Is(err, state.ErrNotReady) || fault.KindOf(err) == fault.NotFound {
			t.Errorf("the store may have it: %v", err)
		}
		if f := env.Health.Failing(); len(f) != 0 {
			t.Errorf("a record of one log takes the service out: %v", f)
		}
		// The revision becomes available.
		k.fails(nil)
		put(t, k, of(10), "")
		for range 4 { // an owner asks each second
			time.Sleep(time.Second)
			_, _ = c.At(of(10))
			synctest.Wait()
		}
		if _, err := c.At(of(10)); err != nil {
			t.Errorf("it is there now: %v", err)
		}
	})
}

// A configuration database that is created again counts from 1: an old store has other contents under its numbers, and
// so has the new database under the numbers of an old log.
func TestCompiled_NumberOfAnotherHistoryIsAnotherRevision(t *testing.T) {
	s, k := newService(3), newKeys()
	s.text = "new"
	old := state.Revision{History: 0x01d, Number: 3}
	put(t, k, old, "old")
	compiling(t, s, k, func(t *testing.T, _ *Source, c *Compiled[*Snapshot], _ daemon.Env) {
		for r, want := range map[state.Revision]string{of(3): "new", old: "old"} {
			if found, err := at(t, c, r); err != nil || found.Tenants()[0].DisplayName != want {
				t.Errorf("revision %s: %v %v", r, found, err)
			}
		}
		if _, err := at(t, c, state.Revision{History: old.History, Number: 2}); fault.KindOf(err) != fault.NotFound {
			t.Errorf("revision 2 of a history that nobody has: %v", err)
		}
	})
}

func TestStripped_StoresNoSecret(t *testing.T) {
	s, k := newService(4), newKeys()
	compiling(t, s, k, func(t *testing.T, _ *Source, _ *Compiled[*Snapshot], _ daemon.Env) {
		for _, secret := range []string{"whsec", "aGlkZGVu", "hidden", "Bearer"} {
			if body := k.has(of(4)); body == nil || bytes.Contains(body, []byte(secret)) {
				t.Errorf("revision 4 as stored has %q", secret)
			}
		}
	})
}

func TestKeyStore_KeepsRevisionsThatPartitionsUse(t *testing.T) {
	s, k := newService(9), newKeys()
	compiling(t, s, k, func(t *testing.T, _ *Source, c *Compiled[*Snapshot], _ daemon.Env) {
		if _, err := at(t, c, of(4)); err != nil {
			t.Fatal(err)
		}
		c.InForce(zero, of(4))
		synctest.Wait()
		if k.has(of(4)) == nil || k.named[zero] != of(4) || k.swept == 0 {
			t.Errorf("stored %t, named %v, swept %d", k.has(of(4)) != nil, k.named, k.swept)
		}
		// All services work from memory and do not ask an emptied store.
		s.set(true, 9)
		k.empty()
		time.Sleep(keepEvery)
		synctest.Wait()
		if k.has(of(4)) == nil || k.has(of(9)) == nil || k.named[zero] != of(4) {
			t.Error("an emptied store was not filled again")
		}
		// A revision that no partition uses leaves the memory first.
		c.InForce(zero, of(9))
		s.set(false, 9)
		time.Sleep(longestWait)
		for n := int64(5); n < 9; n++ {
			if _, err := at(t, c, of(n)); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.cache) != remembered {
			t.Errorf("%d revisions in memory", len(c.cache))
		}
		if _, err := c.At(of(9)); err != nil {
			t.Errorf("the one in force is not in memory: %v", err)
		}
	})
}

const mine = 0x9e

func TestSource_DoesNotFollowAConfigurationThatWasSetBack(t *testing.T) {
	for name, set := range map[string]func(*service){
		"set back to a backup": func(s *service) { s.newest = 90 },
		"set back, and changed since": func(s *service) {
			s.newest, s.history, s.ends = 120, mine, []*configv1.Position{{History: theirs, Revision: 90}}
		},
		"begun anew":             func(s *service) { s.newest, s.history = 5, mine },
		"begun anew, and higher": func(s *service) { s.newest, s.history = 120, mine },
		"begun anew, and empty":  func(s *service) { s.newest, s.history = 0, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			s, k := newService(100), newKeys()
			compiling(t, s, k, func(t *testing.T, source *Source, c *Compiled[*Snapshot], env daemon.Env) {
				c.InForce(zero, of(100))
				s.becomes(func() { s.away = true })
				time.Sleep(time.Second)
				s.becomes(func() { s.away = false; set(s) })
				time.Sleep(longestWait)
				synctest.Wait()
				newestIs(t, source, 100, true)
				if c.Newest() != of(100) {
					t.Errorf("%s would be announced", c.Newest())
				}
				f := env.Health.Failing()
				if len(f) != 1 || f[0].Check != "configuration" || !strings.Contains(f[0].Error, "tollgate config accept-restore") ||
					!strings.Contains(f[0].Error, "revision 100 of history 0000000000000a11") {
					t.Errorf("health is %v", f)
				}
				if got := s.reportedKnown(); len(got) != 1 || got[0] != "a11:100" {
					t.Errorf("the service hears that %v is known", got)
				}
				if _, err := c.At(of(100)); err != nil {
					t.Errorf("work does not go on by what is known: %v", err)
				}
				// An operator accepts it.
				s.becomes(func() {
					s.newest, s.history = 121, 0xacc
					s.ends = append(s.ends, &configv1.Position{History: theirs, Revision: 100}, &configv1.Position{History: mine, Revision: 120})
				})
				time.Sleep(longestWait)
				synctest.Wait()
				newestIs(t, source, 121, true)
				if want := (state.Revision{History: 0xacc, Number: 121}); c.Newest() != want {
					t.Errorf("newest %s, want %s", c.Newest(), want)
				}
				if f := env.Health.Failing(); len(f) != 0 {
					t.Errorf("not ready: %v", f)
				}
			})
		})
	}
}

func TestSource_SeenRevisionsOutliveTheProcess(t *testing.T) {
	s, k := newService(5), newKeys()
	k.seen[0x01d] = 100
	compiling(t, s, k, func(t *testing.T, source *Source, c *Compiled[*Snapshot], env daemon.Env) {
		newestIs(t, source, 0, false)
		if c.Newest().Number != 0 || len(env.Health.Failing()) != 1 {
			t.Errorf("a service that just began follows a configuration begun anew: %s, %v", c.Newest(), env.Health.Failing())
		}
	})
}

func TestSource_RevisionOfALogIsSeen(t *testing.T) {
	s, k := newService(5), newKeys()
	compiling(t, s, k, func(t *testing.T, source *Source, c *Compiled[*Snapshot], env daemon.Env) {
		// Another replica was faster: the next head confirms it, and no error is reported meanwhile.
		c.InForce(zero, of(6))
		if f := env.Health.Failing(); len(f) != 0 {
			t.Errorf("not ready: %v", f)
		}
		s.set(false, 6)
		time.Sleep(time.Second)
		synctest.Wait()
		newestIs(t, source, 6, true)
		if f := env.Health.Failing(); len(f) != 0 {
			t.Errorf("not ready: %v", f)
		}
		c.InForce(zero, state.Revision{History: 0x01d, Number: 4})
		synctest.Wait()
		if f := env.Health.Failing(); len(f) != 1 {
			t.Errorf("a partition is at a history that the service does not know: %v", f)
		}
		if got := s.reportedKnown(); len(got) != 2 {
			t.Errorf("the service hears of %v", got)
		}
	})
}
