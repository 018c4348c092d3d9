package webhook

import (
	"net/http"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestReport_GoneIsReportedAndPublished(t *testing.T) {
	onServers(t, func(f *fixture) {
		one := newReceiver(f.T, "one")
		one.respond(func(int) int { return http.StatusGone })
		f.configure(one)
		f.start()
		f.plan(ordered(one, "a", 1, 3)...)
		var report *configv1.EndpointHealthReport
		for report.GetHealth().GetState() != configv1.EndpointState_ENDPOINT_STATE_SUSPENDED {
			select {
			case report = <-f.Configuration.Reports():
			case <-f.ctx.Done():
				f.Fatalf("last report %v", report)
			}
		}
		h := report.GetHealth()
		if report.GetName() != one.name || h.GetReason() != "gone" || h.GetLastStatus() != 410 || h.GetFailures() != 1 || h.GetWaiting() != 3 || h.GetSince() == nil {
			t.Errorf("report %v", report)
		}
		all := f.attempts(func(all []*deliveryv1.Attempt) bool { return len(all) == 1 })
		if a := all[0]; a.GetFault() != deliveryv1.Fault_FAULT_GONE || a.GetSettlement() != 0 || a.GetPlannedAt() == nil {
			t.Errorf("attempt %v", a)
		}
		e := f.event()
		if m, ok := e.Data.(*eventv1.EndpointChanged); !ok || e.Type != "endpoint.suspended" || e.Tenant != "acme" || e.Subject != "endpoint/one" ||
			m.GetEndpoint() != one.name || m.GetReason() != "gone" || m.GetLastStatus() != 410 {
			t.Errorf("event %+v", e)
		}
	})
}

// event is the first ordered event.
func (f *fixture) event() *event.Event {
	topic := f.client.Topic(stream.EventsOrdered)
	n, err := f.client.Partitions(f.ctx, topic)
	if err != nil {
		f.Fatal(err)
	}
	for {
		for p := range int32(n) {
			start, end, err := f.client.Offsets(f.ctx, topic, p)
			if err != nil {
				f.Fatal(err)
			}
			if start == end {
				continue
			}
			b, err := f.client.FetchFrom(f.ctx, topic, p, start, 1)
			if err != nil {
				f.Fatal(err)
			}
			e, err := event.Decode(b.Records[0].Value)
			if err != nil {
				f.Fatal(err)
			}
			return e
		}
		pause.For(f.ctx, 5*time.Millisecond)
	}
}
