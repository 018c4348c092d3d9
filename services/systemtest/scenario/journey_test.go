package scenario

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// seed of the traffic; another one makes other traffic of the same kind.
const seed = 20261123

func TestJourney_CountersCrossingsAndRejectionsAreThoseOfTheModel(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		j := begin(t, ctx, f)
		j.phase("ready")

		j.producers.send(j.traffic.activations)
		j.safeguards.until("every subscriber is active", func() bool { return len(j.safeguards.all) == subscribers })
		j.phase("activated")
		j.loseConfig()
		j.producers.send(j.traffic.items)
		j.phase("sent")
		j.awaitEnd()
		j.phase("worked off")

		j.checkAccepted()
		meant := j.runModel()
		j.checkCounters()
		j.checkRejected()
		published := j.checkSafeguards(meant)
		j.phase("counted")
		j.checkReceiver(published)
		j.phase("notified")
	})
}

// journey is one run of the script.
type journey struct {
	testing.TB
	ctx       context.Context
	fleet     *fleet.Fleet
	traffic   *traffic
	inbox     *inbox
	producers *producers
	inventory optionsv1.OptionInventoryServiceClient
	members   map[string]*fleet.Member
	// partitions are the model's partitions.
	partitions []*model.Partition

	ordered, safeguards, rejected *topicLog
	// markers are the last events of each partition, which are rejected.
	markers map[string]bool
	began   time.Time

	resources []proto.Message
}

func (j *journey) phase(name string) {
	j.Helper()
	j.Logf("%6.1f s  %s", time.Since(j.began).Seconds(), name)
}

// begin configures an installation, and starts it.
func begin(t testing.TB, ctx context.Context, f *fleet.Fleet) *journey {
	t.Helper()
	now := time.Now().UTC()
	j := &journey{
		TB: t, ctx: ctx, fleet: f, members: map[string]*fleet.Member{}, traffic: draw(t, seed, now), inbox: newInbox(), markers: map[string]bool{}, began: now,
		ordered:    follow(t, ctx, f, stream.EventsOrdered),
		safeguards: follow(t, ctx, f, stream.Safeguards),
		rejected:   follow(t, ctx, f, stream.EventsRejected),
	}
	receiver, err := fleet.StartReceiver(ctx, j.inbox)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := receiver.Close(); err != nil {
			t.Error(err)
		}
	})
	j.inbox.verify = receiver.Verify
	start := func(name string) {
		m, err := f.Start(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		j.members[name] = m
	}
	start("config")
	j.resources = resources(receiver, now)
	revision, err := f.Configure(ctx, j.resources...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names[1:] {
		start(name)
	}
	for _, name := range names {
		if err := j.members[name].Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{stream.EventsOrdered, stream.Safeguards} {
		if err := f.AwaitRevision(ctx, topic, revision); err != nil {
			t.Fatal(err)
		}
	}
	j.producers = newProducers(t, ctx, f, j.members["ingest"])
	conn, err := f.Dial(j.members["safeguard"].Address("grpc"))
	if err != nil {
		t.Fatal(err)
	}
	j.inventory = optionsv1.NewOptionInventoryServiceClient(conn)
	return j
}

// loseConfig takes the configuration away for the rest of the script: events are worked by the revision at hand. A process
// hangs: it neither answers nor closes a connection.
func (j *journey) loseConfig() {
	j.Helper()
	config := j.members["config"]
	if j.fleet.Processes() {
		thaw, err := config.Freeze()
		if err != nil {
			j.Fatal(err)
		}
		j.Cleanup(func() { // before the fleet is closed
			if err := thaw(); err != nil {
				j.Error(err)
			}
		})
		return
	}
	if err := config.Stop(j.ctx); err != nil {
		j.Fatal(err)
	}
}

func resources(receiver *fleet.Receiver, now time.Time) []proto.Message {
	// No period ends while the script runs: one begins on the 1st or on the 15th, whichever is further away.
	day := int32(1)
	if now.Day() >= 24 || now.Day() < 8 {
		day = 15
	}
	endpoint := func(id, path string) *configv1.Endpoint {
		return &configv1.Endpoint{
			Name: "tenants/acme/endpoints/" + id, Url: receiver.URL(path), Secrets: []string{receiver.Secret},
			CaCertificates: receiver.Authority, Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
		}
	}
	notification := func(code, endpoint, filter string, types ...string) *configv1.Notification {
		return &configv1.Notification{
			Name: "tenants/acme/notifications/" + code, Active: true, Trigger: &configv1.Trigger{EventTypes: types, Filter: filter},
			Actions: []*configv1.Action{{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/" + endpoint}}}},
		}
	}
	return []proto.Message{
		// Usage of the unknown is turned away at once: that it waits for its subscriber is another journey.
		&configv1.Tenant{Name: "tenants/acme", Outbound: receiver.Policy(), Subscribers: &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(0)}},
		&configv1.ClassOfService{Name: "tenants/acme/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{
			Limit: &money.Money{CurrencyCode: "EUR", Units: limitUnits}, RenewalDay: day,
			AlertThresholds: []*configv1.AlertThreshold{{Threshold: &configv1.AlertThreshold_Percent{Percent: percent}}},
		}},
		endpoint("table", pathTable),
		endpoint("limits", pathLimits),
		notification("everything", "table", "", "safeguard.*"),
		notification("limits", "limits", `type == "safeguard.alert" || type == "safeguard.reached"`, "safeguard.*", "usage.charged"),
	}
}

// awaitEnd returns once safeguard has worked off all that was accepted.
func (j *journey) awaitEnd() {
	j.Helper()
	accepted := len(j.traffic.activations)
	for _, it := range j.traffic.items {
		if it.refused == "" {
			accepted++
		}
	}
	j.ordered.until(fmt.Sprintf("%d events are on events.ordered", accepted), func() bool { return len(j.ordered.all) >= accepted })
	j.phase("accepted")
	// An event of an unknown number behind the last of each partition: when it is rejected, all before it was worked.
	for n, marked := 0, map[int32]bool{}; len(marked) < j.fleet.Partitions(); n++ {
		e := j.traffic.activations[0].event
		subject := fmt.Sprintf("99900%06d", n)
		if p := stream.PartitionOf([]byte("acme/"+subject), j.fleet.Partitions()); !marked[p] {
			marked[p] = true
			id := fmt.Sprintf("marker-%d", n)
			j.markers[id] = true
			u := proto.Clone(j.traffic.items[0].event).(*eventv1.Event) //nolint:forcetypeassert // Clone keeps the type
			u.Id, u.Type, u.Subject, u.Time = id, "subscriber.terminated", subject, e.GetTime()
			u.Data.TypeUrl, u.Data.Value = "type.googleapis.com/tollgate.event.v1.SubscriberTerminated", nil
			j.producers.publishOne(u)
		}
	}
	j.rejected.until("the last event of each partition was rejected", func() bool {
		seen := 0
		for _, r := range j.rejected.all {
			if j.markers[header(r, event.HeaderID)] {
				seen++
			}
		}
		return seen >= j.fleet.Partitions()
	})
}
