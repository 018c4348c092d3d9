package config

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const (
	testKey    = "tg_test"
	serviceKey = "tg_service"
)

// Secrets of 24 bytes each.
const (
	secretA = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
	secretB = "whsec_QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC"
)

func TestRevision_OfAnEmptyDatabaseIsZero(t *testing.T) {
	t.Parallel()
	r := start(t)
	if s := r.snapshot(0); !proto.Equal(s, &configv1.Snapshot{}) {
		t.Errorf("%v", s)
	}
	if got := r.tenant("acme").GetMetadata().GetRevision(); got != 1 {
		t.Errorf("the first change is revision %d", got)
	}
	_, err := r.snapshotOf(0, 2)
	refused(t, err, fault.NotFound, "REVISION_UNKNOWN")
	_, err = r.snapshotOf(0, -1)
	refused(t, err, fault.Invalid, "REQUEST_INVALID")
}

func TestRevision_CanBeReadAgain(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	var asItWas []*configv1.Snapshot
	step := func() {
		t.Helper()
		s := r.snapshot(0)
		if s.GetRevision() != int64(len(asItWas)) {
			t.Fatalf("step %d made revision %d", len(asItWas), s.GetRevision())
		}
		asItWas = append(asItWas, s)
	}
	step()
	r.tenant("acme")
	step()
	r.endpoint("b")
	step()
	r.endpoint("a")
	step()
	note := r.notification("n", "a")
	step()
	note.DisplayName = "renamed"
	must[*configv1.Notification](t)(r.notes.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: note}))
	step()
	must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/b"}))
	step()
	must[*configv1.Endpoint](t)(r.ends.UndeleteEndpoint(ctx, &configv1.UndeleteEndpointRequest{Name: "tenants/acme/endpoints/b"}))
	step()
	must[*configv1.Notification](t)(r.notes.DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: note.GetName()}))
	step()

	if n := len(asItWas[6].GetEndpoints()); n != 1 {
		t.Errorf("%d endpoints while one of two is deleted", n)
	}
	if names := asItWas[3].GetEndpoints(); names[0].GetName() > names[1].GetName() {
		t.Error("endpoints are not sorted by name")
	}
	if got := asItWas[4].GetEndpoints()[0].GetSecrets()[0]; got != secretA {
		t.Errorf("a snapshot holds the secret as %q", got)
	}
	for _, when := range []string{"before", "after"} {
		for n, want := range asItWas {
			// 0 asks for the newest; there is nothing at the real revision 0.
			if n > 0 && !proto.Equal(r.snapshot(int64(n)), want) {
				t.Errorf("%s a restart revision %d reads otherwise", when, n)
			}
		}
		r.restart()
	}
}

// A change of one resource had every service read all others again.
func TestSnapshot_SinceARevisionHasWhatDiffers(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	for _, id := range []string{"a", "b", "c", "d"} {
		r.endpoint(id)
	}
	base := r.head()
	rename := anEndpoint("b")
	rename.DisplayName = "renamed"
	must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(t.Context(), &configv1.UpdateEndpointRequest{Endpoint: rename}))
	must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(t.Context(), &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/c"}))
	r.endpoint("e")
	ask := func(req *configv1.SnapshotRequest) *configv1.SnapshotResponse {
		t.Helper()
		parts := must[configv1.ConfigWatchService_SnapshotClient](t)(r.watching.Snapshot(t.Context(), req))
		return must[*configv1.SnapshotResponse](t)(parts.Recv())
	}
	since := newestOf(base)
	part := ask(&configv1.SnapshotRequest{Since: since})
	var got []string
	for _, e := range part.GetSnapshot().GetEndpoints() {
		got = append(got, e.GetName()[len("tenants/acme/endpoints/"):])
	}
	if fmt.Sprint(got, part.GetRemoved()) != "[b e] [tenants/acme/endpoints/c]" || !proto.Equal(part.GetSince(), since) || len(part.GetSnapshot().GetTenants()) != 0 {
		t.Errorf("what differs is %v", part)
	}
	if part := ask(&configv1.SnapshotRequest{Since: since, Lists: []string{"tenants"}}); len(part.GetSnapshot().GetEndpoints())+len(part.GetRemoved()) != 0 || part.GetSince() == nil {
		t.Errorf("of another list it is %v", part)
	}
	// Back again, as a client that went ahead with another revision asks.
	back := ask(&configv1.SnapshotRequest{Revision: since.GetRevision(), History: since.GetHistory(), Since: newestOf(r.head())})
	if len(back.GetSnapshot().GetEndpoints()) != 2 || fmt.Sprint(back.GetRemoved()) != "[tenants/acme/endpoints/e]" {
		t.Errorf("back it is %v", back)
	}
	for name, since := range map[string]*configv1.Position{"another history": {History: 9, Revision: since.GetRevision()}, "no history": {Revision: since.GetRevision()}, "a revision to come": {History: since.GetHistory(), Revision: 99}} {
		if part := ask(&configv1.SnapshotRequest{Since: since}); part.GetSince() != nil || len(part.GetSnapshot().GetEndpoints()) != 4 {
			t.Errorf("since %s it is %v", name, part)
		}
	}
}

func TestRevision_ConcurrentChangesLeaveNoGaps(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	const writers, each = 8, 5
	seen := make(chan int64, writers*each)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				e, err := r.ends.CreateEndpoint(context.Background(),
					&configv1.CreateEndpointRequest{Endpoint: anEndpoint(fmt.Sprintf("e%d-%d", w, i))})
				if err != nil {
					t.Error(err)
					return
				}
				seen <- e.GetMetadata().GetRevision()
			}
		})
	}
	all.Wait()
	close(seen)
	revisions := map[int64]bool{}
	for n := range seen {
		revisions[n] = true
	}
	for n := int64(2); n < 2+writers*each; n++ {
		if !revisions[n] {
			t.Errorf("no change got revision %d", n)
		}
	}
}

func TestApplyRevision_MovesWithWhatIsAppliedOrPlannedAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.endpoint("a")
	r.class("gold")
	r.notification("n", "a")
	endpoint := func(change func(*configv1.Endpoint), paths ...string) func() {
		return func() {
			e := anEndpoint("a")
			change(e)
			must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: e, UpdateMask: mask(paths...)}))
		}
	}
	for _, step := range []struct {
		name    string
		do      func()
		applied bool
	}{
		{"an endpoint's url", endpoint(func(e *configv1.Endpoint) { e.Url += "x" }, "url"), false},
		{"an endpoint's secret", endpoint(func(e *configv1.Endpoint) { e.Secrets = []string{secretB} }, "secrets"), false},
		{"an endpoint's profile named as what it was by default",
			endpoint(func(e *configv1.Endpoint) { e.Profile = configv1.PayloadProfile_PAYLOAD_PROFILE_TOLLGATE }, "profile"), false},
		{"an endpoint's profile",
			endpoint(func(e *configv1.Endpoint) { e.Profile = configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS }, "profile"), true},
		{"an endpoint's policy on personal data",
			endpoint(func(e *configv1.Endpoint) { e.PersonalData = configv1.PersonalData_PERSONAL_DATA_INCLUDE }, "personal_data"), true},
		{"an endpoint becomes a draft",
			endpoint(func(e *configv1.Endpoint) { e.Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT }, "status"), true},
		{"a draft becomes disabled",
			endpoint(func(e *configv1.Endpoint) { e.Status = configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED }, "status"), true},
		{"a disabled one becomes active",
			endpoint(func(e *configv1.Endpoint) { e.Status = configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE }, "status"), true},
		{"an active one is named so, as it was by default",
			endpoint(func(e *configv1.Endpoint) { e.Status = configv1.EndpointStatus_ENDPOINT_STATUS_UNSPECIFIED }, "status"), false},
		{"an active one becomes disabled",
			endpoint(func(e *configv1.Endpoint) { e.Status = configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED }, "status"), true},
		{"it is enabled again",
			endpoint(func(e *configv1.Endpoint) { e.Status = configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE }, "status"), true},
		{"a tenant's outbound policy", func() {
			must[*configv1.Tenant](t)(r.tenants.UpdateTenant(ctx, &configv1.UpdateTenantRequest{
				Tenant: &configv1.Tenant{Name: "tenants/acme", Outbound: &configv1.OutboundPolicy{Ports: []uint32{8443}}}}))
		}, true},
		{"a class's limit", func() {
			c := aClass("gold")
			c.DataSafeguard.Limit.Units = 60
			must[*configv1.ClassOfService](t)(r.classes.UpdateClassOfService(ctx, &configv1.UpdateClassOfServiceRequest{ClassOfService: c}))
		}, true},
		{"a class's default state", func() {
			c := aClass("gold")
			c.DataSafeguard.Limit.Units, c.DataSafeguard.DefaultState = 60, permanently
			must[*configv1.ClassOfService](t)(r.classes.UpdateClassOfService(ctx, &configv1.UpdateClassOfServiceRequest{ClassOfService: c}))
		}, true},
		{"a tenant's policy on its subscribers", func() {
			if err := r.policy(&configv1.SubscriberPolicy{UnknownGrace: durationpb.New(0)}); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"a notification's activity", func() {
			n := aNotification("n", "a")
			n.Active = false
			must[*configv1.Notification](t)(r.notes.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: n}))
		}, true},
		{"an endpoint that comes", func() { r.endpoint("b") }, true},
		{"an endpoint that goes", func() {
			must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/b"}))
		}, true},
	} {
		t.Run(step.name, func(t *testing.T) {
			before := r.snapshot(0)
			step.do()
			after := r.snapshot(0)
			if after.GetRevision() != before.GetRevision()+1 {
				t.Fatalf("revision %d after %d", after.GetRevision(), before.GetRevision())
			}
			want := before.GetApplyRevision()
			if step.applied {
				want = after.GetRevision()
			}
			if after.GetApplyRevision() != want {
				t.Errorf("apply_revision %d, want %d", after.GetApplyRevision(), want)
			}
		})
	}
}

func TestWatch_SendsEachRevisionAndTheEnd(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	stream, err := r.watching.Watch(t.Context(), &configv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() (int64, int64) {
		t.Helper()
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return res.GetRevision(), res.GetApplyRevision()
	}
	if all, applied := next(); all != 1 || applied != 1 {
		t.Errorf("begins with %d, %d", all, applied)
	}
	r.endpoint("a")
	if all, applied := next(); all != 2 || applied != 2 {
		t.Errorf("then %d, %d", all, applied)
	}
	e := anEndpoint("a")
	e.Concurrency = 3
	must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(t.Context(), &configv1.UpdateEndpointRequest{Endpoint: e}))
	if all, applied := next(); all != 3 || applied != 2 {
		t.Errorf("then %d, %d", all, applied)
	}
	go r.stop()
	_, err = stream.Recv()
	refused(t, err, fault.Unavailable, "STOPPING")
}
