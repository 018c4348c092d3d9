package config

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const (
	activeEnd   = configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE
	draftEnd    = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT
	disabledEnd = configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED
)

// set updates an endpoint's status by a mask.
func (r *running) set(e *configv1.Endpoint, paths ...string) *configv1.Endpoint {
	r.t.Helper()
	return must[*configv1.Endpoint](r.t)(r.ends.UpdateEndpoint(r.t.Context(), &configv1.UpdateEndpointRequest{Endpoint: e, UpdateMask: mask(paths...)}))
}

// An endpoint that was suspended is set to active where it is active: that must be a change that its owner sees.
func TestActivation_CountsEachTimeStatusIsSetToActive(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	a := func(status configv1.EndpointStatus) *configv1.Endpoint {
		e := anEndpoint("e")
		e.Status, e.Activation = status, 99
		return e
	}
	expect := func(what string, e *configv1.Endpoint, want int64) {
		t.Helper()
		if e.GetActivation() != want || r.snapshot(0).GetEndpoints()[0].GetActivation() != want {
			t.Errorf("%s: activation %d, want %d", what, e.GetActivation(), want)
		}
	}
	expect("created", must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(t.Context(), &configv1.CreateEndpointRequest{Endpoint: a(0)})), 1)
	before := r.snapshot(0)
	expect("set to active, where it was by default", r.set(a(activeEnd), "status"), 2)
	if after := r.snapshot(0); after.GetRevision() != before.GetRevision()+1 || after.GetApplyRevision() != before.GetApplyRevision() {
		t.Errorf("revision %d and %d, then %d and %d", before.GetRevision(), before.GetApplyRevision(), after.GetRevision(), after.GetApplyRevision())
	}
	expect("set to active again", r.set(a(activeEnd), "status"), 3)
	expect("set to active by default", r.set(a(0), "display_name", "status"), 4)
	whole := a(0)
	whole.Metadata = nil
	expect("all of it as it was", r.set(whole), 4)
	expect("all of it as it was, by a mask", r.set(whole, "*"), 4)
	expect("a name of its own", r.set(&configv1.Endpoint{Name: whole.GetName(), DisplayName: "x"}, "display_name"), 4)
	expect("a client's own count", r.set(a(activeEnd), "activation", "health"), 4)
	expect("disabled", r.set(a(disabledEnd), "status"), 4)
	expect("active, in all of it", r.set(a(activeEnd)), 5)
	expect("a draft", r.set(a(draftEnd)), 5)
	expect("active, by a mask", r.set(a(activeEnd), "status"), 6)
	must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(t.Context(), &configv1.DeleteEndpointRequest{Name: whole.GetName()}))
	expect("undeleted", must[*configv1.Endpoint](t)(r.ends.UndeleteEndpoint(t.Context(), &configv1.UndeleteEndpointRequest{Name: whole.GetName()})), 7)
	r.restart()
	expect("after a restart", must[*configv1.Endpoint](t)(r.ends.GetEndpoint(t.Context(), &configv1.GetEndpointRequest{Name: whole.GetName()})), 7)

	d := anEndpoint("d")
	d.Status = draftEnd
	if got := must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(t.Context(), &configv1.CreateEndpointRequest{Endpoint: d})); got.GetActivation() != 0 {
		t.Errorf("a draft has activation %d", got.GetActivation())
	}
}

// A pause is read when sent: nothing waits for it as for a change of what is planned.
func TestAPauseIsARevisionThatNothingIsPlannedAnewFor(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.endpoint("e")
	before := r.snapshot(0)
	paused := r.set(&configv1.Endpoint{Name: "tenants/acme/endpoints/e", Paused: true}, "paused")
	if after := r.snapshot(0); !paused.GetPaused() || after.GetRevision() != before.GetRevision()+1 || after.GetApplyRevision() != before.GetApplyRevision() {
		t.Errorf("%v in %d, applied %d", paused, after.GetRevision(), after.GetApplyRevision())
	}
}

func failing(activation int64) *configv1.EndpointHealth {
	return &configv1.EndpointHealth{
		State: configv1.EndpointState_ENDPOINT_STATE_SUSPENDED, Reason: "failing", Since: timestamppb.New(timestamppb.Now().AsTime()), Failures: 51,
		LastStatus: 500, LastError: "status 500", CircuitOpen: true, Waiting: 300, Behind: 7, Activation: activation,
	}
}

func (r *running) report(reports ...*configv1.EndpointHealthReport) ([]string, error) {
	answer, err := r.service.ReportHealth(r.t.Context(), &configv1.ReportHealthRequest{Reports: reports})
	return answer.GetRefused(), err
}

func TestHealth_IsShownAndIsNoPartOfARevision(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	for _, id := range []string{"a", "b", "c"} {
		r.endpoint(id)
	}
	name := func(id string) string { return "tenants/acme/endpoints/" + id }
	before := r.snapshot(0)
	refused, err := r.report(
		&configv1.EndpointHealthReport{Name: name("a"), Health: failing(1)}, &configv1.EndpointHealthReport{Name: name("none"), Health: failing(1)},
		&configv1.EndpointHealthReport{Name: name("b"), Health: failing(0)}, &configv1.EndpointHealthReport{Name: name("c"), Health: failing(2)},
	)
	if diff := cmp.Diff([]string{name("none"), name("b"), name("c")}, refused); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if after := r.snapshot(0); !proto.Equal(before, after) {
		t.Error("a report changed the configuration")
	}
	want := failing(1)
	want.ReportTime = timestamppb.New(r.clock())
	get := func(id string) *configv1.EndpointHealth {
		t.Helper()
		return must[*configv1.Endpoint](t)(r.ends.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: name(id)})).GetHealth()
	}
	shown := func(when string, health *configv1.EndpointHealth) {
		t.Helper()
		if diff := cmp.Diff(want, health, protocmp.Transform(), protocmp.IgnoreFields(want, "since")); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	shown("get", get("a"))
	page := must[*configv1.ListEndpointsResponse](t)(r.ends.ListEndpoints(ctx, &configv1.ListEndpointsRequest{Parent: "tenants/acme"})).GetEndpoints()
	shown("list", page[0].GetHealth())
	if page[1].GetHealth() != nil || page[2].GetHealth() != nil {
		t.Errorf("what was refused is shown: %v", page)
	}
	echo := must[*configv1.Endpoint](t)(r.ends.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: name("a")}))
	if got := r.set(echo); got.GetMetadata().GetRevision() != echo.GetMetadata().GetRevision() {
		t.Error("what was shown and sent back is a change")
	}
	r.restart()
	shown("after a restart", get("a"))

	// An activation ends what was reported of the one before; what its owner still reports of that is refused.
	r.set(anEndpoint("a"), "status")
	if got := get("a"); got != nil {
		t.Errorf("health of the activation before is shown: %v", got)
	}
	if refused, err := r.report(&configv1.EndpointHealthReport{Name: name("a"), Health: failing(1)}); err != nil || len(refused) != 1 || get("a") != nil {
		t.Error(refused, err)
	}
	if refused, err := r.report(&configv1.EndpointHealthReport{Name: name("a"), Health: failing(2)}); err != nil || refused != nil {
		t.Error(refused, err)
	}
	if got := get("a"); got.GetActivation() != 2 {
		t.Error(got)
	}
	must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: name("a")}))
	if refused, err := r.report(&configv1.EndpointHealthReport{Name: name("a"), Health: failing(2)}); err != nil || len(refused) != 1 {
		t.Error(refused, err)
	}
}

func TestHealth_IsReportedByServicesWithinBounds(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.endpoint("e")
	ok := &configv1.EndpointHealthReport{Name: "tenants/acme/endpoints/e", Health: failing(1)}
	_, err := r.ends.ReportHealth(t.Context(), &configv1.ReportHealthRequest{Reports: []*configv1.EndpointHealthReport{ok}})
	refused(t, err, fault.Denied, "SERVICE_KEY_REQUIRED")
	many := func(n int) (all []*configv1.EndpointHealthReport) {
		for range n {
			all = append(all, ok)
		}
		return all
	}
	bad := failing(1)
	bad.LastError, bad.State, bad.Failures, bad.Since = strings.Repeat("x", 1025), 9, -1, &timestamppb.Timestamp{Nanos: -1}
	for name, tc := range map[string]struct {
		reports []*configv1.EndpointHealthReport
		want    []string
	}{
		"none":     {nil, []string{"reports"}},
		"too many": {many(1001), []string{"reports"}},
		"bad ones": {[]*configv1.EndpointHealthReport{{Name: strings.Repeat("n", 201), Health: failing(1)}, {Name: "x", Health: bad}, {}}, []string{
			"reports[0].name", "reports[1].health.last_error", "reports[1].health.state", "reports[1].health.since", "reports[1].health.failures", "reports[2].name",
		}},
	} {
		_, err := r.report(tc.reports...)
		refused(t, err, fault.Invalid, "REQUEST_INVALID")
		var got []string
		for _, v := range fault.ViolationsOf(err) {
			got = append(got, v.Field)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if refused, err := r.report(many(1000)...); err != nil || refused != nil {
		t.Error(refused, err)
	}
}

// Parameters that nobody would see are refused from either side.
func TestParametersAreRefusedWhereTheProfileHasNoPlaceForThem(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	rendered := func(code, endpoint string) *configv1.Notification {
		n := aNotification(code, endpoint)
		n.Actions[0].Parameters = []*configv1.Parameter{{Name: "message", Template: "x"}}
		return n
	}
	for i, profile := range []configv1.PayloadProfile{configv1.PayloadProfile_PAYLOAD_PROFILE_CLOUDEVENTS_BINARY, configv1.PayloadProfile_PAYLOAD_PROFILE_OCSIO} {
		id := fmt.Sprintf("bare-%d", i)
		e := anEndpoint(id)
		e.Profile = profile
		must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: e}))
		r.notification(id, id)
		_, err := r.notes.CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: rendered(id+"-rendered", id)})
		refused(t, err, fault.Invalid, "PARAMETERS_UNUSED")
		if v := fault.ViolationsOf(err); len(v) != 1 || v[0].Field != "notification.actions[0].webhook.endpoint" || !strings.Contains(v[0].Description, "remove the action's parameters, or choose another profile") {
			t.Error(v)
		}
	}
	r.endpoint("full")
	must[*configv1.Notification](t)(r.notes.CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: rendered("rendered", "full")}))
	change := func() error {
		_, err := r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{
			Endpoint: &configv1.Endpoint{Name: "tenants/acme/endpoints/full", Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_OCSIO}, UpdateMask: mask("profile"),
		})
		return err
	}
	err := change()
	refused(t, err, fault.Invalid, "PARAMETERS_UNUSED")
	if !strings.Contains(err.Error(), "tenants/acme/notifications/rendered") {
		t.Error(err)
	}
	must[*configv1.Notification](t)(r.notes.UpdateNotification(context.WithoutCancel(ctx), &configv1.UpdateNotificationRequest{Notification: aNotification("rendered", "full")}))
	if err := change(); err != nil {
		t.Error(err)
	}
}

func TestAuthenticationIsShownToServicesAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	e := anEndpoint("e")
	e.Auth = &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Basic{Basic: &configv1.BasicAuth{Username: "u", Password: "hush"}}}
	must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: e}))
	echo := must[*configv1.Endpoint](t)(r.ends.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: e.GetName()}))
	if echo.GetAuth().GetBasic().GetPassword() != "****" || echo.GetAuth().GetBasic().GetUsername() != "u" || !isMasked(echo) {
		t.Errorf("shown as %v", echo.GetAuth())
	}
	echo.Auth.GetBasic().Username = "v"
	r.set(echo)
	if got := r.snapshot(0).GetEndpoints()[0].GetAuth().GetBasic(); got.GetPassword() != "hush" || got.GetUsername() != "v" {
		t.Errorf("stored %v", got)
	}
	parts := must[configv1.ConfigWatchService_SnapshotClient](t)(r.outside.Snapshot(ctx, &configv1.SnapshotRequest{}))
	if s := must[*configv1.Snapshot](t)(configclient.Collect(parts, nil)); strings.Contains(s.String(), "hush") {
		t.Errorf("a snapshot shows %v to a key that is no service's", s)
	}
	_, err := r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{UpdateMask: mask("auth"), Endpoint: &configv1.Endpoint{
		Name: e.GetName(), Auth: &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Bearer{Bearer: &configv1.BearerAuth{Token: "****"}}},
	}})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
}
