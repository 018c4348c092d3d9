package configclient

import (
	"fmt"
	"io"
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
	versions := rapid.MapOfN(rapid.StringMatching(`[a-e]/[x-z]`), rapid.IntRange(1, 3), 0, 12).Draw(t, label)
	s := &configv1.Snapshot{Revision: revision, History: 7}
	var names []string
	for name := range versions {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name[0] == 'a' {
			s.Tenants = append(s.Tenants, &configv1.Tenant{Name: name, DisplayName: fmt.Sprint(versions[name])})
		} else {
			s.Endpoints = append(s.Endpoints, &configv1.Endpoint{Name: name, DisplayName: fmt.Sprint(versions[name])})
		}
	}
	return s, versions
}

func TestCollect_OfADifferenceIsTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, had := drawn(t, "base", 3)
		want, has := drawn(t, "whole", 4)
		before := proto.Clone(base)
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
		for _, tenant := range want.GetTenants() {
			if had[tenant.GetName()] != has[tenant.GetName()] {
				p := part()
				p.Snapshot.Tenants = append(p.Snapshot.Tenants, tenant)
				sent = append(sent, p)
			}
		}
		for _, e := range want.GetEndpoints() {
			if had[e.GetName()] != has[e.GetName()] {
				p := part()
				p.Snapshot.Endpoints = append(p.Snapshot.Endpoints, e)
				sent = append(sent, p)
			}
		}
		got, err := collect(&sentParts{left: sent}, base, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Errorf("got %v\nwant %v", got, want)
		}
		if !proto.Equal(base, before) {
			t.Errorf("the base came to be %v", base)
		}
		whole, reused := Decode(want), decode(got, Decode(base))
		if len(whole.targets) != len(reused.targets) || len(whole.unreadable) != len(reused.unreadable) {
			t.Errorf("%d targets and %d unreadable, of the whole %d and %d", len(reused.targets), len(reused.unreadable), len(whole.targets), len(whole.unreadable))
		}
	})
}

func TestCollect_RefusesADifferenceFromSomethingElse(t *testing.T) {
	sent := func() *sentParts {
		return &sentParts{left: []*configv1.SnapshotResponse{{Since: &configv1.Position{History: 7, Revision: 3}, Snapshot: &configv1.Snapshot{Revision: 4}}}}
	}
	for name, base := range map[string]*configv1.Snapshot{"nothing": nil, "another revision": {Revision: 2, History: 7}, "another history": {Revision: 3, History: 8}} {
		if _, err := collect(sent(), base, nil); err == nil {
			t.Errorf("with %s as base it is taken", name)
		}
	}
}
