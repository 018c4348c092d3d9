package trigger

import (
	"fmt"
	"testing"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/trigger/api"
)

// A dry run whose state changes with every event, beside one with a filter alone, in memory: 20 events of each of 5,000 subjects.
func BenchmarkTrial(b *testing.B) {
	const subjects, events = 5_000, 100_000
	p := newPartition(b, "events.ordered")
	all := make([]*event.Event, events)
	for i := range all {
		all[i] = usage(fmt.Sprint("e-", i), fmt.Sprintf("4477%08d", i%subjects), int64(i/subjects), epoch)
	}
	p.append(all...)
	crossing := rule("n", []string{"usage.charged"}, "", action("notify", "crm"))
	crossing.Trigger.Kind = &configv1.Trigger_Crossing{Crossing: &configv1.Crossing{Field: "data.net", Up: &money.Money{Units: 1}}}
	for name, n := range map[string]*configv1.Notification{
		"a state on each event":  crossing,
		"a filter on each event": rule("n", []string{"usage.charged"}, `subject.endsWith("77")`, action("notify", "crm")),
	} {
		b.Run(name, func(b *testing.B) {
			trial, err := trying{book(snapshot(1, nil), nil), "own"}.Try(n)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				_, err := trial.Fold(b.Context(), api.Past{
					Domain: DomainOrdered, Topic: p.topic, Log: past{p, func() int { return 5000 }}, Begin: replay.Begin{Time: epoch}, Until: events,
				}, func(uint64) bool { return false }, func(api.Mark) {})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
		})
	}
}
