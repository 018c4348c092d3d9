package configclient

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// sentParts is a stream of parts.
type sentParts struct {
	grpc.ServerStreamingClient[configv1.SnapshotResponse]
	left []*configv1.SnapshotResponse
}

func (s *sentParts) Recv() (*configv1.SnapshotResponse, error) {
	if len(s.left) == 0 {
		return nil, io.EOF
	}
	next := s.left[0]
	s.left = s.left[1:]
	return next, nil
}

// drawn is a snapshot of endpoints and tenants, by the versions that are drawn for their names.
func drawn(t *rapid.T, label string, revision int64) (*configv1.Snapshot, map[string]int) {
	versions := rapid.MapOfN(rapid.StringMatching(`tenants/a(/endpoints)?/[a-z]`), rapid.IntRange(1, 3), 0, 30).Draw(t, label)
	s := &configv1.Snapshot{Revision: revision, History: 7}
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		add(s, name, versions[name])
	}
	return s, versions
}

func add(s *configv1.Snapshot, name string, version int) {
	if len(name) == len("tenants/a/x") {
		s.Tenants = append(s.Tenants, &configv1.Tenant{Name: name, DisplayName: fmt.Sprint(version)})
		return
	}
	s.Endpoints = append(s.Endpoints, &configv1.Endpoint{Name: name, DisplayName: fmt.Sprint(version), Url: "https://example.com"})
}

// bodies are the parts of a snapshot, by their addresses.
func bodies(s *Snapshot) map[string]string {
	out := map[string]string{}
	addresses, parts := s.addresses()
	for i, p := range parts {
		out[addresses[i]] = string(p.body)
	}
	return out
}

func TestGather_OfADifferenceIsTheWhole(t *testing.T) {
	f := form{address: plainAddress}
	whole := func(t *rapid.T, m *configv1.Snapshot) *Snapshot {
		s, err := f.gather(&sentParts{left: []*configv1.SnapshotResponse{{Snapshot: proto.CloneOf(m)}}}, nil, func() {})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	rapid.Check(t, func(t *rapid.T) {
		first, had := drawn(t, "base", 3)
		second, has := drawn(t, "whole", 4)
		base, want := whole(t, first), whole(t, second)
		before := bodies(base)
		since := &configv1.Position{History: 7, Revision: 3}
		part := func() *configv1.SnapshotResponse {
			return &configv1.SnapshotResponse{Since: since, Snapshot: &configv1.Snapshot{Revision: 4, History: 7}}
		}
		sent := []*configv1.SnapshotResponse{part()}
		for name := range had {
			if has[name] == 0 {
				sent[0].Removed = append(sent[0].Removed, name)
			}
		}
		changed := map[uint8]bool{}
		for name, version := range has {
			if had[name] != version {
				p := part()
				add(p.Snapshot, name, version)
				sent = append(sent, p)
			}
		}
		for name := range had {
			changed[bucketOf(name)] = changed[bucketOf(name)] || had[name] != has[name]
		}
		for name := range has {
			changed[bucketOf(name)] = changed[bucketOf(name)] || had[name] != has[name]
		}
		got, err := f.gather(&sentParts{left: sent}, base, func() {})
		if err != nil {
			t.Fatal(err)
		}
		if got.Revision != 4 || !maps.Equal(bodies(got), bodies(want)) {
			t.Errorf("got %v\nwant %v", bodies(got), bodies(want))
		}
		if !maps.Equal(bodies(base), before) {
			t.Error("the base was changed")
		}
		if len(got.Tenants()) != len(want.Tenants()) || len(got.Unreadable()) != len(want.Unreadable()) {
			t.Errorf("%d tenants, of the whole %d", len(got.Tenants()), len(want.Tenants()))
		}
		for name := range had {
			_, found := got.Target(name)
			_, wanted := want.Target(name)
			if found != wanted {
				t.Errorf("%s is found: %t", name, found)
			}
		}
		for kind, l := range base.lists {
			for b, p := range l {
				if !changed[uint8(b)] && got.lists[kind][b] != p {
					t.Errorf("part %d of %s was made anew, and nothing in it changed", b, kind)
				}
			}
		}
	})
}

func TestGather_RefusesADifferenceFromSomethingElse(t *testing.T) {
	sent := func() *sentParts {
		return &sentParts{left: []*configv1.SnapshotResponse{{Since: &configv1.Position{History: 7, Revision: 3}, Snapshot: &configv1.Snapshot{Revision: 4}}}}
	}
	for name, base := range map[string]*Snapshot{"nothing": nil, "another revision": {Revision: 2, History: 7}, "another history": {Revision: 3, History: 8}} {
		if _, err := (form{}).gather(sent(), base, func() {}); err == nil {
			t.Errorf("with %s as base it is taken", name)
		}
	}
}
