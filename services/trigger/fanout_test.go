package trigger

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"

	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// fanned are n notifications with so many actions each.
func fanned(n, actions int) func(*configv1.Snapshot) {
	return func(s *configv1.Snapshot) {
		s.Notifications = nil
		for i := range n {
			var to []*configv1.Action
			for a := range actions {
				to = append(to, action(fmt.Sprintf("a%02d", a), "crm"))
			}
			s.Notifications = append(s.Notifications, rule(fmt.Sprintf("n%03d", i), []string{"usage.charged"}, "", to...))
		}
	}
}

// One event can't be cut into batches: what it leads to beyond a bound is one decision with how much it is, the same
// at every replay.
func TestPlan_OneEventHasABoundOfDeliveries(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, fanned(150, 20)))
	p.append(usage("1", "447700900001", 1, p.now))
	p.run()
	if n := len(p.deliveries()); n != maxPlanned {
		t.Errorf("planned %d", n)
	}
	ds := p.decisions()
	if len(ds) != 1 || ds[0].GetReason() != triggerv1.Decision_REASON_FAN_OUT || ds[0].GetCount() != 1000 || ds[0].GetNotification() != "n100" || ds[0].GetAction() != "a00" {
		t.Errorf("decided %v", ds)
	}
	// Only what was planned takes a sequence of the ordering key.
	p.append(usage("2", "447700900001", 1, p.now))
	p.run()
	all := p.deliveries()
	if last, first := all[maxPlanned-1], all[maxPlanned]; first.Sequence != last.Sequence+1 || first.Previous != last.ID {
		t.Errorf("the ordering key goes from %d to %d", last.Sequence, first.Sequence)
	}
}

func TestPlan_OneEventHasABoundInBytes(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, fanned(20, 20)))
	e := usage("1", "447700900001", 1, p.now)
	e.Data.(*eventv1.UsageCharged).Service = strings.Repeat("x", 100_000)
	p.append(e)
	p.run()
	if n := len(p.deliveries()); n < 80 || n > 90 {
		t.Errorf("planned %d of 100 KB", n)
	}
	if ds := p.decisions(); len(ds) != 1 || int(ds[0].GetCount())+len(p.deliveries()) != 400 {
		t.Errorf("decided %v", ds)
	}
}

// Filters that cost more than the bound of an event are not evaluated, and are one decision. The cost does not depend on time.
func TestFanOut_DoesNotEvaluateFiltersBeyondTheBound(t *testing.T) {
	var first *triggerv1.Decision
	for range 2 {
		p := newPartition(t, "events.ordered")
		p.configure(snapshot(1, func(s *configv1.Snapshot) {
			s.Notifications = nil
			for i := range 200 {
				s.Notifications = append(s.Notifications, rule(fmt.Sprintf("n%03d", i), []string{"usage.charged"}, "data.service.matches('(a|b)*c')", action("notify", "crm")))
			}
		}))
		e := usage("1", "447700900001", 1, p.now)
		e.Data.(*eventv1.UsageCharged).Service = strings.Repeat("a", 150_000)
		_, next, left := p.books[1].index.Match(e)
		p.append(e)
		p.run()
		ds := p.decisions()
		if len(ds) != 1 || left == 0 || ds[0].GetReason() != triggerv1.Decision_REASON_FAN_OUT || ds[0].GetCount() != int64(left) || ds[0].GetNotification() != next.Code {
			t.Fatalf("%d are left, decided %v", left, ds)
		}
		if first == nil {
			first = ds[0]
		} else if !proto.Equal(first, ds[0]) {
			t.Errorf("decided %v, then %v", first, ds[0])
		}
	}
}
