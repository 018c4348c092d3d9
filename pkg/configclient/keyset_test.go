package configclient

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/secret/secrettest"
)

// keysetFile puts the keyset of a file in the place of another, as tollgate keys rotate does.
func keysetFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".next", content, 0o600)
	}
	if err == nil {
		err = os.Rename(to+".next", to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// signs is the secret of the endpoint that a replica works by, and why it has none.
func signs(t *testing.T, source *Source) (secrets int, why error) {
	t.Helper()
	_, all, _ := source.Newest()
	found, err := source.At(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := found.Target("tenants/a/endpoints/e")
	if !ok {
		t.Fatal("the endpoint is not there")
	}
	if e.Unreadable == nil && string(e.Value.(*webhook.Endpoint).Secrets[0]) != "hidden" {
		t.Errorf("it signs with %q", e.Value.(*webhook.Endpoint).Secrets)
	}
	return len(e.Value.(*webhook.Endpoint).Secrets), e.Unreadable
}

func noted(env daemon.Env) (codes []string, details string) {
	for _, n := range env.Health.Noted() {
		codes, details = append(codes, n.Code), details+n.Detail
	}
	return codes, details
}

// The configuration does not change, and nothing is read of the service again: what a replica has is decrypted once the key is in
// its file. So is what it starts with from the store, and the revision that others are made of as a difference.
func TestKeyset_AKeyThatComesLateDecryptsWhatIsThere(t *testing.T) {
	for name, away := range map[string]bool{"from the service": false, "from the store": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				right, own := secrettest.File(t), secrettest.File(t)
				s, k := newTestService(4), newKeys()
				s.keyset = secrettest.Open(t, right)
				if away {
					_, _, stop := senderOf(t, s, k, "service-key", Needs{Encrypted: true, Keyset: s.keyset})
					stop()
					s.set(true, 4)
				}
				source, env, stop := senderOf(t, s, k, "service-key", Needs{Encrypted: true, Keyset: secrettest.Open(t, own)})
				defer stop()
				time.Sleep(time.Second)
				synctest.Wait()
				if _, why := signs(t, source); why == nil {
					t.Fatal("a secret is decrypted with another keyset")
				}
				codes, details := noted(env)
				for _, part := range []string{s.keyset.Primary().String(), own, "secrets.keyset_file"} {
					if !strings.Contains(details, part) {
						t.Errorf("%q does not name %s", details, part)
					}
				}
				if len(codes) != 1 || codes[0] != reason.SecretUnreadable || len(env.Health.Failing()) != 0 {
					t.Errorf("noted: %v; failing: %v", codes, env.Health.Failing())
				}
				asked := len(s.snapshots())

				changed := source.Changed()
				keysetFile(t, right, own)
				time.Sleep(2 * keysetEvery)
				synctest.Wait()
				select {
				case <-changed:
				default:
					t.Error("nothing is announced")
				}
				if n, why := signs(t, source); n != 1 || why != nil {
					t.Errorf("with the key: %d secrets, %v", n, why)
				}
				if codes, _ := noted(env); len(codes) != 0 || len(s.snapshots()) != asked {
					t.Errorf("noted: %v; %d readings", codes, len(s.snapshots())-asked)
				}
				if away {
					return
				}
				// The next revision shares the parts that did not change.
				s.becomes(func() { s.newest, s.text = 5, "another" })
				time.Sleep(time.Second)
				synctest.Wait()
				if n, why := signs(t, source); n != 1 || why != nil {
					t.Errorf("in the next revision: %d secrets, %v", n, why)
				}
			})
		})
	}
}

func TestKeyset_ThatCanNotBeReadIsNotedAndStaysInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := secrettest.File(t)
		s := newTestService(4)
		s.keyset = secrettest.Open(t, own)
		source, env, stop := senderOf(t, s, newKeys(), "service-key", Needs{Encrypted: true, Keyset: secrettest.Open(t, own)})
		defer stop()
		if n, why := signs(t, source); n != 1 || why != nil {
			t.Fatalf("%d secrets, %v", n, why)
		}
		content, err := os.ReadFile(own)
		if err == nil {
			err = os.WriteFile(own, []byte("half of it"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * keysetEvery)
		synctest.Wait()
		if codes, details := noted(env); len(codes) != 1 || codes[0] != reason.KeysetUnreadable || !strings.Contains(details, own) {
			t.Errorf("noted: %v, %s", codes, details)
		}
		if n, why := signs(t, source); n != 1 || why != nil {
			t.Errorf("%d secrets, %v", n, why)
		}
		if err := os.WriteFile(own, content, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * keysetEvery)
		synctest.Wait()
		if codes, _ := noted(env); len(codes) != 0 {
			t.Errorf("noted: %v", codes)
		}
	})
}
