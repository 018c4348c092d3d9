package configclient

import (
	"strings"
	"testing"

	"go.uber.org/zap"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestDecode_UsersAreOfTheirTenant(t *testing.T) {
	s := Decode(&configv1.Snapshot{Users: []*configv1.User{
		{Name: "tenants/a/users/jane", Address: "jane@example.com", Roles: []string{"admin"}}, {Name: "tenants/a/users/joe"}, {Name: "tenants/b/users/jane"}, {Name: "jim"},
	}})
	if got := s.Users("a"); len(got) != 2 || got[0].GetAddress() != "jane@example.com" || got[1].GetName() != "tenants/a/users/joe" {
		t.Error(got)
	}
	if len(s.Users("b")) != 1 || len(s.Users("")) != 0 || len(s.Unreadable()) != 1 {
		t.Error(s.Users("b"), s.Users(""), s.Unreadable())
	}
}

// A service that was restored sends all anew: until that is whole, what was known holds.
func TestSuppressions_HoldUntilAResetIsComplete(t *testing.T) {
	p := &Suppressions{source: &Source{log: zap.NewNop()}, names: &names{}, ready: make(chan struct{}), changed: make(chan struct{})}
	is := func(when, want string) {
		t.Helper()
		var got []string
		for _, name := range []string{"a", "b", "c"} {
			if p.Has(name) {
				got = append(got, name)
			}
		}
		if strings.Join(got, "") != want {
			t.Errorf("%s: %v, want %q", when, got, want)
		}
	}
	isReady := func(when string, want bool) {
		t.Helper()
		select {
		case <-p.Ready():
			if !want {
				t.Errorf("%s: ready", when)
			}
		default:
			if want {
				t.Errorf("%s: not ready", when)
			}
		}
		if (p.check() == nil) != want {
			t.Errorf("%s: %v", when, p.check())
		}
	}
	revision := int64(0)
	part := func(reset, complete bool, added, removed string) {
		revision++
		p.take(&configv1.WatchSuppressionsResponse{
			Reset_: reset, Complete: complete, Added: strings.Fields(added), Removed: strings.Fields(removed), Position: &configv1.Position{Revision: revision},
		})
		if p.Includes(revision) != complete || complete && p.Includes(revision+1) {
			t.Errorf("part %d: counted %t, complete %t", revision, p.Includes(revision), complete)
		}
	}
	part(true, false, "a", "")
	is("half", "")
	isReady("half", false)
	part(false, true, "b", "a")
	is("whole", "b")
	isReady("whole", true)
	part(true, false, "c", "")
	is("half of another", "b")
	part(false, false, "a", "")
	is("almost another", "b")
	part(false, true, "", "")
	is("another", "ac")
	part(false, true, "b", "a")
	is("changed", "bc")
	isReady("changed", true)
}
