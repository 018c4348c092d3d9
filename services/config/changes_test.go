package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func (r *running) list(req *configv1.ListChangesRequest) []*configv1.Change {
	r.t.Helper()
	if req.Parent == "" {
		req.Parent = "tenants/-"
	}
	return must[*configv1.ListChangesResponse](r.t)(r.changes.ListChanges(r.t.Context(), req)).GetChanges()
}

// lines are changes as "action name: field before → after".
func lines(changes []*configv1.Change) (all []string) {
	for _, c := range changes {
		line := c.GetAction() + " " + c.GetName()
		for _, f := range c.GetFields() {
			text := func(v interface{ AsInterface() any }, there bool) string {
				if !there {
					return "-"
				}
				return fmt.Sprint(v.AsInterface())
			}
			line += fmt.Sprintf("; %s %s → %s", f.GetPath(), text(f.GetBefore(), f.Before != nil), text(f.GetAfter(), f.After != nil))
			if f.GetSecret() {
				line += " (secret)"
			}
		}
		all = append(all, line)
	}
	return all
}

func TestChanges_ShowWhoChangedWhatAndFromWhichValue(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.tenant("other")
	r.endpoint("crm")
	r.pass(time.Hour)
	second := r.clock()
	e := anEndpoint("crm")
	e.Secrets, e.Url = []string{secretB}, "https://hooks.example.com/new"
	must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: e}))
	n := r.notification("low", "crm")
	n.Trigger.Filter, n.Actions[0].Name, n.Active = "data.blocked", "inform", false
	must[*configv1.Notification](t)(r.notes.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: n}))
	if _, err := r.notes.DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: n.GetName()}); err != nil {
		t.Fatal(err)
	}

	got := r.list(&configv1.ListChangesRequest{Parent: "tenants/acme", Name: n.GetName()})
	if len(got) != 3 || got[0].GetAction() != "delete" || got[1].GetRevision() != got[0].GetRevision()-1 || got[1].GetKind() != "Notification" || got[1].GetHistory() == 0 ||
		got[1].GetCaller() != rpc.HashKey(testKey)[:len(got[1].GetCaller())] || len(got[1].GetCaller()) < 6 || !got[1].GetTime().AsTime().Equal(second) {
		t.Errorf("%v", got)
	}
	want := "update tenants/acme/notifications/low; active true → -; trigger.filter - → data.blocked; actions[0].name notify → inform"
	if line := lines(got)[1]; line != want {
		t.Errorf("%s\nwant %s", line, want)
	}
	all := fmt.Sprint(r.list(&configv1.ListChangesRequest{}))
	for _, secret := range []string{secretA, secretB} {
		if strings.Contains(all, secret) {
			t.Error("a secret is shown")
		}
	}
	update := lines(r.list(&configv1.ListChangesRequest{Kind: "endpoint", StartTime: timestamppb.New(second)}))
	if len(update) != 1 || !strings.Contains(update[0], "url https://hooks.example.com/crm → https://hooks.example.com/new") || !strings.Contains(update[0], "secrets [whsec_****") {
		t.Errorf("%v", update)
	}
	if early := lines(r.list(&configv1.ListChangesRequest{Parent: "tenants/acme", EndTime: timestamppb.New(second)})); len(early) != 2 || !strings.HasPrefix(early[1], "create tenants/acme;") {
		t.Errorf("%v", early)
	}
	if others := r.list(&configv1.ListChangesRequest{Parent: "tenants/other"}); len(others) != 1 || others[0].GetKind() != "Tenant" {
		t.Errorf("%v", others)
	}
}

func TestChanges_ComeInPagesOfOneQuery(t *testing.T) {
	t.Parallel()
	r := start(t)
	for i := range 7 {
		r.tenant(fmt.Sprintf("t%d", i))
	}
	var names []string
	req := &configv1.ListChangesRequest{Parent: "tenants/-", PageSize: 3}
	for {
		page := must[*configv1.ListChangesResponse](t)(r.changes.ListChanges(t.Context(), req))
		for _, c := range page.GetChanges() {
			names = append(names, strings.TrimPrefix(c.GetName(), "tenants/"))
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
		other := proto.CloneOf(req)
		other.Kind = "Tenant"
		_, err := r.changes.ListChanges(t.Context(), other)
		refused(t, err, fault.Invalid, "REQUEST_INVALID")
	}
	if got := strings.Join(names, " "); got != "t6 t5 t4 t3 t2 t1 t0" {
		t.Errorf("%s", got)
	}
	_, err := r.changes.ListChanges(t.Context(), &configv1.ListChangesRequest{Parent: "acme", Kind: "Klass", PageSize: -1, PageToken: "x", StartTime: &timestamppb.Timestamp{Nanos: -1}})
	if got := fault.ViolationsOf(err); len(got) != 5 {
		t.Errorf("%v", err)
	}
}

func TestRestore_BringsBackWhatWas(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	first := r.endpoint("crm")
	e := anEndpoint("crm")
	e.Secrets, e.Url, e.DisplayName = []string{secretB}, "https://hooks.example.com/new", "CRM"
	second := must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: e}))
	restore := func(name string, revision int64) (*configv1.Change, error) {
		answer, err := r.changes.RestoreResource(ctx, &configv1.RestoreResourceRequest{Name: name, Revision: revision})
		return answer.GetChange(), err
	}
	made := must[*configv1.Change](t)(restore(first.GetName(), first.GetMetadata().GetRevision()))
	if made.GetAction() != "restore" || made.GetRevision() != second.GetMetadata().GetRevision()+1 || len(made.GetFields()) != 3 {
		t.Errorf("%v", made)
	}
	stored := r.snapshot(0).GetEndpoints()[0]
	if stored.GetUrl() != first.GetUrl() || stored.GetSecrets()[0] != secretA || stored.GetDisplayName() != "" {
		t.Errorf("%v", stored)
	}
	if listed := r.list(&configv1.ListChangesRequest{Name: first.GetName()}); listed[0].GetAction() != "restore" || len(listed[0].GetFields()) != 3 {
		t.Errorf("%v", listed)
	}
	// It stands there already: no revision, no fields.
	if again := must[*configv1.Change](t)(restore(first.GetName(), first.GetMetadata().GetRevision())); again.GetRevision() != made.GetRevision() || len(again.GetFields()) != 0 {
		t.Errorf("%v", again)
	}
	// What was deleted since comes back.
	gone := must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: first.GetName()}))
	_, err := restore(first.GetName(), gone.GetMetadata().GetRevision())
	refused(t, err, fault.NotFound, "VERSION_UNKNOWN")
	must[*configv1.Change](t)(restore(first.GetName(), second.GetMetadata().GetRevision()))
	if back := must[*configv1.Endpoint](t)(r.ends.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: first.GetName()})); back.GetDisplayName() != "CRM" || back.GetMetadata().GetDeleteTime() != nil {
		t.Errorf("%v", back)
	}
	_, err = restore(first.GetName(), 1) // before it was there
	refused(t, err, fault.NotFound, "VERSION_UNKNOWN")
	_, err = restore("tenants/acme/endpoints/none", 1)
	refused(t, err, fault.NotFound, "ENDPOINT_NOT_FOUND")
	_, err = restore("endpoints/crm", 0)
	if got := fault.ViolationsOf(err); len(got) != 2 {
		t.Errorf("%v", err)
	}
	_, err = r.changes.RestoreResource(ctx, &configv1.RestoreResourceRequest{Name: first.GetName(), Revision: first.GetMetadata().GetRevision(), Etag: first.GetMetadata().GetEtag()})
	refused(t, err, fault.Conflict, "ETAG_MISMATCH")
}

// What was is checked as it would be today.
func TestRestore_IsCheckedAsEveryChange(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.endpoint("crm")
	n := r.notification("low", "crm")
	if _, err := r.notes.DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: n.GetName()}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/crm"}); err != nil {
		t.Fatal(err)
	}
	_, err := r.changes.RestoreResource(ctx, &configv1.RestoreResourceRequest{Name: n.GetName(), Revision: n.GetMetadata().GetRevision()})
	if err == nil || !strings.Contains(err.Error(), "endpoints/crm does not exist") {
		t.Errorf("%v", err)
	}
}
