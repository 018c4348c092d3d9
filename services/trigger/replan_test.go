package trigger

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Deliveries are a function of the log: wherever batches are cut and owners killed, what is planned first is what
// an undisturbed owner plans, byte for byte and in order, and every ordering key is numbered without a gap.
func TestReplan_SameLogPlansTheSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		calm := newPartition(t, "events.ordered")
		calm.append(usage("early", "441", 5, epoch))
		revision := int64(0)
		configure := func() {
			revision++
			calm.configure(snapshot(revision, func(s *configv1.Snapshot) {
				first, second := s.Notifications[0], rule("again", []string{"usage.*", "subscriber.*"}, "", action("b", "app"), action("a", "crm"))
				first.Trigger.Filter = fmt.Sprintf("data.net.units > %d", rapid.IntRange(0, 8).Draw(rt, "over"))
				second.Active = rapid.Bool().Draw(rt, "active")
				second.Actions[1].Ordered = rapid.SampledFrom([]*bool{nil, proto.Bool(false)}).Draw(rt, "ordered")
				s.Notifications = append(s.Notifications, second)
				if rapid.Bool().Draw(rt, "draft") {
					s.Endpoints[1].Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT
				}
			}))
		}
		configure()
		for range rapid.IntRange(1, 60).Draw(rt, "events") {
			calm.pass(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 1, 20, 20, 60_000, 60_000, 600_000, 600_000, 3_600_000, 40 * 86_400_000}).Draw(rt, "ms")) * time.Millisecond)
			if rapid.IntRange(0, 12).Draw(rt, "revision") == 0 {
				configure()
				continue
			}
			id := rapid.IntRange(0, 40).Draw(rt, "id")
			calm.append(usage(fmt.Sprintf("u-%d", id), fmt.Sprintf("44%d", id%3), int64(id%10), epoch.Add(time.Duration(id)*time.Minute)))
		}
		calm.run()

		wild := newPartition(t, "events.ordered")
		wild.Records, wild.books, wild.now = calm.Records, calm.books, calm.now
		wild.fetch = func() int { return rapid.IntRange(1, 7).Draw(rt, "fetch") }
		wild.killed = func() bool { return rapid.IntRange(0, 3).Draw(rt, "killed") == 0 }
		wild.run()

		if diff := cmp.Diff(calm.out, firsts(rt, wild.out)); diff != "" {
			rt.Fatalf("planned something else:\n%s", diff)
		}
		numbered(rt, calm.deliveries())
	})
}

// firsts are the first appearances of what was planned, by id and the event's offset. All appearances have the same bytes.
func firsts(t *rapid.T, records []stream.Record) []stream.Record {
	seen := map[string]stream.Record{}
	var out []stream.Record
	for _, r := range records {
		d, err := delivery.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%s %d", d.ID, d.Event.Offset)
		if before, ok := seen[key]; !ok {
			seen[key] = r
			out = append(out, r)
		} else if diff := cmp.Diff(before, r); diff != "" {
			t.Fatalf("%s was planned with two contents:\n%s", d.ID, diff)
		}
	}
	return out
}

// numbered checks that each ordering key counts up by one, naming the one before, and begins anew at 1 only after 90 days.
func numbered(t *rapid.T, ds []*delivery.Delivery) {
	last := map[string]*delivery.Delivery{}
	for _, d := range ds {
		if !d.Ordered {
			continue
		}
		key := d.Endpoint + " " + d.Event.Subject
		before := last[key]
		last[key] = d
		switch {
		case before == nil || d.PlannedAt.Sub(before.PlannedAt) >= positionKept:
			if d.Sequence != 1 || d.Previous != "" {
				t.Fatalf("ordering key %s begins with %d after %q", key, d.Sequence, d.Previous)
			}
		case d.Sequence != before.Sequence+1 || d.Previous != before.ID:
			t.Fatalf("ordering key %s goes from %d (%s) to %d (%s)", key, before.Sequence, before.ID, d.Sequence, d.Previous)
		}
	}
}
