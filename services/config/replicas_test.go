package config

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// beside is another replica on the same database; PostgreSQL lets it.
func (r *running) beside() *running {
	r.t.Helper()
	if !r.db.Postgres() {
		r.t.Skip("one process has a SQLite file")
	}
	other := &running{t: r.t, kafka: r.kafka, db: r.db, now: r.now}
	other.run()
	r.t.Cleanup(func() { other.stop() })
	return other
}

func TestReplicas_SeeEachOthersChanges(t *testing.T) {
	t.Parallel()
	one := start(t)
	two := one.beside()
	first, second := one.heads(), two.heads()
	first()
	second()
	for i := range 10 {
		by := []*running{one, two}[i%2]
		made := by.tenant(fmt.Sprintf("t%d", i)).GetMetadata().GetRevision()
		if made != int64(i+1) {
			t.Fatalf("change %d is revision %d", i, made)
		}
		for replica, receive := range map[string]func() *configv1.WatchResponse{"one": first, "two": second} {
			if got := receive().GetRevision(); got != made {
				t.Errorf("watchers of replica %s receive %d, want %d", replica, got, made)
			}
		}
		for _, of := range []*running{one, two} {
			if n := len(of.snapshot(made).GetTenants()); n != i+1 {
				t.Errorf("revision %d has %d tenants", made, n)
			}
		}
	}
	// Every replica continues what the other made.
	for _, of := range []*running{one, two} {
		of.heads(newestOf(one.head()), newestOf(two.head()))()
		if h := must[*configv1.History](t)(of.history.GetHistory(t.Context(), &configv1.GetHistoryRequest{})); len(h.GetUnknown()) != 0 {
			t.Errorf("not known: %s", shown(h))
		}
	}
}

// Each replica counted for itself.
func TestReplicas_KeepABoundTogether(t *testing.T) {
	one := start(t)
	two := one.beside()
	changed(t, &endpointKind.most, 5)
	one.tenant("acme")
	var made, refusals atomic.Int32
	var all sync.WaitGroup
	for i := range 12 {
		by := []*running{one, two}[i%2]
		all.Go(func() {
			_, err := by.ends.CreateEndpoint(t.Context(), &configv1.CreateEndpointRequest{Endpoint: anEndpoint(fmt.Sprintf("e%d", i))})
			switch {
			case err == nil:
				made.Add(1)
			case fault.ReasonOf(err) == "TOO_MANY":
				refusals.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made.Load() != 5 || refusals.Load() != 7 {
		t.Errorf("%d were made and %d refused", made.Load(), refusals.Load())
	}
}

func TestReplicas_KnowWhatIsNamedThroughAnother(t *testing.T) {
	t.Parallel()
	one := start(t)
	two := one.beside()
	one.tenant("acme")
	two.endpoint("crm")
	one.notification("n", "crm")
	_, err := two.ends.DeleteEndpoint(t.Context(), &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/crm"})
	refused(t, err, fault.Conflict, "ENDPOINT_IN_USE")
	must[*configv1.Notification](t)(one.notes.DeleteNotification(t.Context(), &configv1.DeleteNotificationRequest{Name: "tenants/acme/notifications/n"}))
	must[*configv1.Endpoint](t)(two.ends.DeleteEndpoint(t.Context(), &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/crm"}))
}

// What a service reported to one replica was in that one's memory.
func TestReplicas_ShowWhatServicesReportToAnother(t *testing.T) {
	t.Parallel()
	one := start(t)
	two := one.beside()
	one.tenant("acme")
	one.heads(&configv1.Position{History: 7, Revision: 9})()
	h := must[*configv1.History](t)(two.history.GetHistory(t.Context(), &configv1.GetHistoryRequest{}))
	if got := shown(h); got != "9 in force" {
		t.Fatalf("the other replica shows %q", got)
	}
	must[*configv1.History](t)(two.history.AcceptRestore(t.Context(), &configv1.AcceptRestoreRequest{
		Lost: []*configv1.Position{h.GetUnknown()[0].GetPosition()}, Who: "ops", Why: "test",
	}))
	h = must[*configv1.History](t)(one.history.GetHistory(t.Context(), &configv1.GetHistoryRequest{}))
	if got := shown(h); got != "" || h.GetNewest().GetRevision() != 10 {
		t.Errorf("after it was accepted: %q, %v", got, h.GetNewest())
	}
}
