package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// counter is what one subscriber has spent, and whether it is blocked.
type counter struct {
	Spent   int64
	Reached bool
}

// runModel lets the model work each partition of the log, and returns the outcomes it asks for.
func (j *journey) runModel() (outcomes []model.Outcome) {
	j.Helper()
	configuration := &configv1.Snapshot{}
	for _, r := range j.resources {
		switch r := r.(type) {
		case *configv1.Tenant:
			configuration.Tenants = append(configuration.Tenants, r)
		case *configv1.ClassOfService:
			configuration.ClassesOfService = append(configuration.ClassesOfService, r)
		}
	}
	for range j.fleet.Partitions() {
		j.partitions = append(j.partitions, model.New())
	}
	for _, r := range j.ordered.whole {
		e, err := event.Decode(r.Value)
		if err != nil {
			j.Fatal(err)
		}
		if e.Type == event.TypeRevision {
			j.partitions[r.Partition].Configure(r.Time, configuration)
			continue
		}
		j.partitions[r.Partition].Happen(r.Time, e)
	}
	for _, w := range j.partitions {
		for _, s := range w.Take() {
			if s.Kind != "rejected" { // checkRejected compares those to the byte
				outcomes = append(outcomes, s)
			}
		}
	}
	return outcomes
}

func (j *journey) checkCounters() {
	j.Helper()
	want, got := map[string]counter{}, map[string]counter{}
	for s := range subscribers {
		number := msisdn(s)
		views, _, _ := j.partitions[stream.PartitionOf([]byte("acme/"+number), j.fleet.Partitions())].Look("acme", number)
		want[number] = counter{views[0].Spent, views[0].Blocked}
	}
	var failed error
	ask := func() bool {
		for number := range want {
			res, err := j.inventory.GetDataSafeguard(j.ctx, &optionsv1.GetDataSafeguardRequest{
				Name: "tenants/acme/subscribers/" + number + "/options/dataSafeguard",
			})
			if failed = err; err != nil {
				return false // its partition moves
			}
			got[number] = counter{nanosOf(res.GetSpent()), res.GetReached()}
		}
		return cmp.Equal(want, got)
	}
	// What was published is committed a moment later.
	if !soon(j.ctx, ask) {
		j.Errorf("counters differ from the model: %v %s", failed, cmp.Diff(want, got))
	}
}

func nanosOf(m *money.Money) int64 { return m.GetUnits()*model.Unit + int64(m.GetNanos()) }

// checkAccepted compares events.ordered with what was sent: each event as it was sent, and as often as it was sent.
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
		if id := header(r, event.HeaderID); !j.markers[id] {
			got[id]++
		}
	}
	if !maps.Equal(want, got) { // a difference takes seconds to be worked out
		j.Errorf("events.ordered: %.4000s", cmp.Diff(want, got))
	}
}

// checkRejected checks that events.rejected has exactly what was bad, as it was received, with the reason.
func (j *journey) checkRejected() {
	j.Helper()
	bad := map[string]item{}
	for _, it := range j.traffic.items {
		if it.rejected != "" {
			bad[it.event.GetId()] = it
		}
	}
	sent := map[position]stream.Record{}
	for _, r := range j.ordered.all {
		sent[position{r.Topic, r.Partition, r.Offset}] = r
	}
	left := len(j.producers.refused) + len(bad)
	// What ingest refuses is not ordered before the markers.
	soon(j.ctx, func() bool { j.rejected.read(); return j.rejected.different("tollgate-rejected-id", j.markers) >= left })
	rejections := map[string]stream.Record{}
	for _, r := range j.rejected.all {
		id := header(r, "tollgate-rejected-id")
		if before, again := rejections[id]; again {
			if !bytes.Equal(before.Value, r.Value) {
				j.Errorf("rejection %s is there twice with other bytes", id)
			}
			continue
		}
		rejections[id] = r
		if j.markers[header(r, event.HeaderID)] {
			continue
		}
		left--
		at, err := positionOf(r)
		if err != nil {
			j.Errorf("rejection %s: %v", id, err)
			continue
		}
		want, known := j.producers.refused[at]
		if it := bad[header(r, event.HeaderID)]; !known && it.event != nil {
			source := sent[at]
			want, known = refusal{it.rejected, source.Key, source.Value}, true
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
		j.Errorf("%d rejections are missing of %d", left, len(j.producers.refused)+len(bad))
	}
}

func positionOf(r stream.Record) (position, error) {
	partition, err := strconv.ParseInt(header(r, "tollgate-partition"), 10, 32)
	offset, err2 := strconv.ParseInt(header(r, "tollgate-offset"), 10, 64)
	return position{header(r, "tollgate-topic"), int32(partition), offset}, errors.Join(err, err2)
}

// outcome is one event on safeguards.
type outcome struct {
	id, kind string
	spent    int64
	blocked  bool
}

// checkSafeguards compares the first appearances of each subscriber's outcomes with the model's, in order.
func (j *journey) checkSafeguards(expected []model.Outcome) map[string][]outcome {
	j.Helper()
	// What is published at once is not ordered between topics.
	soon(j.ctx, func() bool {
		j.safeguards.read()
		return j.safeguards.different(event.HeaderID, nil) >= len(expected)
	})
	first := map[string]stream.Record{}
	published := map[string][]outcome{}
	var got []model.Outcome
	for _, r := range j.safeguards.all {
		id := header(r, event.HeaderID)
		if before, again := first[id]; again {
			if !bytes.Equal(before.Value, r.Value) {
				j.Errorf("outcome %s is there twice with other bytes", id)
			}
			continue
		}
		first[id] = r
		read, data, err := model.ReadOutcome(r)
		if err != nil {
			j.Fatal(err)
		}
		got = append(got, read)
		published[read.Subject] = append(published[read.Subject], outcome{id, read.Kind, nanosOf(data.GetSpent()), data.GetBlocked()})
	}
	wrong := model.Compare(expected, got)
	for _, w := range wrong[:min(len(wrong), 3)] {
		j.Errorf("safeguards: %s", w)
	}
	if len(wrong) > 3 {
		j.Errorf("%d outcomes are others than the model's", len(wrong))
	}
	if len(published) != subscribers {
		j.Errorf("%d subjects on safeguards, want %d", len(published), subscribers)
	}
	return published
}

// checkReceiver waits for every webhook, and compares what came with the outcomes of safeguards.
func (j *journey) checkReceiver(published map[string][]outcome) {
	j.Helper()
	// want are the outcomes of each ordering key, in order.
	want := map[string][]string{}
	tables := map[string]counter{}
	counts := map[string]int{}
	for subject, chain := range published {
		for _, o := range chain {
			want[pathTable+"/"+subject] = append(want[pathTable+"/"+subject], o.id)
			counts[pathTable]++
			if o.kind == "alert" || o.kind == "reached" {
				want[pathLimits+"/"+subject] = append(want[pathLimits+"/"+subject], o.id)
				counts[pathLimits]++
			}
		}
		last := chain[len(chain)-1]
		tables[subject] = counter{last.spent, last.blocked}
	}
	for path, n := range counts {
		wait(j, j.ctx, fmt.Sprintf("the receiver has all %d webhooks of %s, it has %d", n, path, j.inbox.count(path)),
			func() bool { return j.inbox.count(path) >= n || j.inbox.hasProblems() })
	}
	j.Logf("%d webhooks, %d of them first answered with 500", counts[pathTable]+counts[pathLimits], failures)

	j.inbox.mu.Lock()
	defer j.inbox.mu.Unlock()
	if len(j.inbox.problems) > 0 {
		j.Errorf("%d hasProblems webhooks, the first: %s", len(j.inbox.problems), j.inbox.problems[0])
	}
	if j.inbox.failed != failures {
		j.Errorf("%d webhooks were answered with 500, want %d", j.inbox.failed, failures)
	}
	got := map[string][]string{}
	for key, receipts := range j.inbox.byKey {
		previous := ""
		for i, r := range receipts {
			if r.DeliverySequence != int64(i)+1 || r.Previous != previous {
				j.Errorf("%s: webhook %d of the ordering key is %d after %q, want after %q", key, i+1, r.DeliverySequence, r.Previous, previous)
			}
			previous = r.Delivery
			got[key] = append(got[key], r.Outcome)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		j.Errorf("first receipts of each ordering key: %.4000s", diff)
	}
	kept := map[string]counter{}
	for row, r := range j.inbox.tables {
		if subject, ok := strings.CutPrefix(row, pathTable+"/"); ok {
			kept[subject] = counter{r.Spent, r.Blocked}
		}
	}
	if diff := cmp.Diff(tables, kept); diff != "" {
		j.Errorf("the receiver's table: %.4000s", diff)
	}
}
