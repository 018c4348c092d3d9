package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// maskedA is how secretA is shown.
const maskedA = "whsec_****QUFB"

func isMasked(e *configv1.Endpoint) bool { return webhook.Channel.Target.Masked(e) }

func TestSecrets_AreShownInSnapshotsAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	created := r.endpoint("e")
	if got := created.GetSecrets()[0]; got != "whsec_****QUFB" {
		t.Errorf("shown as %q", got)
	}
	stored := func() []string { return r.snapshot(0).GetEndpoints()[0].GetSecrets() }
	echo := must[*configv1.Endpoint](t)(r.ends.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: created.GetName()}))
	echo.DisplayName = "renamed"
	must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: echo}))
	if diff := cmp.Diff([]string{secretA}, stored()); diff != "" {
		t.Errorf("what was shown and sent back changed the secret: %s", diff)
	}
	echo.Metadata = nil
	echo.Secrets = []string{secretB, maskedA}
	rotated := must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: echo, UpdateMask: mask("secrets")}))
	if diff := cmp.Diff([]string{secretB, secretA}, stored()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"whsec_****QkJC", "whsec_****QUFB"}, rotated.GetSecrets()); diff != "" {
		t.Error(diff)
	}
	page := must[*configv1.ListEndpointsResponse](t)(r.ends.ListEndpoints(ctx, &configv1.ListEndpointsRequest{Parent: "tenants/acme"}))
	if !isMasked(page.GetEndpoints()[0]) {
		t.Error("a list shows a secret")
	}
	gone := must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: created.GetName()}))
	back := must[*configv1.Endpoint](t)(r.ends.UndeleteEndpoint(ctx, &configv1.UndeleteEndpointRequest{Name: created.GetName()}))
	if !isMasked(gone) || !isMasked(back) || stored()[1] != secretA {
		t.Error("delete or undelete shows or loses a secret")
	}
}

// Any API key was shown the secrets of every tenant.
func TestSnapshot_ShowsSecretsToServicesAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	e := anEndpoint("e")
	e.Headers = []*configv1.CustomHeader{{Name: "Authorization", Value: "Bearer hush"}}
	must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(t.Context(), &configv1.CreateEndpointRequest{Endpoint: e}))
	for _, at := range []int64{0, 2} {
		parts := must[configv1.ConfigWatchService_SnapshotClient](t)(r.outside.Snapshot(t.Context(), &configv1.SnapshotRequest{Revision: at}))
		res := must[*configv1.Snapshot](t)(configclient.Collect(parts, nil))
		if text := res.String(); strings.Contains(text, "hush") || strings.Contains(text, secretA) || !isMasked(res.GetEndpoints()[0]) {
			t.Errorf("revision %d shows %s", at, text)
		}
		if whole := r.snapshot(at).GetEndpoints()[0]; whole.GetSecrets()[0] != secretA || whole.GetHeaders()[0].GetValue() != "Bearer hush" {
			t.Errorf("revision %d hides from a service: %v", at, whole)
		}
	}
}

func TestHeaderValues_AreShownInSnapshotsAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	e := anEndpoint("e")
	e.Headers = []*configv1.CustomHeader{{Name: "Authorization", Value: "Bearer hush"}, {Name: "X-Shard", Value: "7"}, {Name: "X-Empty"}}
	values := func(e *configv1.Endpoint) (out []string) {
		for _, h := range e.GetHeaders() {
			out = append(out, h.GetValue())
		}
		return out
	}
	stored := func() []string { return values(r.snapshot(0).GetEndpoints()[0]) }
	shown := func(way string, e *configv1.Endpoint) {
		t.Helper()
		if diff := cmp.Diff([]string{"****", "****", ""}, values(e)); diff != "" {
			t.Errorf("%s: %s", way, diff)
		}
	}
	shown("create", must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: e})))
	echo := must[*configv1.Endpoint](t)(r.ends.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: e.GetName()}))
	shown("get", echo)
	shown("list", must[*configv1.ListEndpointsResponse](t)(r.ends.ListEndpoints(ctx, &configv1.ListEndpointsRequest{Parent: "tenants/acme"})).GetEndpoints()[0])

	before := echo.GetMetadata().GetRevision()
	echo.Headers[0], echo.Headers[1] = echo.Headers[1], echo.Headers[0]
	echo.Headers[1].Name = "authorization"
	shown("update", must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: echo})))
	if diff := cmp.Diff([]string{"7", "Bearer hush", ""}, stored()); diff != "" {
		t.Errorf("what was shown and sent back, in another order, changed a value: %s", diff)
	}
	echo.Metadata = nil
	echo.Headers = append(echo.Headers, &configv1.CustomHeader{Name: "X-New", Value: "****"})
	_, err := r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: echo})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if got := r.snapshot(0).GetRevision(); got != before+1 {
		t.Errorf("revision %d after one change of %d", got, before)
	}
}
