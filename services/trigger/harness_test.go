package trigger

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// partition is one partition of a log in memory, and the real engine over it.
type partition struct {
	foldtest.Log
	t     testing.TB
	topic string
	out   []stream.Record
	store state.Store
	books map[int64]*Book
	now   time.Time

	// fetch returns how many records the next fetch returns; killed whether the owner dies after the next publish.
	fetch   func() int
	killed  func() bool
	metrics *metrics
	// names gives the full name of a topic.
	names func(string) string
	// foreign, where set, gets what is for topics of tenants.
	foreign fold.ForeignPublisher
	// applied, where set, gets the events that came under a traceparent.
	applied func(fold.Applied)
}

func newPartition(t testing.TB, topic string) *partition {
	p := &partition{
		t: t, topic: topic, store: memstate.New(), books: map[int64]*Book{}, now: epoch, names: plain,
		fetch: func() int { return 1000 }, killed: func() bool { return false },
	}
	p.Log = foldtest.Log{TB: t, Most: func() int { return p.fetch() }}
	return p
}

// configure appends the record from which on a snapshot is in force.
func (p *partition) configure(s *configv1.Snapshot) {
	p.t.Helper()
	p.books[s.GetRevision()] = book(s, nil)
	p.append(&event.Event{
		ID: "r", Source: "tollgate/trigger", Type: event.TypeRevision, Time: p.now,
		Data: &controlv1.Revision{Revision: s.GetRevision(), Level: fold.Level},
	})
}

// book is compiled from a snapshot.
func book(m *configv1.Snapshot, before *Book) *Book { return NewBook(configclient.Decode(m), before) }

// append puts events at the end of the log, received now.
func (p *partition) append(events ...*event.Event) {
	p.t.Helper()
	p.AddEvents(p.topic, p.now, events...)
}

func (p *partition) pass(d time.Duration) { p.now = p.now.Add(d) }

// run works the log to its end, with a new owner after each death.
func (p *partition) run() {
	p.t.Helper()
	for {
		o := fold.NewOwner(fold.OwnerConfig[body, *Book]{
			Service: "trigger", Partition: state.Partition{Domain: DomainOrdered, Count: 1}, Address: "here",
			Topic: p.topic, Rejected: "rejected",
			Fold: &evaluation{topic: p.names, prefix: "own", metrics: p.metrics},
			Log:  p, Store: p.store, Publisher: p, Foreign: p.foreign, Revisions: foldtest.Revisions[*Book](p.books), Snapshots: foldtest.NoSnapshots{}, Applied: p.applied,
			Clock: func() time.Time { return p.now }, Logger: zap.NewNop(), Metrics: fold.NewMetrics("trigger", DomainOrdered, prometheus.NewRegistry()),
			Cache: 100, Batch: 100, SnapshotEvery: 1000 * time.Hour, SnapshotEvents: 1 << 40,
		})
		switch err := o.Run(p.t.Context()); {
		case err == nil:
			return
		case !errors.Is(err, errKilled):
			p.t.Fatal(err)
		}
	}
}

// plain is the name of a topic in an installation without a prefix.
func plain(topic string) string { return topic }

var errKilled = errors.New("killed")

func (p *partition) Produce(_ context.Context, records ...stream.Record) error {
	p.out = append(p.out, records...)
	if p.killed() {
		return errKilled
	}
	return nil
}

// deliveries are those planned so far, in order, repeats included.
func (p *partition) deliveries() []*delivery.Delivery {
	p.t.Helper()
	var ds []*delivery.Delivery
	for _, r := range p.out {
		if r.Topic != webhook.Channel.Topic {
			continue
		}
		d, err := delivery.Decode(r)
		if err != nil {
			p.t.Fatal(err)
		}
		ds = append(ds, d)
	}
	return ds
}

func (p *partition) decisions() []*triggerv1.Decision {
	p.t.Helper()
	var ds []*triggerv1.Decision
	for _, r := range p.out {
		if r.Topic != stream.TriggersDecisions {
			continue
		}
		d := &triggerv1.Decision{}
		if err := proto.Unmarshal(r.Value, d); err != nil {
			p.t.Fatal(err)
		}
		ds = append(ds, d)
	}
	return ds
}

// snapshot is a configuration of one tenant with two endpoints, changed by edit.
func snapshot(revision int64, edit func(*configv1.Snapshot)) *configv1.Snapshot {
	s := &configv1.Snapshot{
		Revision: revision, ApplyRevision: revision,
		Tenants: []*configv1.Tenant{{Name: "tenants/acme", DisplayName: "Acme Mobile"}},
		Notifications: []*configv1.Notification{
			rule("spent", []string{"usage.charged"}, "data.net.units > 0", action("notify", "crm")),
		},
		Endpoints: []*configv1.Endpoint{
			{Name: "tenants/acme/endpoints/crm", Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_TOLLGATE},
			{Name: "tenants/acme/endpoints/app", Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS},
		},
	}
	if edit != nil {
		edit(s)
	}
	return s
}

func rule(code string, types []string, filter string, actions ...*configv1.Action) *configv1.Notification {
	return &configv1.Notification{
		Name: "tenants/acme/notifications/" + code, Version: 1, Active: true,
		Trigger: &configv1.Trigger{EventTypes: types, Filter: filter}, Actions: actions,
	}
}

func action(name, endpoint string) *configv1.Action {
	return &configv1.Action{
		Name:       name,
		Action:     &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/" + endpoint}},
		Parameters: []*configv1.Parameter{{Name: "event", Template: "{{.Core.EventId}} of {{.Core.Tenant}} at {{.Core.CurrentDateTime}}"}},
	}
}

// usage is a charge of some units by a subscriber.
func usage(id, subject string, units int64, at time.Time) *event.Event {
	return &event.Event{
		ID: id, Source: "rating", Type: "usage.charged", Tenant: "acme", Subject: subject, Time: at,
		Data: &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: &money.Money{CurrencyCode: "EUR", Units: units}},
	}
}

// tick appends the record by which log time reaches now.
func (p *partition) tick() {
	p.t.Helper()
	p.append(&event.Event{ID: "t", Source: "tollgate/trigger", Type: event.TypeTick, Time: p.now, Data: &controlv1.Tick{}})
}
