package config

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func (r *running) suppress(address string) {
	r.t.Helper()
	must[*configv1.Suppression](r.t)(r.suppr.CreateSuppression(r.t.Context(), &configv1.CreateSuppressionRequest{Suppression: suppression(address)}))
}

func (r *running) permit(address string) {
	r.t.Helper()
	must[*configv1.Suppression](r.t)(r.suppr.DeleteSuppression(r.t.Context(), &configv1.DeleteSuppressionRequest{Name: suppression(address).GetName()}))
}

// A bounce has no service read the configuration anew.
func TestSuppressions_AreNoPartOfARevision(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.endpoint("e")
	before := r.snapshot(0)
	heads := must[configv1.ConfigWatchService_WatchClient](t)(r.watching.Watch(t.Context(), &configv1.WatchRequest{}))
	first := must[*configv1.WatchResponse](t)(heads.Recv())
	r.suppress("a@example.com")
	if after := r.snapshot(0); !proto.Equal(before, after) {
		t.Errorf("the configuration became %v", after)
	}
	r.restart()
	heads = must[configv1.ConfigWatchService_WatchClient](t)(r.watching.Watch(t.Context(), &configv1.WatchRequest{}))
	if again := must[*configv1.WatchResponse](t)(heads.Recv()); !proto.Equal(first, again) {
		t.Errorf("%v after a restart, %v before", again, first)
	}
	r.tenant("other")
	next := must[*configv1.WatchResponse](t)(heads.Recv())
	if first.GetRevision() != 2 || next.GetRevision() != 4 || next.GetApplyRevision() != 4 {
		t.Errorf("%v, then %v", first, next)
	}
	if s := r.snapshot(0); s.GetRevision() != 4 || len(s.GetTenants()) != 2 {
		t.Error(s)
	}
	// A restore that was accepted does not take the number of a suppression.
	r.suppress("b@example.com")
	must[*configv1.History](t)(r.history.AcceptRestore(t.Context(), &configv1.AcceptRestoreRequest{
		Lost: []*configv1.Position{{History: 7, Revision: 3}}, Who: "me", Why: "a test",
	}))
	if got := r.watchSuppressions(&configv1.Position{History: 7, Revision: 3})(); !got.GetReset_() || len(got.GetAdded()) != 2 {
		t.Errorf("behind what was lost: %v", got)
	}
	r.tenant("third")
	if s := r.snapshot(0); s.GetRevision() != 7 {
		t.Error(s)
	}
	// The tenant goes although addresses of it are suppressed.
	must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(t.Context(), &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/e"}))
	must[*configv1.Tenant](t)(r.tenants.DeleteTenant(t.Context(), &configv1.DeleteTenantRequest{Name: "tenants/acme"}))
}

func TestSuppressions_HaveABoundOfTheirOwn(t *testing.T) {
	r := start(t)
	changed(t, &suppressionKind.most, 2)
	r.tenant("acme")
	r.suppress("a@example.com")
	r.suppress("b@example.com")
	_, err := r.suppr.CreateSuppression(t.Context(), &configv1.CreateSuppressionRequest{Suppression: suppression("c@example.com")})
	refused(t, err, fault.Invalid, "TOO_MANY")
	r.permit("a@example.com")
	r.suppress("c@example.com")
	r.restart()
	_, err = r.suppr.CreateSuppression(t.Context(), &configv1.CreateSuppressionRequest{Suppression: suppression("d@example.com")})
	refused(t, err, fault.Invalid, "TOO_MANY")
}

func (r *running) watchSuppressions(after *configv1.Position) func() *configv1.WatchSuppressionsResponse {
	r.t.Helper()
	stream := must[configv1.ConfigWatchService_WatchSuppressionsClient](r.t)(
		r.watching.WatchSuppressions(r.t.Context(), &configv1.WatchSuppressionsRequest{After: after}))
	return func() *configv1.WatchSuppressionsResponse {
		r.t.Helper()
		return must[*configv1.WatchSuppressionsResponse](r.t)(stream.Recv())
	}
}

func TestSuppressions_AreSentInPartsFromAPositionOn(t *testing.T) {
	changed(t, &suppressionsAPart, 2)
	r := start(t)
	r.tenant("acme")
	next := r.watchSuppressions(nil)
	if got := next(); !got.GetReset_() || !got.GetComplete() || got.GetPosition() != nil {
		t.Errorf("of none: %v", got)
	}
	shown := func(got *configv1.WatchSuppressionsResponse) string {
		return fmt.Sprint(got.GetAdded(), got.GetRemoved(), got.GetReset_(), got.GetComplete(), got.GetPosition().GetRevision())
	}
	want := func(got *configv1.WatchSuppressionsResponse, text string) {
		t.Helper()
		if shown(got) != text {
			t.Errorf("%s, want %s", shown(got), text)
		}
	}
	r.suppress("a@example.com")
	want(next(), "[tenants/acme/suppressions/a%40example.com] [] false true 2")
	r.permit("a@example.com")
	want(next(), "[] [tenants/acme/suppressions/a%40example.com] false true 3")
	r.suppress("b@example.com")
	last := next()
	want(last, "[tenants/acme/suppressions/b%40example.com] [] false true 4")

	r.suppress("c@example.com")
	r.suppress("d@example.com")
	whole := r.watchSuppressions(nil)
	want(whole(), "[tenants/acme/suppressions/b%40example.com] [tenants/acme/suppressions/a%40example.com] true false 4")
	want(whole(), "[tenants/acme/suppressions/c%40example.com tenants/acme/suppressions/d%40example.com] [] false false 6")
	want(whole(), "[] [] false true 6")
	want(r.watchSuppressions(last.GetPosition())(), "[tenants/acme/suppressions/c%40example.com tenants/acme/suppressions/d%40example.com] [] false false 6")
	for _, unknown := range []*configv1.Position{{Revision: 4}, {History: 9, Revision: 4}, {History: last.GetPosition().GetHistory(), Revision: 99}} {
		if got := r.watchSuppressions(unknown)(); !got.GetReset_() || got.GetPosition().GetRevision() != 4 {
			t.Errorf("after %v: %v", unknown, got)
		}
	}
	outside := must[configv1.ConfigWatchService_WatchSuppressionsClient](t)(r.outside.WatchSuppressions(t.Context(), &configv1.WatchSuppressionsRequest{}))
	_, err := outside.Recv()
	refused(t, err, fault.Denied, "SERVICE_KEY_REQUIRED")
}

// The client keeps what it knows while the service is away, and goes on behind it.
func TestSuppressions_AreFollowed(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.suppress("a@example.com")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(serviceKey), 0o600); err != nil {
		t.Fatal(err)
	}
	env := daemon.NewEnv("sender", zap.NewNop())
	source, err := configclient.Open(ctx, configclient.Config{Address: r.address, APIKeyFile: key}, env, nil, configclient.Needs{})
	if err != nil {
		t.Fatal(err)
	}
	s := source.FollowSuppressions(ctx)
	<-s.Ready()
	is := func(address string, want bool) {
		t.Helper()
		for {
			changed := s.Changed()
			if s.Has(suppression(address).GetName()) == want {
				return
			}
			<-changed
		}
	}
	is("a@example.com", true)
	is("b@example.com", false)
	r.suppress("b@example.com")
	is("b@example.com", true)
	r.permit("a@example.com")
	is("a@example.com", false)
	r.stop()
	is("b@example.com", true)
	cancel()
	if err := source.Close(); err != nil {
		t.Error(err)
	}
}
