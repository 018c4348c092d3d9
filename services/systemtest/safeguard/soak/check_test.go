package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// written is one outcome of a topic, written as the service writes it.
func written(t *testing.T, id string, s model.Outcome) stream.Record {
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

// expectedOutcomes are the model's of a subscriber that reaches its limit and gets a refund: activated, alert, reached,
// overshoot, released.
func expectedOutcomes() []model.Outcome {
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

func TestCheck_CountsEveryKindOfError(t *testing.T) {
	want := expectedOutcomes()
	if len(want) != 5 {
		t.Fatalf("the model has %v", want)
	}
	for _, tc := range []struct {
		name                      string
		change                    func(log []stream.Record) []stream.Record
		lost, doubled, outOfOrder int
	}{
		{"what the model expects is right", func(l []stream.Record) []stream.Record { return l }, 0, 0, 0},
		{"a repeat with the same bytes is right", func(l []stream.Record) []stream.Record { return append(l, l[1], l[3]) }, 0, 0, 0},
		{"an outcome that was not published is lost", func(l []stream.Record) []stream.Record { return l[:4] }, 1, 0, 0},
		{"one that is missing in the middle is lost, and the next is not the one that was expected", func(l []stream.Record) []stream.Record { return slices.Delete(l, 1, 2) }, 1, 1, 0},
		{"one crossing under two ids is doubled", func(l []stream.Record) []stream.Record {
			again := want[2]
			again.Sequence, again.Previous = want[4].Sequence+1, want[4].Sequence
			return append(l, written(t, "other", again))
		}, 0, 1, 0},
		{"one id with two contents is doubled", func(l []stream.Record) []stream.Record { return append(l, written(t, "id-2", want[1])) }, 0, 1, 0},
		{"another amount is one outcome lost and another doubled", func(l []stream.Record) []stream.Record {
			wrong := want[4]
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
			for i, s := range want {
				log = append(log, written(t, fmt.Sprint("id-", i), s))
			}
			ck := &checker{tally: tally{rejections: map[string]int{}}, table: model.Table{}, known: map[string]uint64{}, sequences: map[string]int64{}, expected: want}
			if err := ck.collect(tc.change(log)); err != nil {
				t.Fatal(err)
			}
			ck.compare()
			if ck.lost != tc.lost || ck.doubled != tc.doubled || ck.outOfOrder != tc.outOfOrder {
				t.Errorf("lost %d, doubled %d, out of order %d; want %d, %d, %d: %q", ck.lost, ck.doubled, ck.outOfOrder, tc.lost, tc.doubled, tc.outOfOrder, ck.examples)
			}
		})
	}
}

// Each replica that comes to a partition appends the revision in force, with a stamp of its own; usage behind it may have
// been stamped before.
func TestCheck_MeasuresHowLateARepeatedRevisionIs(t *testing.T) {
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
	ck := &checker{seen: map[string]struct{}{}, numbers: map[string]*model.Partition{}, histories: map[int64]uint64{}, snapshots: map[position]*configv1.Snapshot{{0, 1}: {
		ClassesOfService: []*configv1.ClassOfService{{
			Name: "tenants/acme/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{Limit: model.Money(50*model.Unit, "EUR")},
		}},
	}}}
	again := now.Add(2 * time.Millisecond)
	l := &logPartition{model: model.New(), pending: []stream.Record{revision(now), revision(again), record(now, &event.Event{
		ID: "a", Type: "subscriber.activated", Time: now, Data: &eventv1.SubscriberActivated{ClassOfService: "roamer"},
	})}}
	if n, err := ck.fold(t.Context(), l); n != 3 || err != nil {
		t.Fatalf("%d folded, %v", n, err)
	}
	if outcomes := l.model.Take(); len(outcomes) != 1 || !outcomes[0].At.Equal(again) {
		t.Errorf("outcomes %v, want one at %s", outcomes, again)
	}
}

func TestCheck_ComparesTransactionsWithTheLog(t *testing.T) {
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
		{"what was committed is in the log, and of what is unsure nothing", set("a", "b"), 0, 0},
		{"of what is unsure everything", set("a", "b", "d", "e"), 0, 0},
		{"of what is unsure a part", set("a", "b", "d"), 1, 0},
		{"what was committed is missing", set("a"), 1, 0},
		{"what was aborted is in the log", set("a", "b", "c"), 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ck := &checker{seen: tc.seen}
			if f.check(ck); ck.lost != tc.lost || ck.doubled != tc.doubled {
				t.Errorf("lost %d, doubled %d; want %d, %d: %q", ck.lost, ck.doubled, tc.lost, tc.doubled, ck.examples)
			}
		})
	}
}

func TestCheck_CountsARevisionOfTwoHistories(t *testing.T) {
	now := time.Date(2026, 3, 10, 9, 0, 0, 0, time.UTC)
	l := &logPartition{model: model.New()}
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
	ck := &checker{histories: map[int64]uint64{}, snapshots: map[position]*configv1.Snapshot{{7, 3}: {}}}
	if n, err := ck.fold(t.Context(), l); n != 3 || err != nil || ck.doubled != 1 {
		t.Errorf("%d folded, %v, doubled %d: %q", n, err, ck.doubled, ck.examples)
	}
}
