package account

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// BenchmarkUsage is what one usage event costs beside the engine: decoding it and its subscriber's record, counting
// against all three options, and encoding the record again.
func BenchmarkUsage(b *testing.B) {
	f := &Rules{catalog: catalogOf(b, 1, full(dataLimit("9000000000"), func(c *configv1.ClassOfService) {
		c.PaymentSafeguard.Limit = units("9000000000")
	}))}
	sub := *usual()
	sub.Class = "gold"
	sub.Options[spend.Data].Limit, sub.Options[spend.Payment].Limit = 9_000_000_000*spend.Unit, 9_000_000_000*spend.Unit
	raw := sub.Encode(nil)
	e := &event.Event{
		ID: "0191f5a0-7c3d-7d6e-9a51-2f6b8c1d4e90", Source: "rating/eu-1", Type: "usage.charged", Tenant: "acme", Subject: msisdn,
		Time: moment("2026-03-02T10:00"), ReceivedAt: moment("2026-03-02T10:00"),
		Data: &eventv1.UsageCharged{
			Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, OutOfBundle: true, ThirdParty: true,
			Net: units("0.0123"), Gross: units("0.014637"),
			Quantity: 1 << 20, Unit: "byte", VisitedCountry: "CH", Service: "internet",
		},
	}
	value, err := e.Encode(nil)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 256)
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		defer processor(b)()
		for b.Loop() {
			e, err := event.Decode(value)
			if err != nil {
				b.Fatal(err)
			}
			key := f.Select(e).Key
			s, err := f.Decode(raw)
			if err != nil || key == "" {
				b.Fatal(err)
			}
			t := turn{at: e.ReceivedAt, eventTime: e.Time, cause: cause{event: e}, tenant: e.Tenant, msisdn: e.Subject, catalog: f.catalog, exists: true, decision: decision{sub: s}}
			t.used(e.Data.(*eventv1.UsageCharged))
			if !t.changed || t.refused() || len(t.outcomes) > 0 {
				b.Fatal(t.refusal)
			}
			buf = f.Append(buf[:0], t.sub)
		}
	})
	b.Run("without decoding the event", func(b *testing.B) {
		e, err := event.Decode(value)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		defer processor(b)()
		for b.Loop() {
			s, err := f.Decode(raw)
			if err != nil {
				b.Fatal(err)
			}
			t := turn{at: e.ReceivedAt, eventTime: e.Time, cause: cause{event: e}, tenant: e.Tenant, msisdn: e.Subject, catalog: f.catalog, exists: true, decision: decision{sub: s}}
			t.used(e.Data.(*eventv1.UsageCharged))
			buf = f.Append(buf[:0], t.sub)
		}
	})
}

// processor reports what the loop took of a processor, which on a busy machine is less than it took of time. What the
// collector does beside is in it.
func processor(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	begin := used()
	return func() { b.ReportMetric(float64(used()-begin)/float64(b.N), "cpu-ns/op") }
}

// BenchmarkEngine is the same through the engine on memory: ids, timers and commits as well.
func BenchmarkEngine(b *testing.B) {
	const subscribers, batch = 1000, 30_000
	p := newPartition(b)
	p.configures(gold(limit("9000000000")))
	for i := range subscribers {
		p.activates(func(e *event.Event) { e.Subject = fmt.Sprintf("4477009%05d", i) })
	}
	p.works()
	for b.Loop() {
		b.StopTimer()
		for i := range batch {
			p.uses("0.0123", func(e *event.Event) { e.Subject = fmt.Sprintf("4477009%05d", i%subscribers) })
		}
		b.StartTimer()
		p.works()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/event")
}

// BenchmarkActivation is what a subscriber of an import costs, contact, options and outcomes included, through the engine on
// memory.
func BenchmarkActivation(b *testing.B) {
	const batch = 10_000
	p := newPartition(b)
	p.configures(full())
	p.works()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for range batch {
			p.publishes("subscriber.activated", &eventv1.SubscriberActivated{
				ClassOfService: "gold", Imsi: "234150999999999", Language: "de",
				Contact: &eventv1.Contact{Name: "Subscriber 123456", Email: "s123456@example.com"},
				Options: []*eventv1.InitialOption{
					{Option: eventv1.Safeguard_OPTION_DATA, State: eventv1.Safeguard_STATE_ACTIVE, RenewalDay: 12, Spent: units("23.45")},
					{Option: eventv1.Safeguard_OPTION_OVERSPEND, State: eventv1.Safeguard_STATE_ACTIVE, CurrentLimit: units("30"), Spent: units("10.5")},
					{Option: eventv1.Safeguard_OPTION_PAYMENT, Spent: units("0.99")},
				},
			}, func(e *event.Event) { e.Subject = fmt.Sprintf("4477%08d", p.events) })
		}
		b.StartTimer()
		p.works()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/event")
}
