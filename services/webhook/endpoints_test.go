package webhook

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// published is a source of one revision after the other.
type published struct {
	s       *configclient.Snapshot
	changed chan struct{}
}

func (p *published) Newest() (apply, all int64, ok bool) { return 0, 0, p.s != nil }
func (p *published) Current(int64) bool                  { return true }
func (p *published) Changed() <-chan struct{}            { return p.changed }
func (p *published) At(context.Context, int64) (*configclient.Snapshot, error) {
	return p.s, nil
}

// Decoding a revision makes all its resources anew. The endpoints that are as before are the same targets, and the others are
// named.
func TestRevision_NamesWhatItChanged(t *testing.T) {
	synctest.Test(t, namesWhatItChanged)
}

func namesWhatItChanged(t *testing.T) {
	endpoint := func(name, url string, paused bool) *configv1.Endpoint {
		return &configv1.Endpoint{Name: "tenants/acme/endpoints/" + name, Url: url, Paused: paused, Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE}
	}
	revision := func(n int64, ports []uint32, endpoints ...*configv1.Endpoint) *configclient.Snapshot {
		return configclient.Decode(&configv1.Snapshot{Revision: n, Tenants: []*configv1.Tenant{{Name: "tenants/acme", Outbound: &configv1.OutboundPolicy{Ports: ports}}}, Endpoints: endpoints})
	}
	source := &published{changed: make(chan struct{})}
	d := newDirectory(source, nil, func(map[outbound.Key]bool) {}, daemon.NewHealth(), zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go d.Follow(ctx)
	synctest.Wait()
	same, other := endpoint("same", "https://a.example", false), endpoint("other", "https://b.example", false)
	for _, step := range []struct {
		name    string
		s       *configclient.Snapshot
		changed []string
	}{
		{"the first", revision(1, nil, same, other, endpoint("gone", "https://c.example", false)), nil},
		{"one URL, one deleted", revision(2, nil, same, endpoint("other", "https://d.example", false)), []string{"other", "gone"}},
		{"one paused", revision(3, nil, same, endpoint("other", "https://d.example", true)), []string{"other"}},
		{"nothing", revision(4, nil, same, endpoint("other", "https://d.example", true)), []string{}},
		{"their tenant's ports", revision(5, []uint32{8443}, same, endpoint("other", "https://d.example", true)), []string{"same", "other"}},
	} {
		before, _ := d.Newest()
		source.s = step.s
		source.changed <- struct{}{}
		synctest.Wait()
		after, _ := d.Newest()
		for i, name := range after.Changed {
			after.Changed[i] = strings.TrimPrefix(name, "tenants/acme/endpoints/")
		}
		slices.Sort(after.Changed)
		slices.Sort(step.changed)
		if !slices.Equal(after.Changed, step.changed) || (after.Changed == nil) != (step.changed == nil) {
			t.Errorf("%s: %v changed, want %v", step.name, after.Changed, step.changed)
		}
		if before == nil {
			continue
		}
		if after.Since != before.Serial || after.Serial == before.Serial {
			t.Errorf("%s: %d follows %d, after %d", step.name, after.Serial, after.Since, before.Serial)
		}
		for name, to := range after.ByName {
			changed := slices.Contains(step.changed, strings.TrimPrefix(name, "tenants/acme/endpoints/"))
			if same := before.ByName[name] == to; same == changed {
				t.Errorf("%s: %s is the same target: %t", step.name, name, same)
			}
		}
	}
}
