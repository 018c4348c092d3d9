package trigger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// stateful is a notification whose trigger and other fields are JSON, and which has an action to an endpoint.
func stateful(t testing.TB, code, fields string) *configv1.Notification {
	t.Helper()
	n := &configv1.Notification{}
	if err := protojson.Unmarshal([]byte("{"+fields+"}"), n); err != nil {
		t.Fatal(err)
	}
	n.Name, n.Version, n.Active = "tenants/acme/notifications/"+code, 1, true
	n.Actions = []*configv1.Action{action("notify", "crm")}
	return n
}

const (
	unlessPaid = `"trigger": {"event_types": ["invoice.delivered"], "key": "data.document.id", "delayed": {"days": 14, "at": "09:00",
		"cancelled_by": {"event_types": ["payment.processed"], "key": "data.payment.documents"}}}`
	below10 = `"trigger": {"event_types": ["balance.changed"], "crossing": {"field": "data.bucket.remaining", "down": {"units": 10}}}`
	silent  = `"trigger": {"event_types": ["usage.charged"], "absence": {"for": "3600s"}}`
)

// revise puts a revision with these notifications in force.
func (p *partition) revise(revision int64, all ...*configv1.Notification) {
	p.t.Helper()
	p.configure(snapshot(revision, func(s *configv1.Snapshot) { s.Notifications = all }))
}

func balance(id string, remaining float64) *event.Event {
	return &event.Event{ID: id, Source: "rating", Type: "balance.changed", Tenant: "acme", Subject: "account/1", Time: epoch,
		Data: &eventv1.BalanceChanged{Bucket: &eventv1.UsageBucket{Id: "b", Remaining: remaining}}}
}

func invoice(id, document string, at time.Time) *event.Event {
	return &event.Event{ID: id, Source: "billing", Type: "invoice.delivered", Tenant: "acme", Subject: "account/1", Time: at,
		Data: &eventv1.DocumentChanged{Document: &eventv1.Document{Id: document}}}
}

func payment(id string, documents ...string) *event.Event {
	return &event.Event{ID: id, Source: "billing", Type: "payment.processed", Tenant: "acme", Subject: "account/1", Time: epoch,
		Data: &eventv1.PaymentChanged{Payment: &eventv1.Payment{Id: id, Documents: documents}}}
}

// fired are a line per delivery: firing, event, sequence.
func fired(ds []*delivery.Delivery) (lines []string) {
	for _, d := range ds {
		lines = append(lines, fmt.Sprintf("%s %s %d", d.Firing, d.Event.ID, d.Sequence))
	}
	return lines
}

// decided are a line per decision: reason, event, key, detail.
func (p *partition) decided() (lines []string) {
	p.t.Helper()
	for _, d := range p.decisions() {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", strings.TrimPrefix(d.GetReason().String(), "REASON_"), d.GetEvent().GetId(), d.GetKey(), d.GetDetail()))
	}
	return lines
}

func (p *partition) want(deliveries, decisions []string) {
	p.t.Helper()
	if diff := cmp.Diff(deliveries, fired(p.deliveries())); diff != "" {
		p.t.Errorf("deliveries:\n%s", diff)
	}
	if diff := cmp.Diff(decisions, p.decided()); diff != "" {
		p.t.Errorf("decisions:\n%s", diff)
	}
}

// records are the keys of the store's records that have a part in them.
func (p *partition) records(part string) (keys []string) {
	p.t.Helper()
	for cursor := ""; ; {
		some, next, err := p.store.Scan(p.t.Context(), state.Partition{Domain: DomainOrdered, Count: 1}, "r:", cursor, 100)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, key := range some {
			if strings.Contains(key, part) {
				keys = append(keys, key)
			}
		}
		if cursor = next; cursor == "" {
			return keys
		}
	}
}

// until passes time up to a moment that the log then reaches.
func (p *partition) until(at time.Time) {
	p.t.Helper()
	p.now = at
	p.tick()
}

func TestTimer_IsPlannedAtItsTimeUnderTheEventThatSetIt(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.revise(1, stateful(t, "paid", unlessPaid))
	p.pass(time.Minute)
	p.append(invoice("i-1", "a", epoch))
	p.until(epoch.AddDate(0, 0, 20))
	p.run()
	due := time.Date(2026, 3, 15, 9, 0, 0, 0, time.UTC)
	ds := p.deliveries()
	if len(ds) != 1 {
		t.Fatalf("%d deliveries", len(ds))
	}
	d, firing := ds[0], "2026-03-15T09:00:00.000Z"
	if want := delivery.NewID(due, "acme", "billing", "account/1", "i-1", "paid", "notify", firing, "tenants/acme/endpoints/crm"); d.ID != want {
		t.Errorf("id %s, want %s", d.ID, want)
	}
	want := delivery.EventReference{Source: "billing", ID: "i-1", Type: "invoice.delivered", Subject: "account/1", Time: epoch, Topic: "events.ordered", Offset: 1}
	if diff := cmp.Diff(want, d.Event); diff != "" {
		t.Error(diff)
	}
	if d.Firing != firing || !d.PlannedAt.Equal(due) || d.Ordered || d.Sequence != 0 || d.Revision != 1 {
		t.Errorf("firing %s, planned at %s, ordered %t, %d, of revision %d", d.Firing, d.PlannedAt, d.Ordered, d.Sequence, d.Revision)
	}
}

func TestInactive_PlansNothingAndFollowsWhatHappens(t *testing.T) {
	off := func(n *configv1.Notification) *configv1.Notification {
		n.Active = false
		return n
	}
	t.Run("a timer that is due meanwhile fires nothing, one that is due later does", func(t *testing.T) {
		p := newPartition(t, "events.ordered")
		p.revise(1, stateful(t, "paid", unlessPaid))
		p.append(invoice("i-1", "a", epoch), invoice("i-2", "b", epoch.AddDate(0, 0, -7)))
		p.revise(2, off(stateful(t, "paid", unlessPaid)))
		p.until(epoch.AddDate(0, 0, 10))
		p.revise(3, stateful(t, "paid", unlessPaid))
		p.until(epoch.AddDate(0, 0, 20))
		p.run()
		p.want([]string{"2026-03-15T09:00:00.000Z i-1 0"}, nil)
	})
	t.Run("of one that is due meanwhile the repeats go on", func(t *testing.T) {
		again := strings.Replace(unlessPaid, `"days": 14`, `"repeat": {"days": 7, "times": 2}, "days": 14`, 1)
		p := newPartition(t, "events.ordered")
		p.revise(1, stateful(t, "paid", again))
		p.append(invoice("i-1", "a", epoch))
		p.revise(2, off(stateful(t, "paid", again)))
		p.until(epoch.AddDate(0, 0, 15))
		p.revise(3, stateful(t, "paid", again))
		p.append(payment("p-1", "b"))
		p.until(epoch.AddDate(0, 0, 22))
		p.append(payment("p-2", "a"))
		p.until(epoch.AddDate(0, 0, 40))
		p.run()
		p.want([]string{"2026-03-22T09:00:00.000Z i-1 0"}, []string{`CANCELLED i-1 a: event "p-2" of "billing" cancelled it`})
	})
	t.Run("one that was paid for meanwhile does not, and what came meanwhile sets none", func(t *testing.T) {
		p := newPartition(t, "events.ordered")
		p.revise(1, stateful(t, "paid", unlessPaid))
		p.append(invoice("i-1", "a", epoch))
		p.revise(2, off(stateful(t, "paid", unlessPaid)))
		p.append(payment("p-1", "a"), invoice("i-2", "b", epoch))
		p.revise(3, stateful(t, "paid", unlessPaid))
		p.until(epoch.AddDate(0, 0, 20))
		p.run()
		p.want(nil, nil)
	})
	t.Run("what was passed meanwhile is not made up for", func(t *testing.T) {
		p := newPartition(t, "events.ordered")
		p.revise(1, stateful(t, "low", below10))
		p.append(balance("b-1", 20))
		p.revise(2, off(stateful(t, "low", below10)))
		p.append(balance("b-2", 5))
		p.revise(3, stateful(t, "low", below10))
		p.append(balance("b-3", 4), balance("b-4", 12), balance("b-5", 3))
		p.run()
		p.want([]string{"down 10 b-5 1"}, nil)
	})
	t.Run("a draft begins no state", func(t *testing.T) {
		p := newPartition(t, "events.ordered")
		p.revise(1, off(stateful(t, "low", below10)))
		p.append(balance("b-1", 20))
		p.run()
		if keys := p.records("low"); keys != nil {
			t.Errorf("records %q", keys)
		}
	})
}

func TestEdit_KeepsTheStateUnlessKindKeyOrFieldIsAnother(t *testing.T) {
	for name, c := range map[string]struct {
		edited string
		want   []string
	}{
		"another limit":                 {strings.Replace(below10, `"units": 10`, `"units": 8`, 1), []string{"down 8 b-2 1"}},
		"another filter, and a text":    {strings.Replace(below10, `"crossing"`, `"filter": "true", "crossing"`, 1), []string{"down 10 b-2 1"}},
		"another field begins anew":     {strings.Replace(below10, "remaining", "used", 1), nil},
		"another key begins anew":       {strings.Replace(below10, `"crossing"`, `"key": "data.bucket.id", "crossing"`, 1), nil},
		"another kind begins anew":      {strings.Replace(below10, `"crossing"`, `"depleted"`, 1), nil},
		"each event fires, and no more": {`"trigger": {"event_types": ["balance.changed"]}`, []string{" b-2 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(c.edited, `"depleted"`) {
				c.edited = strings.Replace(c.edited, `, "down": {"units": 10}`, "", 1)
			}
			p := newPartition(t, "events.ordered")
			p.revise(1, stateful(t, "low", below10))
			p.append(balance("b-1", 20))
			p.revise(2, stateful(t, "low", c.edited))
			p.append(balance("b-2", 5))
			p.run()
			p.want(c.want, nil)
		})
	}
	t.Run("a pending timer keeps its time, and goes with another kind", func(t *testing.T) {
		for edited, want := range map[string][]string{
			strings.Replace(unlessPaid, `"days": 14`, `"days": 3`, 1):                {"2026-03-15T09:00:00.000Z i-1 0"},
			`"trigger": {"event_types": ["invoice.*"], "absence": {"for": "3600s"}}`: nil,
			`"trigger": {"event_types": ["invoice.delivered"]}`:                      nil,
		} {
			p := newPartition(t, "events.ordered")
			p.revise(1, stateful(t, "paid", unlessPaid))
			p.append(invoice("i-1", "a", epoch))
			p.revise(2, stateful(t, "paid", edited))
			p.until(epoch.AddDate(0, 0, 20))
			p.run()
			p.want(want, nil)
			if keys := p.records("paid"); keys != nil {
				t.Errorf("after %s: records %q", edited, keys)
			}
		}
	})
}

func TestState_GoesWhereItIsOfNoUse(t *testing.T) {
	for name, c := range map[string]struct {
		first  string
		events []*event.Event
		second []*configv1.Notification // nil: as it was
		stands time.Duration            // up to this it stands, an hour later it does not
	}{
		"of a deleted rule, at its next timer": {
			unlessPaid, []*event.Event{invoice("i-1", "a", epoch)}, []*configv1.Notification{stateful(t, "other", below10)}, 14*24*time.Hour + 8*time.Hour + 59*time.Minute,
		},
		"of a deleted rule without a timer, 90 days after its use": {
			below10, []*event.Event{balance("b-1", 20)}, []*configv1.Notification{stateful(t, "other", unlessPaid)}, 90*24*time.Hour - time.Minute,
		},
		"of a delay that was cancelled, when its events are forgotten": {
			unlessPaid, []*event.Event{invoice("i-1", "a", epoch), payment("p-1", "a")}, nil, 24*time.Hour - time.Minute,
		},
		"of a cap, when its window is over": {
			`"cap": {"n": 1, "window": "172800s"}, "trigger": {"event_types": ["balance.changed"]}`, []*event.Event{balance("b-1", 20), balance("b-2", 20)}, nil, 48*time.Hour - time.Minute,
		},
		"of an absence that was ended": {
			silent, []*event.Event{usage("u-1", "44", 1, epoch), {ID: "t-1", Source: "crm", Type: "subscriber.terminated", Tenant: "acme", Subject: "44", Time: epoch, Data: &eventv1.SubscriberTerminated{}}},
			nil, 24*time.Hour - time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.revise(1, stateful(t, "rule", c.first))
			p.append(c.events...)
			if c.second != nil {
				p.revise(2, c.second...)
			}
			p.until(epoch.Add(c.stands))
			p.run()
			if keys := p.records("rule"); len(keys) != 1 {
				t.Fatalf("after %s: records %q", c.stands, keys)
			}
			p.until(epoch.Add(c.stands + time.Hour))
			p.run()
			if keys := p.records("rule"); keys != nil {
				t.Errorf("an hour later: records %q", keys)
			}
		})
	}
}

// A state that ended and is used again does not end.
func TestState_OfWhatWasCancelledMayBeSetAgain(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.revise(1, stateful(t, "paid", unlessPaid))
	p.append(invoice("i-1", "a", epoch), payment("p-1", "a"))
	p.pass(time.Hour)
	p.append(invoice("i-2", "a", epoch))
	p.until(epoch.AddDate(0, 0, 20))
	p.run()
	p.want([]string{"2026-03-15T09:00:00.000Z i-2 0"}, []string{`CANCELLED i-1 a: event "p-1" of "billing" cancelled it`})
}

// What a producer sends again sets no timer, also where the first was cancelled meanwhile.
func TestRepeat_OfWhatWasCancelledSetsNoTimer(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.revise(1, stateful(t, "paid", unlessPaid))
	p.append(invoice("i-1", "a", epoch), payment("p-1", "b", "a"))
	p.pass(23 * time.Hour)
	p.append(invoice("i-1", "a", epoch))
	p.until(epoch.AddDate(0, 0, 20))
	p.run()
	p.want(nil, []string{`CANCELLED i-1 a: event "p-1" of "billing" cancelled it`})
}

// A repeat of an event that changed nothing changes nothing after others.
func TestRepeat_OfWhatChangedNothingFiresNothing(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.revise(1, stateful(t, "low", below10))
	p.append(balance("b-1", 5), balance("b-2", 5), balance("b-3", 15), balance("b-2", 5))
	p.run()
	p.want(nil, nil)
}

// listing counts what is added to due lists.
type listing struct {
	state.Store
	added int
}

func (l *listing) Commit(ctx context.Context, p state.Partition, from, to state.Watermark, c state.Commit) error {
	for _, a := range c.Appends {
		l.added += strings.Count(string(a.Value), "absent")
	}
	return l.Store.Commit(ctx, p, from, to, c)
}

// An absence costs one change of a timer a span, however many events there are.
func TestAbsence_MovesItsTimerOnceASpan(t *testing.T) {
	p := newPartition(t, "events.ordered")
	lists := &listing{Store: p.store}
	p.store = lists
	p.fetch = func() int { return 7 }
	p.revise(1, stateful(t, "absent", silent))
	for i := range 2 * 3600 / 10 { // two hours, an event each ten seconds
		p.append(usage(fmt.Sprintf("u-%d", i), "44", 1, p.now))
		p.pass(10 * time.Second)
	}
	p.until(p.now.Add(2 * time.Hour))
	p.run()
	// Its last use is ten seconds before two hours.
	p.want([]string{"2026-03-01T02:59:50.000Z u-719 0"}, nil)
	// Set, moved after one hour and after two, where it fires an hour later; then the timer of a state that is not used.
	if lists.added != 4 {
		t.Errorf("%d entries in due lists", lists.added)
	}
}

// Wherever batches are cut and owners killed, what is planned first is that of an undisturbed owner.
func TestCases_KilledAndRestarted(t *testing.T) {
	for name, c := range cases() {
		t.Run(name, func(t *testing.T) {
			log := c.log(t)
			byArrival(log)
			simulation.Run(t, simulation.Histories{Short: 2, Test: 12, Long: 300}, func(t *testing.T, seed uint64) {
				r := rand.New(rand.NewPCG(seed, 0))
				p := newPartition(t, "events.ordered")
				p.fetch = func() int { return 1 + r.IntN(4) }
				p.killed = func() bool { return r.IntN(3) == 0 }
				p.now = log[0].ReceivedAt
				p.configure(c.snapshot(t, 1))
				for _, e := range log {
					if p.now = e.ReceivedAt; r.IntN(4) == 0 {
						p.run()
					}
					p.append(e)
				}
				p.until(moment(t, c.until))
				p.run()
				p.out = firstByID(t, p.out)
				c.compare(t, p.deliveries(), p.decisions())
			})
		})
	}
}

// firstByID are the first appearances by id; all appearances have the same bytes.
func firstByID(t *testing.T, records []stream.Record) (out []stream.Record) {
	seen := map[string]stream.Record{}
	for _, r := range records {
		raw, _ := r.Header(event.HeaderID)
		id := string(raw)
		if before, ok := seen[id]; !ok {
			seen[id] = r
			out = append(out, r)
		} else if diff := cmp.Diff(before, r); diff != "" {
			t.Fatalf("%s has two contents:\n%s", id, diff)
		}
	}
	return out
}
