package foldtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

var noon = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

func partition(t testing.TB) *foldtest.Partition[count, int64] { return newPartition(t, counting(0)) }

func newPartition(t testing.TB, l foldtest.Simulation[count, int64]) *foldtest.Partition[count, int64] {
	d := foldtest.NewPartition(t, noon, l.NewFold, l.Options, func(revision int64) int64 { return 100 * revision })
	d.Work() // the first revision stands in the log before any event
	return d
}

func usage(id, subject string, amount int64, at time.Time) *event.Event {
	return &event.Event{ID: id, Source: "test", Type: "usage.charged", Tenant: "acme", Subject: subject, Time: at,
		Data: &eventv1.UsageCharged{Net: &money.Money{CurrencyCode: "EUR", Units: amount}}}
}

// published lists the types and limits of what was published, rejections by reason.
func published(t *testing.T, records []stream.Record) string {
	t.Helper()
	var out []string
	for _, r := range records {
		if reason, ok := r.Header(event.HeaderReason); ok {
			out = append(out, string(reason))
			continue
		}
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := e.Data.(*eventv1.Safeguard)
		out = append(out, fmt.Sprintf("%s at %s limit %d", strings.TrimPrefix(e.Type, "safeguard."), e.Time.Format("15:04:05"), s.GetLimit().GetUnits()))
	}
	return strings.Join(out, ", ")
}

// What is due within the minute is published before the published offset passes it: a rebuild would publish nothing of it.
func TestPublishedOffset_WaitsForTimersWithinTheMinute(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 150, d.Now))
	d.Now = noon.Add(95 * time.Second)
	d.Accept(usage("2", "45", 1, d.Now))
	fails := true
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		publisher := c.Publisher
		c.Publisher = publishes(func(ctx context.Context, records ...stream.Record) error {
			if _, ok := records[0].Header("ce_type"); fails && ok && strings.Contains(published(t, records), "12:01:35") {
				return errors.New("no broker")
			}
			return publisher.Produce(ctx, records...)
		})
	}
	if err := d.Run(); err == nil {
		t.Fatal("it published what it could not publish")
	}
	fails = false
	d.Restore(nil)
	d.Work()
	if got, want := published(t, d.Published()), "reached at 12:00:00 limit 100, alert at 12:01:35 limit 100"; !strings.HasSuffix(got, want) {
		t.Errorf("published %s", got)
	}
}

type publishes func(ctx context.Context, records ...stream.Record) error

func (p publishes) Produce(ctx context.Context, records ...stream.Record) error {
	return p(ctx, records...)
}

func TestRebuild_PublishesNothingBelowThePublishedOffset(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 150, d.Now), usage("2", "45", 150, d.Now), usage("3", "44", 13, d.Now))
	d.Work()
	before := len(d.Published())
	if before != 3 {
		t.Fatalf("published %s", published(t, d.Published()))
	}
	d.Restore(nil)
	d.Accept(usage("4", "46", 150, d.Now))
	d.Work()
	if got, want := published(t, d.Published()[before:]), "reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("after the loss published %s; want %s", got, want)
	}
	for _, key := range []string{"acme/44", "acme/45", "acme/46"} {
		if n, _ := d.Body(key); n.spent != 150 {
			t.Errorf("%s: spent %d after the rebuild", key, n.spent)
		}
	}
	if w := d.Watermark(); w.Status != state.Ready {
		t.Errorf("partition is %s", w.Status)
	}
}

func TestRebuild_ReadyWithoutNewRecords(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 150, d.Now))
	d.Work()
	d.Restore(nil)
	d.Work()
	if w := d.Watermark(); w.Status != state.Ready {
		t.Errorf("partition is %s at offset %d, published offset %d", w.Status, w.Offset, w.PublishedOffset)
	}
}

func TestOwner_IdleNoticesRewoundStoreWithinASecond(t *testing.T) {
	d := partition(t)
	dump := d.Dump()
	d.Accept(usage("1", "44", 60, d.Now))
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		passed := time.Duration(0)
		c.Clock = func() time.Time {
			if passed > 0 || d.Watermark().Offset > 1 {
				passed += 200 * time.Millisecond
			}
			if passed == time.Second {
				d.Restore(dump)
			}
			return d.Now.Add(passed)
		}
	}
	if err := d.Run(); !errors.Is(err, state.ErrFenced) {
		t.Fatalf("run: %v", err)
	}
	d.Limits = nil
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 60 {
		t.Fatalf("spent %d", n.spent)
	}
}

func TestReject_UndecodableBytesDoNotStopThePartition(t *testing.T) {
	d := partition(t)
	if err := d.Log().Append(stream.Record{Key: []byte("acme/44"), Value: []byte("\xff\xff"), Time: d.Now}); err != nil {
		t.Fatal(err)
	}
	d.Accept(usage("1", "44", 150, d.Now))
	d.Work()
	if got, want := published(t, d.Published()), "UNDECODABLE, reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("published %s; want %s", got, want)
	}
	if value := d.Published()[0].Value; string(value) != "\xff\xff" {
		t.Fatalf("rejected %q", value)
	}
}

func TestPanic_RejectsOnlyItsEvent(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 50, d.Now), usage("2", "44", amountPanics, d.Now), usage("3", "44", 20, d.Now))
	d.Work()
	if got, want := published(t, d.Published()), "PANIC"; got != want {
		t.Fatalf("published %s; want %s", got, want)
	}
	if n, _ := d.Body("acme/44"); n.spent != 70 || n.events != 2 {
		t.Fatalf("%+v; want the two others counted", n)
	}
	if d.Incidents[fold.IncidentPanic] == nil {
		t.Fatal("no incident")
	}
}

func TestDelete_SubjectBeginsAnewInAnyBatch(t *testing.T) {
	var want string
	for _, batch := range []int{1, 500} {
		d := partition(t)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch = batch }
		for i := range 40 {
			d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
		}
		d.Accept(usage("a", "44", 80, d.Now), usage("b", "44", amountDeletes, d.Now), usage("c", "44", 120, d.Now))
		d.Work()
		var got []string
		for _, r := range d.Published() {
			got = append(got, fmt.Sprintf("%x", r.Value))
		}
		if want == "" {
			want = strings.Join(got, " ")
		}
		if len(got) != 2 || strings.Join(got, " ") != want {
			t.Errorf("batches of %d: published %s; want %s", batch, strings.Join(got, " "), want)
		}
		if keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "s:", "", 10); err != nil || len(keys) > 0 {
			t.Errorf("batches of %d: segments %v are left, %v", batch, keys, err)
		}
	}
}

func TestRevision_FailedAppendDelaysNothing(t *testing.T) {
	d := partition(t)
	d.Newest = 2
	d.Accept(usage("1", "44", 150, d.Now))
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Log = deaf{c.Log} }
	d.Work()
	if got, want := published(t, d.Published()), "reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("published %q; want %s", got, want)
	}
}

// deaf takes no control records.
type deaf struct{ fold.Log }

func (deaf) Append(context.Context, *event.Event) error { return stream.ErrTimestampAhead }

// watched looks at incidents as they are raised.
type watched struct {
	fold.Log
	raised func(code string, err error)
}

func (w watched) Incident(code string, offset int64, err error) {
	w.raised(code, err)
	w.Log.Incident(code, offset, err)
}
