package config

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/query"
)

// queried are the ids of a list's pages of two.
func (r *running) queried(filter, orderBy string) string {
	r.t.Helper()
	var pages []string
	for token := ""; ; {
		page, err := r.ends.ListEndpoints(r.t.Context(), &configv1.ListEndpointsRequest{Parent: "tenants/acme", PageSize: 2, PageToken: token, Filter: filter, OrderBy: orderBy})
		if err != nil {
			return err.Error()
		}
		var ids []string
		for _, e := range page.GetEndpoints() {
			ids = append(ids, strings.TrimPrefix(e.GetName(), "tenants/acme/endpoints/"))
		}
		pages = append(pages, strings.Join(ids, " "))
		if token = page.GetNextPageToken(); token == "" {
			return strings.Join(pages, " | ")
		}
	}
}

func TestList_FiltersAndOrders(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	for i, id := range []string{"a", "b", "c", "d", "e"} {
		r.endpoint(id)
		r.pass(time.Minute)
		e := &configv1.Endpoint{
			Name: "tenants/acme/endpoints/" + id, DisplayName: []string{"CRM", "crm", "Billing", "CRM", "A \"b\""}[i], Concurrency: int32(5 - i), Paused: i%2 == 0,
			Labels: map[string]string{"team": []string{"billing", "noc"}[i%2], "example.com/of.us": "yes"},
		}
		if i == 4 {
			e.Labels = nil
		}
		must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(t.Context(), &configv1.UpdateEndpointRequest{
			Endpoint: e, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name", "concurrency", "paused", "labels"}},
		}))
	}
	for _, tc := range []struct{ filter, order, want string }{
		{"", "", "a b | c d | e"},
		{`labels.team = "billing"`, "", "a c"},
		{`labels.team="noc" AND display_name = CRM`, "", "d"},
		{`labels.example.com/of.us = yes paused = false`, "", "b d"},
		{`labels.team = ""`, "", ""},
		{`display_name = "A \"b\""`, "", "e"},
		{`name = "tenants/acme/endpoints/b"`, "", "b"},
		{`concurrency = 3`, "", "c"},
		{`status = ENDPOINT_STATUS_UNSPECIFIED`, "", "a b | c d | e"},
		{`status = ENDPOINT_STATUS_DRAFT`, "", ""},
		{`timeout = 5`, "", "timeout can't be compared"},
		{"", "display_name", "e c | a d | b"},
		{"", "display_name desc, name desc", "b d | a c | e"},
		{"", "concurrency", "e d | c b | a"},
		{"", "metadata.update_time desc", "e d | c b | a"},
		{"paused = true", "metadata.revision desc", "e c | a"},
		{"labels.team = noc", "paused,concurrency asc", "d b"},
	} {
		if got := r.queried(tc.filter, tc.order); got != tc.want && !(strings.Contains(tc.want, " can't ") && strings.Contains(got, tc.want)) {
			t.Errorf("%q by %q: %s; want %s", tc.filter, tc.order, got, tc.want)
		}
	}
}

// What a query can't be is listed, each with what would be right.
func TestList_RefusesWhatIsNoQuery(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	for asked, want := range map[[2]string]string{
		{"paused", ""}:                                  "must be field = value",
		{"paused = true OR paused = false", ""}:         "must be field = value",
		{"paused != true", ""}:                          "must be field = value",
		{"AND paused = true", ""}:                       "must be field = value",
		{`display_name = "x`, ""}:                       "must be field = value",
		{"paused = = true", ""}:                         "must be field = value",
		{"paused = maybe", ""}:                          "paused must be true or false",
		{"concurrency = many", ""}:                      "concurrency must be a whole number",
		{"status = ACTIVE", ""}:                         "status must be one of ENDPOINT_STATUS_UNSPECIFIED, ",
		{"colour = red", ""}:                            `Endpoint has no field "colour", but activation, `,
		{"secrets = x", ""}:                             "secrets is a list or a map",
		{"name.first = x", ""}:                          `name has no field "first"`,
		{strings.Repeat("paused = true ", 21), ""}:      "at most 20",
		{strings.Repeat("x", 1001), ""}:                 "filter: must be at most 1000 bytes",
		{"", "colour"}:                                  `order_by: Endpoint has no field "colour"`,
		{"", "name down"}:                               "order_by: must be fields",
		{"", "name,,url"}:                               "order_by: must be fields",
		{"", "auth"}:                                    "auth has no order",
		{"", "name,url,paused,name,url,paused"}:         "order_by: must be at most 5 fields",
		{"paused = 1 AND colour = red", "colour, auth"}: "auth has no order",
	} {
		_, err := r.ends.ListEndpoints(t.Context(), &configv1.ListEndpointsRequest{Parent: "tenants/acme", Filter: asked[0], OrderBy: asked[1]})
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%.60q by %q: %v; want %s", asked[0], asked[1], err, want)
		}
	}
	_, err := r.ends.ListEndpoints(t.Context(), &configv1.ListEndpointsRequest{Parent: "acme", PageSize: -1, PageToken: "!", Filter: "paused = 1 AND colour = red", OrderBy: "colour, auth"})
	if n := len(fault.ViolationsOf(err)); n != 7 {
		t.Errorf("%d violations: %v", n, err)
	}
}

// A page token is of its query: with another parent, filter or order, of another kind, or made up, it is refused.
func TestList_PageTokenIsOfItsQuery(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.tenant("other")
	for _, id := range []string{"a", "b", "c"} {
		r.endpoint(id)
	}
	ask := func(edit func(*configv1.ListEndpointsRequest)) (string, error) {
		req := &configv1.ListEndpointsRequest{Parent: "tenants/acme", PageSize: 1, Filter: "paused = false", OrderBy: "url"}
		edit(req)
		page, err := r.ends.ListEndpoints(ctx, req)
		return page.GetNextPageToken(), err
	}
	token, err := ask(func(*configv1.ListEndpointsRequest) {})
	if err != nil || token == "" {
		t.Fatal(token, err)
	}
	if _, err := ask(func(req *configv1.ListEndpointsRequest) { req.PageToken, req.PageSize = token, 2 }); err != nil {
		t.Errorf("another size of pages: %v", err)
	}
	for name, edit := range map[string]func(*configv1.ListEndpointsRequest){
		"another tenant":   func(req *configv1.ListEndpointsRequest) { req.Parent = "tenants/other" },
		"another filter":   func(req *configv1.ListEndpointsRequest) { req.Filter = "paused=false" },
		"no order":         func(req *configv1.ListEndpointsRequest) { req.OrderBy = "" },
		"deleted ones too": func(req *configv1.ListEndpointsRequest) { req.ShowDeleted = true },
		"cut short":        func(req *configv1.ListEndpointsRequest) { req.PageToken = token[:len(token)-4] },
		"a name as it was written once": func(req *configv1.ListEndpointsRequest) {
			req.PageToken = base64.RawURLEncoding.EncodeToString([]byte("tenants/acme/endpoints/a"))
		},
		"longer than any": func(req *configv1.ListEndpointsRequest) { req.PageToken = strings.Repeat("A", 3*query.MaxToken) },
	} {
		_, err := ask(func(req *configv1.ListEndpointsRequest) {
			req.PageToken = token
			edit(req)
		})
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), "page_token") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.users.ListUsers(ctx, &configv1.ListUsersRequest{Parent: "tenants/acme", PageToken: token}); !strings.Contains(fmt.Sprint(err), "of the same query") {
		t.Errorf("another kind: %v", err)
	}
}

func TestLabels_AreValidated(t *testing.T) {
	t.Parallel()
	r := start(t)
	_, err := r.tenants.CreateTenant(t.Context(), &configv1.CreateTenantRequest{Tenant: &configv1.Tenant{Name: "tenants/acme", Labels: map[string]string{
		"Team": "x", "-a": "x", "": "x", "ok/of.it_2-x": "fine", "v": "with blank", strings.Repeat("k", 64): "x", "long": strings.Repeat("v", 64),
	}}})
	text := fmt.Sprint(fault.ViolationsOf(err))
	for _, part := range []string{"tenant.labels", `key "Team"`, `key "-a"`, `key ""`, `value "with blank" of v`, `key "kkk`, `value "vvv`} {
		if !strings.Contains(text, part) {
			t.Errorf("%s is not in %s", part, text)
		}
	}
	if strings.Contains(text, "ok/of.it_2-x") {
		t.Error(text)
	}
}

// Labels have no order: written again they change nothing.
func TestLabels_WrittenAgainChangeNothing(t *testing.T) {
	t.Parallel()
	r := start(t)
	labels := map[string]string{}
	for i := range 32 {
		labels[fmt.Sprint("k", i)] = fmt.Sprint("v", i)
	}
	made := must[*configv1.Tenant](t)(r.tenants.CreateTenant(t.Context(), &configv1.CreateTenantRequest{Tenant: &configv1.Tenant{Name: "tenants/acme", Labels: labels}}))
	for range 20 {
		again := must[*configv1.Tenant](t)(r.tenants.UpdateTenant(t.Context(), &configv1.UpdateTenantRequest{
			Tenant: &configv1.Tenant{Name: "tenants/acme", Labels: labels}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
		}))
		if again.GetMetadata().GetRevision() != made.GetMetadata().GetRevision() {
			t.Fatalf("revision %d after %d", again.GetMetadata().GetRevision(), made.GetMetadata().GetRevision())
		}
	}
}
