package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/tollgate/ledger"
)

// seed of the traffic; another one tells another story of the same kind.
const seed = 20261123

func TestEveryCounterEveryCrossingAndEveryBadEventComesOutAsTheModelSays(t *testing.T) {
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

		j.checkCounters()
		j.checkAccepted()
		j.checkRejected()
		told := j.checkSafeguards()
		j.phase("counted")
		j.checkReceiver(told)
		j.phase("told")
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

	ordered, safeguards, rejected *topicLog
	// markers are the last events of each partition, which nobody counts.
	markers map[string]bool
	began   time.Time
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
	revision, err := f.Configure(ctx, resources(receiver, now)...)
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
			Actions: []*configv1.Action{{Name: "tell", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/" + endpoint}}}},
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
	j.ordered.until(fmt.Sprintf("%d events stand on events.ordered", accepted), func() bool { return len(j.ordered.all) >= accepted })
	j.phase("accepted")
	// An event of nobody behind the last of each partition: when it is rejected, all before it was worked.
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
	j.rejected.until("the last event of each partition was judged", func() bool {
		seen := 0
		for _, r := range j.rejected.all {
			if j.markers[header(r, "ce_id")] {
				seen++
			}
		}
		return seen >= j.fleet.Partitions()
	})
}

// standing is one counter.
type standing struct {
	Spent   int64
	Reached bool
}

func (j *journey) checkCounters() {
	j.Helper()
	want, got := map[string]standing{}, map[string]standing{}
	for s, a := range j.traffic.accounts {
		want[msisdn(s)] = standing{a.Spent, a.Blocked}
	}
	ask := func() bool {
		for s := range j.traffic.accounts {
			res, err := j.inventory.GetDataSafeguard(j.ctx, &optionsv1.GetDataSafeguardRequest{
				Name: "tenants/acme/subscribers/" + msisdn(s) + "/options/dataSafeguard",
			})
			if err != nil {
				j.Fatal(err)
			}
			got[msisdn(s)] = standing{nanosOf(res.GetSpent()), res.GetReached()}
		}
		return cmp.Equal(want, got)
	}
	// What was judged is committed a moment later.
	for range 20 {
		if ask() {
			return
		}
	}
	j.Errorf("counters differ from the model: %s", cmp.Diff(want, got))
}

func nanosOf(m *money.Money) int64 { return m.GetUnits()*ledger.Unit + int64(m.GetNanos()) }

// checkAccepted holds events.ordered against what was sent: each event in its own words, and as often as it was sent.
func (j *journey) checkAccepted() {
	j.Helper()
	want := map[string]int{}
	for _, it := range slices.Concat(j.traffic.activations, j.traffic.items) {
		if it.refused == "" {
			want[it.event.GetId()]++
		}
	}
	got := map[string]int{}
	for _, r := range j.ordered.all {
		if id := header(r, "ce_id"); !j.markers[id] {
			got[id]++
		}
	}
	if !maps.Equal(want, got) { // a difference takes seconds to be worked out
		j.Errorf("events.ordered: %.4000s", cmp.Diff(want, got))
	}
}

// checkRejected asks that exactly what was bad is on events.rejected, as it was received, with the reason.
func (j *journey) checkRejected() {
	j.Helper()
	judged := map[string]item{}
	for _, it := range j.traffic.items {
		if it.judged != "" {
			judged[it.event.GetId()] = it
		}
	}
	stood := map[place]stream.Record{}
	for _, r := range j.ordered.all {
		stood[place{r.Topic, r.Partition, r.Offset}] = r
	}
	left := len(j.producers.refused) + len(judged)
	rejections := map[string]stream.Record{}
	for _, r := range j.rejected.all {
		id := header(r, "tollgate-rejected-id")
		if before, again := rejections[id]; again {
			if !bytes.Equal(before.Value, r.Value) {
				j.Errorf("rejection %s stands twice with other bytes", id)
			}
			continue
		}
		rejections[id] = r
		if j.markers[header(r, "ce_id")] {
			continue
		}
		left--
		at, err := placeOf(r)
		if err != nil {
			j.Errorf("rejection %s: %v", id, err)
			continue
		}
		want, known := j.producers.refused[at]
		if it := judged[header(r, "ce_id")]; !known && it.event != nil {
			source := stood[at]
			want, known = refusal{it.judged, source.Key, source.Value}, true
			var e eventv1.Event
			if err := proto.Unmarshal(r.Value, &e); err != nil {
				j.Errorf("rejection %s: %v", id, err)
			}
			e.ReceivedAt = nil
			if !proto.Equal(&e, it.event) {
				j.Errorf("rejected event differs from the one sent: %v, want %v", &e, it.event)
			}
		}
		got := refusal{header(r, "tollgate-reason"), r.Key, r.Value}
		if !known || got.reason != want.reason || !bytes.Equal(got.key, want.key) || !bytes.Equal(got.value, want.value) {
			j.Errorf("rejected at %v with %q (%s), want %q; key and bytes as received: %t", at, got.reason, header(r, "tollgate-detail"),
				want.reason, bytes.Equal(got.key, want.key) && bytes.Equal(got.value, want.value))
		}
	}
	if left != 0 {
		j.Errorf("%d rejections are missing of %d", left, len(j.producers.refused)+len(judged))
	}
}

func placeOf(r stream.Record) (place, error) {
	partition, err := strconv.ParseInt(header(r, "tollgate-partition"), 10, 32)
	offset, err2 := strconv.ParseInt(header(r, "tollgate-offset"), 10, 64)
	return place{header(r, "tollgate-topic"), int32(partition), offset}, errors.Join(err, err2)
}

// outcome is one event on safeguards.
type outcome struct {
	ledger.Told
	id       string
	sequence int64
}

// checkSafeguards holds the first appearances of each subscriber's outcomes against the model, in order.
func (j *journey) checkSafeguards() map[string][]outcome {
	j.Helper()
	j.safeguards.read()
	first := map[string]stream.Record{}
	got := map[string][]outcome{}
	for _, r := range j.safeguards.all {
		id := header(r, "ce_id")
		if before, again := first[id]; again {
			if !bytes.Equal(before.Value, r.Value) {
				j.Errorf("outcome %s stands twice with other bytes", id)
			}
			continue
		}
		first[id] = r
		var e eventv1.Event
		var s eventv1.Safeguard
		if err := errors.Join(proto.Unmarshal(r.Value, &e), e.GetData().UnmarshalTo(&s)); err != nil {
			j.Fatal(err)
		}
		chain := got[e.GetSubject()]
		last := int64(0)
		if len(chain) > 0 {
			last = chain[len(chain)-1].sequence
		}
		if s.GetSequence() <= last || s.GetPreviousSequence() != last {
			j.Errorf("%s: sequence %d after %d says %d", e.GetSubject(), s.GetSequence(), last, s.GetPreviousSequence())
		}
		got[e.GetSubject()] = append(chain, outcome{
			ledger.Told{
				Kind: strings.TrimPrefix(e.GetType(), "safeguard."), Cause: s.GetCause().GetEvent().GetId(),
				Spent: nanosOf(s.GetSpent()), Blocked: s.GetBlocked(), Overshoot: nanosOf(s.GetOvershoot()),
			}, e.GetId(), s.GetSequence(),
		})
	}
	wrong := 0
	for s, a := range j.traffic.accounts {
		var chain []ledger.Told
		for _, o := range got[msisdn(s)] {
			chain = append(chain, o.Told)
		}
		if diff := cmp.Diff(a.Told, chain); diff != "" {
			if wrong++; wrong <= 3 {
				j.Errorf("%s was told: %s", msisdn(s), diff)
			}
		}
	}
	if wrong > 3 {
		j.Errorf("%d subscribers were told other things than the model says", wrong)
	}
	if len(got) != subscribers {
		j.Errorf("%d subjects on safeguards, want %d", len(got), subscribers)
	}
	return got
}

// checkReceiver waits for every webhook, and holds what came against what safeguards said.
func (j *journey) checkReceiver(said map[string][]outcome) {
	j.Helper()
	// want are the outcomes of each lane, in order.
	want := map[string][]string{}
	tables := map[string]standing{}
	counts := map[string]int{}
	for subject, chain := range said {
		for _, o := range chain {
			want[pathTable+"/"+subject] = append(want[pathTable+"/"+subject], o.id)
			counts[pathTable]++
			if o.Kind == "alert" || o.Kind == "reached" {
				want[pathLimits+"/"+subject] = append(want[pathLimits+"/"+subject], o.id)
				counts[pathLimits]++
			}
		}
		last := chain[len(chain)-1]
		tables[subject] = standing{last.Spent, last.Blocked}
	}
	for path, n := range counts {
		wait(j, j.ctx, fmt.Sprintf("the receiver has all %d webhooks of %s, it has %d", n, path, j.inbox.count(path)),
			func() bool { return j.inbox.count(path) >= n || j.inbox.faulty() })
	}
	j.Logf("%d webhooks, %d of them first answered with 500", counts[pathTable]+counts[pathLimits], failures)

	j.inbox.mu.Lock()
	defer j.inbox.mu.Unlock()
	if len(j.inbox.faults) > 0 {
		j.Errorf("%d faulty webhooks, the first: %s", len(j.inbox.faults), j.inbox.faults[0])
	}
	if j.inbox.failed != failures {
		j.Errorf("%d webhooks were answered with 500, want %d", j.inbox.failed, failures)
	}
	got := map[string][]string{}
	for lane, receipts := range j.inbox.lanes {
		previous := ""
		for i, r := range receipts {
			if r.Lane != int64(i)+1 || r.Previous != previous {
				j.Errorf("%s: webhook %d of the lane says %d after %q, want after %q", lane, i+1, r.Lane, r.Previous, previous)
			}
			previous = r.Delivery
			got[lane] = append(got[lane], r.Outcome)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		j.Errorf("first receipts of each lane: %.4000s", diff)
	}
	kept := map[string]standing{}
	for row, r := range j.inbox.tables {
		if subject, ok := strings.CutPrefix(row, pathTable+"/"); ok {
			kept[subject] = standing{r.Spent, r.Blocked}
		}
	}
	if diff := cmp.Diff(tables, kept); diff != "" {
		j.Errorf("the receiver's table: %.4000s", diff)
	}
}
