package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// written is one outcome of a topic, written as the service writes it.
func written(t *testing.T, id string, s model.Said) stream.Record {
	t.Helper()
	d := &eventv1.Safeguard{
		Option: s.Option, State: s.State, Spent: model.Money(s.Spent, s.Currency), Blocked: s.Blocked, Reason: s.Reasons[0],
		Sequence: s.Sequence, PreviousSequence: s.Previous, PeriodStart: timestamppb.New(s.Start), PeriodEnd: timestamppb.New(s.End),
		RenewalDay: int32(s.Day), Cause: &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Id: s.Cause}}},
		Limit: model.Money(s.Limit, s.Currency), Overshoot: model.Money(s.Overshoot, s.Currency),
	}
	if s.Kind == "alert" {
		d.Threshold = &eventv1.Threshold{Percent: s.Percent, Amount: model.Money(s.Amount, s.Currency)}
	}
	if !s.Forecast.IsZero() {
		d.Forecast = timestamppb.New(s.Forecast)
	}
	r, err := (&event.Event{ID: id, Source: "tollgate/safeguard", Type: "safeguard." + s.Kind, Tenant: "acme", Subject: s.Subject, Time: s.At, Data: d}).Record("safeguards")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// meant is what the model makes of a subscriber that reaches its limit and gets room back: activated, alert, reached,
// overshoot, released.
func meant() []model.Said {
	w, now := model.New(), time.Date(2026, 3, 10, 9, 0, 0, 0, time.UTC)
	w.Configure(now, &configv1.Snapshot{ClassesOfService: []*configv1.ClassOfService{{
		Name: "tenants/acme/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{Limit: model.Money(50*model.Unit, "EUR")},
	}}})
	w.Happen(now, &event.Event{ID: "a", Type: "subscriber.activated", Tenant: "acme", Subject: "44", Time: now, Data: &eventv1.SubscriberActivated{ClassOfService: "roamer"}})
	use := func(id string, amount int64, of *eventv1.Correction) {
		w.Happen(now, &event.Event{ID: id, Type: "usage.charged", Tenant: "acme", Subject: "44", Time: now, Data: &eventv1.UsageCharged{
			Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: model.Money(amount*model.Unit, "EUR"), Corrects: of,
		}})
	}
	use("b", 45, nil)
	use("c", 10, nil)
	use("d", -10, &eventv1.Correction{Id: "c", Time: timestamppb.New(now)})
	return w.Take()
}

func TestEveryWayToBeWrongIsCounted(t *testing.T) {
	told := meant()
	if len(told) != 5 {
		t.Fatalf("the model says %v", told)
	}
	for _, tc := range []struct {
		name                      string
		change                    func(log []stream.Record) []stream.Record
		lost, doubled, outOfOrder int
	}{
		{"what the model says is right", func(l []stream.Record) []stream.Record { return l }, 0, 0, 0},
		{"a repeat with the same bytes is right", func(l []stream.Record) []stream.Record { return append(l, l[1], l[3]) }, 0, 0, 0},
		{"an outcome that nobody was told is lost", func(l []stream.Record) []stream.Record { return l[:4] }, 1, 0, 0},
		{"one that is missing in the middle is lost, and the next is not the one that was meant", func(l []stream.Record) []stream.Record { return slices.Delete(l, 1, 2) }, 1, 1, 0},
		{"one crossing under two ids is doubled", func(l []stream.Record) []stream.Record {
			again := told[2]
			again.Sequence, again.Previous = told[4].Sequence+1, told[4].Sequence
			return append(l, written(t, "other", again))
		}, 0, 1, 0},
		{"one id with two contents is doubled", func(l []stream.Record) []stream.Record { return append(l, written(t, "id-2", told[1])) }, 0, 1, 0},
		{"another amount is one thing lost and another told", func(l []stream.Record) []stream.Record {
			wrong := told[4]
			wrong.Spent++
			return append(l[:4], written(t, "id-4", wrong))
		}, 1, 1, 0},
		{"two that change places are out of order", func(l []stream.Record) []stream.Record {
			l[2], l[3] = l[3], l[2]
			return l
		}, 1, 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log []stream.Record
			for i, s := range told {
				log = append(log, written(t, fmt.Sprint("id-", i), s))
			}
			j := &judge{verdict: verdict{rejections: map[string]int{}}, table: model.Table{}, known: map[string]uint64{}, sequences: map[string]int64{}, meant: told}
			if err := j.hear(tc.change(log)); err != nil {
				t.Fatal(err)
			}
			j.compare()
			if j.lost != tc.lost || j.doubled != tc.doubled || j.outOfOrder != tc.outOfOrder {
				t.Errorf("lost %d, doubled %d, out of order %d; want %d, %d, %d: %q", j.lost, j.doubled, j.outOfOrder, tc.lost, tc.doubled, tc.outOfOrder, j.examples)
			}
		})
	}
}

// Each replica that comes to a partition appends the revision in force, with a stamp of its own; usage behind it may have
// been stamped before.
func TestARevisionThatStandsThereAgainSaysHowLateItIs(t *testing.T) {
	now := time.Date(2026, 3, 10, 9, 0, 0, 0, time.UTC)
	record := func(stamp time.Time, e *event.Event) stream.Record {
		e.Source, e.Tenant, e.Subject = "test", "acme", "447700900001"
		r, err := e.Record("events.ordered")
		if err != nil {
			t.Fatal(err)
		}
		r.Time = stamp
		return r
	}
	revision := func(stamp time.Time) stream.Record {
		return record(stamp, &event.Event{ID: stamp.String(), Type: event.TypeRevision, Data: &controlv1.Revision{Revision: 1}})
	}
	j := &judge{seen: map[string]struct{}{}, numbers: map[string]*model.World{}, histories: map[int64]uint64{}, snapshots: map[position]*configv1.Snapshot{{0, 1}: {
		ClassesOfService: []*configv1.ClassOfService{{
			Name: "tenants/acme/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{Limit: model.Money(50*model.Unit, "EUR")},
		}},
	}}}
	again := now.Add(2 * time.Millisecond)
	l := &lane{world: model.New(), pending: []stream.Record{revision(now), revision(again), record(now, &event.Event{
		ID: "a", Type: "subscriber.activated", Time: now, Data: &eventv1.SubscriberActivated{ClassOfService: "roamer"},
	})}}
	if n, err := j.fold(t.Context(), l); n != 3 || err != nil {
		t.Fatalf("%d folded, %v", n, err)
	}
	if said := l.world.Take(); len(said) != 1 || !said[0].At.Equal(again) {
		t.Errorf("said %v, want it at %s", said, again)
	}
}

func TestWhatBecameOfATransactionIsHeldAgainstTheLog(t *testing.T) {
	set := func(names ...string) map[string]struct{} {
		all := map[string]struct{}{}
		for _, name := range names {
			all[name] = struct{}{}
		}
		return all
	}
	f := &fates{committed: set("a", "b"), aborted: set("c"), unsure: [][]string{{"d", "e"}}}
	for _, tc := range []struct {
		name          string
		seen          map[string]struct{}
		lost, doubled int
	}{
		{"what was committed stands, and of what nobody knows nothing", set("a", "b"), 0, 0},
		{"of what nobody knows everything", set("a", "b", "d", "e"), 0, 0},
		{"of what nobody knows a part", set("a", "b", "d"), 1, 0},
		{"what was committed is missing", set("a"), 1, 0},
		{"what was aborted stands", set("a", "b", "c"), 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := &judge{seen: tc.seen}
			if f.stands(j); j.lost != tc.lost || j.doubled != tc.doubled {
				t.Errorf("lost %d, doubled %d; want %d, %d: %q", j.lost, j.doubled, tc.lost, tc.doubled, j.examples)
			}
		})
	}
}

func TestARevisionOfTwoHistoriesIsCounted(t *testing.T) {
	now := time.Date(2026, 3, 10, 9, 0, 0, 0, time.UTC)
	l := &lane{world: model.New()}
	for i, history := range []uint64{7, 7, 8} {
		r, err := (&event.Event{
			ID: fmt.Sprint(i), Source: "test", Tenant: "acme", Subject: "447700900001", Type: event.TypeRevision, Time: now,
			Data: &controlv1.Revision{History: history, Revision: 3},
		}).Record("events.ordered")
		if err != nil {
			t.Fatal(err)
		}
		l.pending = append(l.pending, r)
	}
	j := &judge{histories: map[int64]uint64{}, snapshots: map[position]*configv1.Snapshot{{7, 3}: {}}}
	if n, err := j.fold(t.Context(), l); n != 3 || err != nil || j.doubled != 1 {
		t.Errorf("%d folded, %v, doubled %d: %q", n, err, j.doubled, j.examples)
	}
}
