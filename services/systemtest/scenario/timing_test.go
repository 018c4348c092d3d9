package scenario

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// The timing of an action is kept by the service that sends: quiet hours hold back, but no legal notice; what expires is
// settled; of what waits with one text the newest stays.
func TestTiming_IsKeptFromTheNotificationToTheReceiver(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		taken := make(chan string, 100)
		receiver, err := fleet.StartReceiver(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/fails" {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			taken <- r.URL.Path
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer receiver.Close()
		now := time.Now().UTC()
		// The only minute that is not quiet is twelve hours away.
		open := now.Add(12 * time.Hour).Truncate(time.Minute)
		quiet := &configv1.QuietHours{Hours: []*configv1.Hours{{Start: open.Add(time.Minute).Format("15:04"), End: open.Format("15:04")}}, TimeZone: "UTC"}
		resources := []proto.Message{&configv1.Tenant{Name: "tenants/acme", Outbound: receiver.Policy()}}
		for _, id := range []string{"quiet", "legal", "fails", "paused"} {
			name := "tenants/acme/endpoints/" + id
			action := &configv1.Action{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: name}}}
			n := &configv1.Notification{
				Name: "tenants/acme/notifications/" + id, Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"client.updated"}},
				Actions: []*configv1.Action{action}, LegalNotice: id == "legal",
			}
			switch id {
			case "quiet", "legal":
				action.Quiet = quiet
			case "fails":
				action.ExpiresAfter = durationpb.New(time.Second)
			case "paused":
				action.Collapse = "balance of {{.Account.Id}}"
			}
			resources = append(resources, &configv1.Endpoint{
				Name: name, Url: receiver.URL("/" + id), Secrets: []string{receiver.Secret}, CaCertificates: receiver.Authority, Paused: id == "paused",
			}, n)
		}
		members := startAll(t, ctx, f, resources...)
		ingest, err := f.Dial(members["ingest"].Address("grpc"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			publishClient(t, ctx, ingest, fmt.Sprint(i+1))
		}

		attempts := follow(t, ctx, f, stream.DeliveriesAttempts)
		settled := func(settlement deliveryv1.Settlement) (n int) {
			for _, r := range attempts.all {
				var a deliveryv1.Attempt
				if err := proto.Unmarshal(r.Value, &a); err != nil {
					t.Fatal(err)
				}
				if a.GetSettlement() == settlement {
					n++
				}
			}
			return n
		}
		attempts.until("the end of what waits", func() bool {
			return settled(deliveryv1.Settlement_SETTLEMENT_EXPIRED) == 3 && settled(deliveryv1.Settlement_SETTLEMENT_SUPERSEDED) == 2 &&
				settled(deliveryv1.Settlement_SETTLEMENT_DELIVERED) == 3
		})
		for len(taken) > 0 {
			if path := <-taken; path != "/legal" {
				t.Errorf("%s got a delivery", path)
			}
		}
	})
}
