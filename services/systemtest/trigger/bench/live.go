package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// Metrics of the service.
const (
	metricEvents        = "tollgate_trigger_events_total"
	metricPlanned       = "tollgate_trigger_deliveries_planned_total"
	metricNotifications = "tollgate_trigger_notifications"
)

// live is an installation whose service works what is put into its log.
type live struct {
	bed     *bed
	fleet   *fleet.Fleet
	service *fleet.Member
	events  int // so far
	// batch is the mean of the last run.
	batch float64
}

// notify is a notification to an endpoint of the tenant. It has no order where it keeps a state: its subject has no other record.
func notify(code string, trigger *configv1.Trigger) *configv1.Notification {
	ordered := trigger.GetKind() == nil
	return &configv1.Notification{
		Name: "tenants/acme/notifications/" + code, Active: true, Trigger: trigger,
		Actions: []*configv1.Action{{
			Name: "notify", Ordered: &ordered, Parameters: []*configv1.Parameter{{Name: "text", Template: "{{.Core.EventName}} of {{.Core.Tenant}}: {{.Core.EventId}}"}},
			Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/crm"}},
		}},
	}
}

// live starts an installation with these notifications in force, and stops its service until there is something to work.
func (b *bed) live(ctx context.Context, notifications []*configv1.Notification) (l *live, err error) {
	l = &live{bed: b}
	if l.fleet, err = b.Installation(ctx); err != nil {
		return nil, err
	}
	if err := l.begin(ctx, notifications); err != nil {
		return nil, errors.Join(err, bench.Close(ctx, l.fleet))
	}
	return l, nil
}

func (l *live) begin(ctx context.Context, notifications []*configv1.Notification) (err error) {
	resources := []proto.Message{
		&configv1.Tenant{Name: "tenants/acme"},
		&configv1.Endpoint{
			Name: "tenants/acme/endpoints/crm", Url: "https://crm.example/", Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
			Secrets: []string{"whsec_" + base64.StdEncoding.EncodeToString([]byte(rand.Text()))},
		},
	}
	for _, n := range notifications {
		resources = append(resources, n)
	}
	revision, err := l.fleet.Configure(ctx, resources...)
	if err != nil {
		return err
	}
	if l.service, err = l.fleet.Start(ctx, "trigger"); err != nil {
		return err
	}
	// The service appends the revision; events come behind it.
	if err := errors.Join(l.service.Ready(ctx), l.fleet.AwaitRevision(ctx, stream.EventsOrdered, revision)); err != nil {
		return err
	}
	return l.service.Stop(ctx)
}

// traffic is what is put into a log, and how often it leads to a delivery.
type traffic struct {
	n int
	// draw makes the i-th event; each is drawn once, in this order. fires is whether it leads to a delivery.
	draw func(i int, now time.Time) (e *event.Event, fires bool, err error)
}

// put produces events of ids that are new, and returns how many deliveries they lead to.
func (l *live) put(ctx context.Context, t traffic) (deliveries int, err error) {
	topic, now := l.fleet.Client.Topic(stream.EventsOrdered), time.Time{}
	err = bench.Plan(ctx, l.fleet.Client, t.n, func(i int) (stream.Record, error) {
		if i%1000 == 0 {
			now = time.Now().UTC().Truncate(time.Millisecond)
		}
		e, fires, err := t.draw(i, now)
		if err != nil {
			return stream.Record{}, err
		}
		if fires {
			deliveries++
		}
		e.ID, e.Source, e.Tenant, e.Time, e.ReceivedAt = fmt.Sprint("e-", l.events), "bench", "acme", now, now
		l.events++
		return e.Record(topic)
	})
	return deliveries, err
}

// run measures the service over events that are put into the log while it is stopped. It is invalid where other deliveries are
// planned than the events lead to.
func (l *live) run(ctx context.Context, t traffic, warmUp time.Duration) (out bench.Measured, err error) {
	deliveries, err := l.put(ctx, t)
	if err != nil {
		return out, err
	}
	if err := l.service.Restart(ctx); err != nil {
		return out, err
	}
	out, err = bench.Run{Count: l.counted(ctx), WarmUp: warmUp, Length: l.bed.length, Total: t.n, Processor: l.service.Processor}.Watch(ctx, 0)
	if err := errors.Join(err, l.worked(ctx, t.n, deliveries)); err != nil {
		return out, err
	}
	sum, sumErr := bench.Metric(ctx, l.service, "tollgate_trigger_batch_events_sum")
	count, countErr := bench.Metric(ctx, l.service, "tollgate_trigger_batch_events_count")
	l.batch = sum / max(1, count)
	return out, errors.Join(sumErr, countErr, l.service.Stop(ctx))
}

func (l *live) counted(ctx context.Context) func() (int64, error) {
	return func() (int64, error) {
		n, err := bench.Metric(ctx, l.service, metricEvents)
		return int64(n), err
	}
}

// worked waits until the service has worked n events since it started, and compares what it planned.
func (l *live) worked(ctx context.Context, n, deliveries int) error {
	for {
		worked, err := bench.Metric(ctx, l.service, metricEvents)
		if err != nil {
			return err
		}
		if int(worked) >= n {
			break
		}
		if err := bench.Pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%.0f of %d events were worked: %w", worked, n, err)
		}
	}
	for until := time.Now().Add(countedWithin); ; {
		planned, err := bench.Metric(ctx, l.service, metricPlanned)
		switch {
		case err != nil:
			return err
		case int(planned) == deliveries:
			return nil
		case time.Now().After(until):
			return fmt.Errorf("%.0f deliveries were planned, the events lead to %d", planned, deliveries)
		}
		if err := bench.Pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// countedWithin is how long planned deliveries may take to be counted after their events: one metric is read before the other.
const countedWithin = 10 * time.Second

// types are the ten types of events.
var types = append([]string{"usage.charged"}, others...)

// mixed are events of ten types in no order, of all subjects in turn; fires is whether one of a type and a subject matches.
func (o options) mixed(n int, fires func(kind, subject int) bool) traffic {
	return traffic{n, func(i int, _ time.Time) (*event.Event, bool, error) {
		kind, subject := int(uint64(i)*0x9e3779b97f4a7c15>>33%10), i%o.subjects
		e := &event.Event{Type: types[kind], Subject: number(subject), Data: charged(0)}
		if kind > 0 {
			t, ok := event.Lookup(types[kind])
			if !ok {
				return nil, false, fmt.Errorf("there is no type %s", types[kind])
			}
			e.Data = t.Data.ProtoReflect().New().Interface()
		}
		return e, fires(kind, subject), nil
	}}
}

func number(subject int) string { return fmt.Sprintf("4477%08d", subject) }

// charged is usage for a price.
func charged(units int64) *eventv1.UsageCharged {
	price := &money.Money{CurrencyCode: "EUR", Units: units}
	return &eventv1.UsageCharged{
		Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, OutOfBundle: true, Net: price, Gross: price, Quantity: 1 << 20, Unit: "byte", VisitedCountry: "FR",
	}
}
