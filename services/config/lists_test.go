package config

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestList_ComesInPages(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.tenant("acme2")
	for _, id := range []string{"d", "b", "a", "c", "e"} {
		r.endpoint(id)
	}
	must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: &configv1.Endpoint{
		Name: "tenants/acme2/endpoints/z", Url: "https://x.example", Secrets: []string{secretA}}}))
	must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/c"}))
	pages := func(parent string, deleted bool) string {
		t.Helper()
		var out []string
		for token := ""; ; {
			page := must[*configv1.ListEndpointsResponse](t)(r.ends.ListEndpoints(ctx, &configv1.ListEndpointsRequest{
				Parent: parent, PageSize: 2, PageToken: token, ShowDeleted: deleted}))
			var ids []string
			for _, e := range page.GetEndpoints() {
				ids = append(ids, strings.TrimPrefix(e.GetName(), "tenants/acme/endpoints/"))
			}
			out = append(out, strings.Join(ids, " "))
			if token = page.GetNextPageToken(); token == "" {
				return strings.Join(out, " | ")
			}
		}
	}
	for _, tc := range []struct {
		parent  string
		deleted bool
		want    string
	}{
		{"tenants/acme", false, "a b | d e"},
		{"tenants/acme", true, "a b | c d | e"},
		{"tenants/-", false, "a b | d e | tenants/acme2/endpoints/z"},
		{"tenants/missing", false, ""},
	} {
		if got := pages(tc.parent, tc.deleted); got != tc.want {
			t.Errorf("%s, deleted %v: %q, want %q", tc.parent, tc.deleted, got, tc.want)
		}
	}
	if got := must[*configv1.ListTenantsResponse](t)(r.tenants.ListTenants(ctx, &configv1.ListTenantsRequest{})).GetTenants(); len(got) != 2 {
		t.Errorf("%v", got)
	}
	_, err := r.ends.ListEndpoints(ctx, &configv1.ListEndpointsRequest{Parent: "acme", PageSize: -1, PageToken: "!"})
	if len(fault.ViolationsOf(err)) != 3 {
		t.Error(err)
	}
}
