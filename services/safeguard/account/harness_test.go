package account

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// partition is one partition of a log in memory and the real engine over it. Its methods append what they are named
// after, at the time that at set last: published works the log to its end and lists outcomes.
type partition struct {
	foldtest.Log
	t        testing.TB
	now      time.Time
	out      []stream.Record
	store    state.Store
	catalogs map[int64]*Catalog
	revision int64
	events   int
	// fetch bounds how many records a fetch returns.
	fetch int
	// tenant is its configuration; usage of unknown numbers is rejected at once.
	tenant *configv1.SubscriberPolicy
	// refusals are those of commands.
	refusals []string
	// late keeps what is published to the log between until it is put there.
	late    bool
	between []stream.Record
	// rules, where they are set, replace the service's.
	rules fold.Fold[Subscriber, *Catalog]
}

// What the stories are written with.
const msisdn = safeguardtest.MSISDN

var (
	moment, stamp, units, amount = safeguardtest.Moment, safeguardtest.Stamp, safeguardtest.Units, safeguardtest.Amount
	gold, full                   = safeguardtest.Gold, safeguardtest.Full
	limit, defaultLimit          = safeguardtest.Limit, safeguardtest.DefaultLimit
	line                         = safeguardtest.Line
)

func catalogOf(t testing.TB, n int64, classes ...*configv1.ClassOfService) *Catalog {
	t.Helper()
	return catalogFor(t, n, safeguardtest.NoGrace(), classes...)
}

func catalogFor(t testing.TB, n int64, tenant *configv1.SubscriberPolicy, classes ...*configv1.ClassOfService) *Catalog {
	t.Helper()
	return Compile(safeguardtest.Snapshot(t, n, tenant, classes...), nil)
}

func newPartition(t testing.TB) *partition {
	p := &partition{t: t, now: moment("2026-03-02T09:00"), store: memstate.New(), catalogs: map[int64]*Catalog{}, fetch: 1000, tenant: safeguardtest.NoGrace()}
	p.Log = foldtest.Log{TB: t, Most: func() int { return p.fetch }}
	return p
}

func (p *partition) at(s string) { p.now = moment(s) }

func thresholds(all ...string) func(*configv1.DataSafeguardOption) {
	return func(o *configv1.DataSafeguardOption) {
		for _, s := range all {
			if percent, ok := strings.CutSuffix(s, "%"); ok {
				n := int32(0)
				_, _ = fmt.Sscan(percent, &n)
				o.AlertThresholds = append(o.AlertThresholds, &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Percent{Percent: n}})
			} else {
				o.AlertThresholds = append(o.AlertThresholds, &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Amount{Amount: units(s)}})
			}
		}
	}
}

func renews(zone string, day int32) func(*configv1.DataSafeguardOption) {
	return func(o *configv1.DataSafeguardOption) { o.TimeZone, o.RenewalDay = zone, day }
}

// bare is the class without the option.
func bare() *configv1.ClassOfService {
	return &configv1.ClassOfService{Name: "tenants/acme/classesOfService/gold"}
}

// configures appends the record from which on these classes are in force.
func (p *partition) configures(classes ...*configv1.ClassOfService) {
	p.t.Helper()
	p.revision++
	p.catalogs[p.revision] = catalogFor(p.t, p.revision, p.tenant, classes...)
	p.append(&event.Event{
		ID: "revision", Source: "tollgate/safeguard", Type: event.TypeRevision, Time: p.now,
		Data: &controlv1.Revision{Revision: p.revision, Level: fold.Level},
	})
}

// ticks appends a record of the time.
func (p *partition) ticks() {
	p.append(&event.Event{ID: "tick", Source: "tollgate/safeguard", Type: event.TypeTick, Time: p.now, Data: &controlv1.Tick{Time: timestamppb.New(p.now)}})
}

func (p *partition) append(events ...*event.Event) {
	p.t.Helper()
	p.AddEvents("events", p.now, events...)
}

// publishes appends an event about the subscriber, which happened now unless changed.
func (p *partition) publishes(eventType string, data proto.Message, edits ...func(*event.Event)) *event.Event {
	p.t.Helper()
	p.events++
	e := &event.Event{
		ID: fmt.Sprintf("e-%d", p.events), Source: "crm", Type: eventType, Tenant: "acme", Subject: msisdn, Time: p.now, Data: data,
	}
	for _, edit := range edits {
		edit(e)
	}
	p.append(e)
	return e
}

func (p *partition) activates(edits ...func(*event.Event)) *event.Event {
	p.t.Helper()
	return p.publishes("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold", Imsi: "234150999999999", Language: "en"}, edits...)
}

func (p *partition) terminates(edits ...func(*event.Event)) *event.Event {
	p.t.Helper()
	return p.publishes("subscriber.terminated", &eventv1.SubscriberTerminated{}, edits...)
}

// uses appends roaming data worth an amount, without VAT.
func (p *partition) uses(amount string, edits ...func(*event.Event)) *event.Event {
	p.t.Helper()
	return p.publishes("usage.charged", &eventv1.UsageCharged{
		Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: units(amount),
	}, edits...)
}

// on lets an event have happened at another time than now.
func on(at string) func(*event.Event) {
	return func(e *event.Event) { e.Time = moment(at) }
}

// with changes a usage.
func with(edit func(*eventv1.UsageCharged)) func(*event.Event) {
	return func(e *event.Event) { edit(e.Data.(*eventv1.UsageCharged)) }
}

// corrects names what a refund takes back: an event that nothing else does.
func corrects(at string) func(*event.Event) {
	return func(e *event.Event) {
		e.Data.(*eventv1.UsageCharged).Corrects = &eventv1.Correction{Id: "before-" + e.ID, Time: timestamppb.New(moment(at))}
	}
}

// works runs the engine to the log's end.
func (p *partition) works() {
	p.t.Helper()
	if err := p.owner(p, p, func() time.Time { return p.now }).Run(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *partition) owner(log fold.Log, publisher fold.Publisher, clock func() time.Time) *fold.Owner[Subscriber, *Catalog] {
	f := p.rules
	if f == nil {
		f = NewRules("safeguards")
	}
	return fold.NewOwner(fold.OwnerConfig[Subscriber, *Catalog]{
		Service: "safeguard", Partition: state.Partition{Domain: Domain, Count: 1}, Address: "here", Topic: "events", Rejected: "rejected",
		Fold: f, Options: Takes(), Log: log, Store: p.store, Publisher: publisher, Revisions: foldtest.Revisions[*Catalog](p.catalogs), Snapshots: foldtest.NoSnapshots{},
		Clock: clock, Logger: zap.NewNop(), Metrics: fold.NewMetrics("safeguard", Domain, prometheus.NewRegistry()),
		Cache: 100, Batch: 100, SnapshotEvery: 1000 * time.Hour, SnapshotEvents: 1 << 40,
	})
}

// published is everything that was published, a line each.
func (p *partition) published() []string {
	p.t.Helper()
	p.works()
	lines := []string{}
	for _, r := range p.out {
		if r.Topic != "events" { // that of the log: transfers, and events that were sent on
			lines = append(lines, line(p.t, r))
		}
	}
	return append(lines, p.refusals...)
}

// forget drops outcomes until here.
func (p *partition) forget() {
	p.works()
	p.out = nil
}

// record is the subscriber as stored.
func (p *partition) record() (Subscriber, bool) { return p.recordOf(msisdn) }

func (p *partition) recordOf(number string) (Subscriber, bool) {
	p.t.Helper()
	_, values, err := p.store.Peek(p.t.Context(), state.Partition{Domain: Domain, Count: 1}, []string{"r:acme/" + number})
	if err != nil || values[0] == nil {
		return Subscriber{}, false
	}
	body, err := fold.BodyOf(values[0])
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := Decode(body)
	if err != nil {
		p.t.Fatal(err)
	}
	return s, true
}

// Produce is the engine's publisher. What it puts on the topic of the log comes into the log.
func (p *partition) Produce(_ context.Context, records ...stream.Record) error {
	p.out = append(p.out, records...)
	for _, r := range records {
		switch {
		case r.Topic == "events" && p.late:
			p.between = append(p.between, r)
		case r.Topic == "events":
			p.Add(r)
		}
	}
	return nil
}

// newTurn is an event of a subscriber of class gold that has nothing yet.
func newTurn() *turn {
	s := configclient.Decode(&configv1.Snapshot{Revision: 1, ClassesOfService: []*configv1.ClassOfService{gold(renews("Europe/Berlin", 1))}})
	if violations := s.Unreadable(); len(violations) > 0 {
		panic(violations)
	}
	at := moment("2026-03-02T09:00")
	return &turn{
		at: at, eventTime: at, arrived: at, cause: cause{event: &event.Event{}}, tenant: "acme", msisdn: msisdn, catalog: Compile(s, nil), exists: true,
		decision: decision{sub: Subscriber{Activated: at, Class: "gold"}},
	}
}
