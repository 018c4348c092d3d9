package trigger

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestPlan_HasTheHeadersOfTheProfileAndExpires(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, func(s *configv1.Snapshot) {
		late, early := action("late", "crm"), action("early", "app")
		early.ExpiresAfter = durationpb.New(90 * time.Second)
		s.Notifications[0].Actions = []*configv1.Action{early, late}
		s.Endpoints[0].Profile = configv1.PayloadProfile_PAYLOAD_PROFILE_TRANSATEL
	}))
	p.append(usage("1", "447700900001", 1, p.now))
	p.run()
	ds := p.deliveries()
	if len(ds) != 2 {
		t.Fatalf("%d deliveries", len(ds))
	}
	early, late := ds[0], ds[1]
	if want := early.PlannedAt.Add(90 * time.Second); !early.ExpiresAt.Equal(want) || early.Headers != nil {
		t.Errorf("%s expires at %s, want %s; headers %v", early.Action, early.ExpiresAt, want, early.Headers)
	}
	if diff := cmp.Diff([]delivery.Header{{Name: webhook.HeaderTransatel}}, late.Headers); diff != "" || !late.ExpiresAt.IsZero() {
		t.Errorf("%s expires at %s; headers %s", late.Action, late.ExpiresAt, diff)
	}
}
