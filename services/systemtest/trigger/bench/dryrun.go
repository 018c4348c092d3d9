package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// draft is one that is tried, and how often it fires.
type draft struct {
	name         string
	notification *configv1.Notification
	firings      int64
}

func drafts(o options) []draft {
	make := func(name string, types []string, filter string, kind *configv1.Trigger_Crossing) *configv1.Notification {
		n := &configv1.Notification{
			Name: "tenants/acme/notifications/" + name, Trigger: &configv1.Trigger{EventTypes: types, Filter: filter},
			Actions: []*configv1.Action{{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/crm"}}}},
		}
		if kind != nil {
			n.Trigger.Kind = kind
		}
		return n
	}
	usage := []string{"usage.charged"}
	return []draft{
		{"one type of ten, with a state", make("one", usage, "", above(1)), o.crossings()},
		{"a filter on each event", make("each", types, `subject.endsWith("77")`, nil), int64(o.events) / 100},
		{"no event of its type", make("none", []string{"balance.adjusted"}, "", nil), 0},
	}
}

// above is a crossing of a charge's price.
func above(units int64) *configv1.Trigger_Crossing {
	return &configv1.Trigger_Crossing{Crossing: &configv1.Crossing{Field: "data.net", Up: &money.Money{Units: units}}}
}

// others are the types beside usage.
var others = []string{
	"subscriber.suspended", "subscriber.resumed", "subscriber.terminated", "package.assigned", "package.activated", "package.renewed", "account.updated",
	"payment.processed", "invoice.posted",
}

// crossings are the subjects whose amount rises from 0 to 1: from their first to their second event of usage.
func (o options) crossings() int64 {
	if o.events/10 < 2*o.subjects/10 {
		return 0
	}
	return int64(o.subjects) / 10
}

// eventAt is the i-th: of usage each tenth, its amount the number of earlier ones of its subject.
func (o options) eventAt(i int, received time.Time) (*event.Event, error) {
	e := &event.Event{
		ID: fmt.Sprint("e-", i), Source: "bench", Tenant: "acme", Subject: fmt.Sprintf("4477%08d", i%o.subjects), Time: received, ReceivedAt: received,
		Type: "usage.charged", Data: &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: &money.Money{CurrencyCode: "EUR", Units: int64(i / o.subjects)}},
	}
	if i%10 > 0 {
		t, ok := event.Lookup(others[i%10-1])
		if !ok {
			return nil, fmt.Errorf("there is no type %s", others[i%10-1])
		}
		e.Type, e.Data = t.Name, t.Data.ProtoReflect().New().Interface()
	}
	return e, nil
}

func (b *bed) dryRuns(ctx context.Context) (err error) {
	o := b.options
	o.events = o.events * 3 / 5
	f, err := b.Installation(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, f)) }()
	if _, err := f.Configure(ctx, &configv1.Tenant{Name: "tenants/acme"}); err != nil {
		return err
	}
	m, err := f.Start(ctx, "trigger")
	if err != nil {
		return err
	}
	from := time.Now().Add(-time.Minute)
	err = bench.Plan(ctx, f.Client, o.events, func(i int) (stream.Record, error) {
		e, err := o.eventAt(i, time.Now().UTC().Truncate(time.Millisecond))
		if err != nil {
			return stream.Record{}, err
		}
		return e.Record(f.Client.Topic(stream.EventsOrdered))
	})
	if err := errors.Join(err, rest(ctx, m)); err != nil {
		return err
	}
	fleet.Report("%d events stand in the log, and are worked", o.events)
	conn, err := f.Dial(m.Address("grpc"))
	if err != nil {
		return err
	}
	client := triggerv1.NewRuleServiceClient(conn)
	var rates []float64
	var runs []string
	for run := range o.runs + 1 { // the first is the warm-up
		var lines []string
		for i, d := range drafts(o) {
			rate, processor, err := d.run(ctx, client, m, int64(o.events))
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			if lines = append(lines, fmt.Sprintf("%s %.0f/s, %.2f us of processor time", d.name, rate, processor)); i == 0 && run > 0 {
				rates = append(rates, rate)
			}
		}
		fleet.Report("run %d: %s", run, strings.Join(lines, "; "))
		if run > 0 {
			runs = append(runs, strings.Join(lines, "; "))
		}
	}
	return b.Print(figure.Figure{
		Name: "trigger.dry_run_events_per_second", Value: figure.Round(figure.Median(rates)), Unit: "events/s", Goal: 300_000, Better: "higher", Events: int64(o.events),
		Seconds: time.Since(from).Seconds(), Runs: runs,
		Note: fmt.Sprintf("a crossing on one of ten types, %d subjects, %d partitions; from the request to its answer, over gRPC, all of the log read", o.subjects, o.partitions),
	})
}

// rest waits until a member has nothing to do.
func rest(ctx context.Context, m *fleet.Member) error {
	for {
		before, err := m.Processor()
		if err = errors.Join(err, bench.Pause(ctx, 2*time.Second)); err != nil {
			return err
		}
		after, err := m.Processor()
		if err != nil || after-before < 200*time.Millisecond {
			return err
		}
	}
}

// run is one dry run: records a second, and processor time of the service a record in microseconds.
func (d *draft) run(ctx context.Context, client triggerv1.RuleServiceClient, m *fleet.Member, events int64) (rate, processor float64, err error) {
	before, err := m.Processor()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	messages, err := client.DryRun(ctx, &triggerv1.DryRunRequest{Rule: &triggerv1.DryRunRequest_Notification{Notification: d.notification}})
	var r *triggerv1.DryRunResult
	for err == nil {
		var answer *triggerv1.DryRunResponse
		if answer, err = messages.Recv(); answer.GetResult() != nil {
			r = answer.GetResult()
		}
	}
	took := time.Since(began)
	if !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	after, err := m.Processor()
	if err != nil {
		return 0, 0, err
	}
	read := r.GetRead()
	switch {
	case read.GetRecordsRead() < events || read.GetEndedBy() != triggerv1.DryRunRead_BOUND_UNSPECIFIED:
		return 0, 0, fmt.Errorf("%d of %d records were read, ended by %s", read.GetRecordsRead(), events, read.GetEndedBy())
	case r.GetFirings() != d.firings:
		return 0, 0, fmt.Errorf("%d firings were counted, there are %d", r.GetFirings(), d.firings)
	}
	return float64(read.GetRecordsRead()) / took.Seconds(), float64((after - before).Nanoseconds()) / 1000 / float64(read.GetRecordsRead()), nil
}
