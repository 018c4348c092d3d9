package trigger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// An event is explained from the snapshot before it, also where another one stands behind it, and without the log before the
// snapshot. Once there is no state before it any more, the answer names the offset from which on it knows.
func TestExplain_BeginsAtTheSnapshotBeforeTheEvent(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.cfg.State.SnapshotEvents = 1000 // of two partitions
		c := f.asking()
		few := capped(rule("capped", []string{"invoice.delivered"}, "", action("notify", "crm")), 1)
		plain := rule("each", []string{"invoice.delivered"}, "", action("notify", "app"))
		f.configure(snapshot(1, func(s *configv1.Snapshot) {
			s.Notifications = []*configv1.Notification{few, plain, stateful(f.T, "later", unlessPaid)}
		}))
		now := time.Now().UTC()
		f.publish(stream.EventsOrdered, invoice("i-0", "x", now))
		f.pad("a", 600)
		before := f.snapshots(1)
		f.pad("c", 10)
		f.publish(stream.EventsOrdered, invoice("i-1", "a", now), invoice("i-2", "b", now), payment("p-1", "b"))
		f.pad("b", 600)
		f.snapshots(2)

		first, second := f.nth("i-1", 0), f.nth("i-2", 0)
		explained := func(at *triggerv1.EventPosition, from int64, want ...string) {
			f.Helper()
			r := f.explained(c, atPosition(at))
			for _, n := range r.GetNotifications() {
				if n.GetOutcome() == triggerv1.Explanation_OUTCOME_CANCELLED && n.GetDetail() != `event "p-1" of "billing" cancelled it` {
					f.Errorf("%s: %s", n.GetNotification(), n.GetDetail())
				}
			}
			if got := outcomesOf(r); !slices.Equal(got, want) || r.GetRevision() != 1 || r.GetStateFromOffset() != from {
				f.Errorf("of revision %d from offset %d: %v; want from %d: %v", r.GetRevision(), r.GetStateFromOffset(), got, from, want)
			}
		}
		withAll := func() {
			f.Helper()
			explained(first, 0, "capped HELD_BACK", "each FIRED", "later PENDING")
			explained(second, 0, "capped HELD_BACK", "each FIRED", "later CANCELLED")
		}
		withAll()
		cut := func(offset int64) {
			streamtest.CutTopic(f, f.Config.Kafka.Brokers, f.client.Topic(stream.EventsOrdered), first.GetPartition(), offset)
		}
		cut(before)
		withAll()
		// Who has fired before is not known any more; what stands in the log is.
		cut(before + 1)
		explained(first, before+1, "capped FIRED", "each FIRED", "later PENDING")
		explained(second, before+1, "capped HELD_BACK", "each FIRED", "later CANCELLED")
	})
}

// pad publishes so many events of the subject of invoices; 500 are followed by a snapshot.
func (f *fixture) pad(name string, n int) {
	f.Helper()
	var padding []*event.Event
	for i := range n {
		e := invoice(fmt.Sprint(name, i), "", time.Now().UTC())
		e.Type, e.Data = "account.updated", &eventv1.AccountChanged{}
		padding = append(padding, e)
	}
	f.publish(stream.EventsOrdered, padding...)
}

// snapshots waits until the partition of invoices has so many whole ones, and gives where the last of them begins.
func (f *fixture) snapshots(n int) (begin int64) {
	f.Helper()
	partition := stream.PartitionOf([]byte(invoice("", "", time.Time{}).Key()), f.partitions(stream.EventsOrdered))
	f.await(stream.StateSnapshots, func(records []stream.Record) bool {
		begins, ended := map[string]int64{}, 0
		for _, r := range records {
			m := &statev1.SnapshotRecord{}
			if err := proto.Unmarshal(r.Value, m); err != nil {
				f.Fatal(err)
			}
			if m.GetDomain() != DomainOrdered || m.GetPartition() != partition {
				continue
			}
			if m.GetBegin() != nil {
				w, err := state.DecodeWatermark(m.GetBegin().GetWatermark())
				if err != nil {
					f.Fatal(err)
				}
				begins[m.GetSnapshot()] = w.Offset
			}
			if m.GetEnd() != nil {
				begin = begins[m.GetSnapshot()]
				ended++
			}
		}
		return ended >= n
	})
	return begin
}
