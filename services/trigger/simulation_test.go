package trigger

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/stream"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

var simulationHistories = simulation.Histories{Short: 10, Test: 80, Long: 1500}

// The engine is exact for this fold: kills at every step, zombies, stores set back and emptied, revisions
// and time moving on leave the first appearances as they are.
func TestSimulation_CrashesLeaveNoTrace(t *testing.T) {
	s := newSimulation(t)
	simulation.Run(t, simulationHistories, func(t *testing.T, seed uint64) { s.Run(t, seed, foldtest.NewMemory()) })
}

func newSimulation(t *testing.T) foldtest.Simulation[body, *Book] {
	var revisions []*Book
	for n := range int64(5) {
		b := book(snapshot(n, func(s *configv1.Snapshot) {
			s.Notifications = []*configv1.Notification{
				rule("spent", []string{"usage.charged"}, fmt.Sprintf("data.net.units > %d", n), action("notify", "crm"), action("more", "app")),
				rule("breaks", []string{"usage.charged"}, "10 / data.net.units > 2", action("notify", "app")),
			}
			if n == 3 {
				s.Endpoints[1].Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT
			}
		}), nil)
		revisions = append(revisions, b)
	}
	return foldtest.Simulation[body, *Book]{
		Steps:         300,
		NewFold:       func() fold.Fold[body, *Book] { return &evaluation{topic: plain} },
		Configuration: func(revision int64) *Book { return revisions[revision%5] },
		Draw: func(r *rand.Rand, _ []*event.Event, now time.Time) *event.Event {
			return usage("", fmt.Sprintf("44%d", r.IntN(4)), r.Int64N(9), now.Add(-time.Duration(r.IntN(600))*time.Second))
		},
		Sequence: func(r stream.Record) (string, int64, bool) {
			d, err := delivery.Decode(r)
			if err != nil || !d.Ordered {
				return "", 0, false
			}
			return d.Endpoint + " " + d.Event.Subject, d.Sequence, true
		},
	}
}
