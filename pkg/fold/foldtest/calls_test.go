package foldtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

func charge(id, subject string, amount int64) *event.Event {
	return &event.Event{ID: id, Source: "shop", Type: "command.charge", Tenant: "acme", Subject: subject,
		Data: &controlv1.ChargeCommand{Amount: &money.Money{CurrencyCode: "EUR", Units: amount}}}
}

func want(t *testing.T, got foldtest.Called, spent int64, repeated bool) {
	t.Helper()
	if got.Err != nil || got.Value != spent || got.Repeated != repeated {
		t.Fatalf("answered %v, repeated %v, %v; want %d, repeated %v", got.Value, got.Repeated, got.Err, spent, repeated)
	}
}

func TestCall_RepeatedIsCountedOnceAndAnsweredAgain(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 10, d.Now))
	first := d.Call(charge("c1", "44", 5))[0]
	want(t, first, 15, false)
	if first.Sequence == 0 || !first.Time.Equal(d.Now) || first.Revision != 1 {
		t.Errorf("answer %+v", first)
	}
	d.Now = d.Now.Add(time.Hour)
	d.Accept(usage("2", "44", 3, d.Now))
	for _, again := range d.Call(charge("c1", "44", 5), charge("c1", "44", 5)) {
		want(t, again, 15, true) // what it was answered, not what it would be by now
	}
	if n, _ := d.Body("acme/44"); n.spent != 18 || n.events != 3 {
		t.Fatalf("%+v", n)
	}
}

func TestCall_OtherContentUnderSameReferenceIsRefused(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 10, d.Now))
	want(t, d.Call(charge("c1", "44", 5))[0], 15, false)
	got := d.Call(charge("c1", "44", 6))[0]
	if fault.KindOf(got.Err) != fault.AlreadyExists || fault.ReasonOf(got.Err) != "ID_REUSED" {
		t.Fatalf("answered %+v", got)
	}
	if got := published(t, d.Published()); got != "alert at 12:00:00 limit 100" {
		t.Fatalf("published %s", got)
	}
}

func TestCall_RefusedIsDecidedAgainAndNotRemembered(t *testing.T) {
	d := partition(t)
	if got := d.Call(charge("c1", "44", 5))[0]; !errors.Is(got.Err, errNoSubject) {
		t.Fatalf("answered %+v", got)
	}
	if _, ok := d.Body("acme/44"); ok {
		t.Fatal("a refused call made a record")
	}
	d.Accept(usage("1", "44", 197, d.Now))
	d.Work()
	before := d.Watermark()
	if got := d.Call(charge("c1", "44", 5))[0]; !errors.Is(got.Err, errLimit) {
		t.Fatalf("answered %+v", got)
	}
	if got := published(t, d.Published()); got != "reached at 12:00:00 limit 100" || d.Watermark().Offset != before.Offset+1 {
		t.Fatalf("published %s, offset %d after %d", got, d.Watermark().Offset, before.Offset)
	}
	d.Newest = 2 // the limit is twice as high now
	d.Work()
	want(t, d.Call(charge("c1", "44", 5))[0], 202, false)
}

func TestCall_UsageEvictsNoAcceptedCall(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 1, d.Now))
	want(t, d.Call(charge("c1", "44", 5))[0], 6, false)
	for i := range 3000 {
		d.Accept(usage(fmt.Sprint("u", i), "44", 0, d.Now))
	}
	want(t, d.Call(charge("c1", "44", 5))[0], 6, true)
}

func TestCall_PanicIsAnsweredPANIC(t *testing.T) {
	d := partition(t)
	d.Newest = 9
	d.Accept(usage("1", "44", 1, d.Now))
	got := d.Call(charge("c1", "44", amountPanics), charge("c2", "44", 5))
	if fault.ReasonOf(got[0].Err) != "PANIC" {
		t.Fatalf("answered %+v", got[0])
	}
	want(t, got[1], 6, false)
	if got := published(t, d.Published()); got != "PANIC, alert at 12:00:00 limit 900" {
		t.Fatalf("published %s", got)
	}
}

func TestCall_AfterADayIsNew(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 1, d.Now))
	want(t, d.Call(charge("c1", "44", 5))[0], 6, false)
	d.Now = d.Now.Add(24*time.Hour - time.Millisecond)
	want(t, d.Call(charge("c1", "44", 5))[0], 6, true) // renewed meanwhile
	d.Now = d.Now.Add(time.Millisecond)
	want(t, d.Call(charge("c1", "44", 5))[0], 5, false)
}

func TestCall_TooManyWaitingAreThrottled(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.CallsWaiting = 2 }
	d.Accept(usage("1", "44", 1, d.Now))
	got := d.Call(charge("c1", "44", 5), charge("c2", "44", 5), charge("c3", "44", 5))
	want(t, got[1], 11, false)
	if fault.KindOf(got[2].Err) != fault.Throttled {
		t.Fatalf("answered %+v", got[2])
	}
	if n, _ := d.Body("acme/44"); n.spent != 11 {
		t.Fatalf("%+v", n)
	}
}

func TestCall_UnacknowledgedAppendIsAnsweredOnceApplied(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Appender = changed{c.Appender, 1, stream.ErrUnknown} }
	d.Accept(usage("1", "44", 1, d.Now))
	want(t, d.Call(charge("c1", "44", 5))[0], 6, false)
}

func TestCall_RefusedByBrokerIsNotAppended(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.Appender = changed{c.Appender, 0, stream.ErrTimestampAhead}
	}
	if got := d.Call(charge("c1", "44", 5))[0]; !errors.Is(got.Err, fold.ErrUnknown) {
		t.Fatalf("answered %+v", got)
	}
}

func TestCall_CopyOfRefusedIsNotCounted(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Appender = changed{c.Appender, 1, nil} }
	d.Accept(usage("1", "44", 197, d.Now))
	if got := d.Call(charge("c1", "44", 5))[0]; !errors.Is(got.Err, errLimit) {
		t.Fatalf("answered %+v", got)
	}
	_, end := d.Log().Range()
	records, err := d.Log().Read(end-1, 1)
	if err != nil {
		t.Fatal(err)
	}
	d.Newest = 2 // there would be room now
	d.Work()
	if err := d.Log().Append(records...); err != nil {
		t.Fatal(err)
	}
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 197 {
		t.Fatalf("%+v: counted after it was refused", n)
	}
	want(t, d.Call(charge("c1", "44", 5))[0], 202, false) // asked again, it is another matter
}

// changed produces so many copies, and returns the error that is wanted.
type changed struct {
	fold.Appender
	copies int
	err    error
}

func (c changed) AppendCalls(ctx context.Context, records ...stream.Record) []stream.ProduceResult {
	results := make([]stream.ProduceResult, len(records))
	for range c.copies {
		results = c.Appender.AppendCalls(ctx, records...)
	}
	for i := range results {
		results[i].Err = c.err
	}
	return results
}

func TestCall_WithoutAnswerInTimeIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := partition(t)
		d.CallTimeout = time.Second
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Appender = away{} }
		began := time.Now()
		got := d.Call(charge("c1", "44", 5))[0]
		if fault.ReasonOf(got.Err) != "OUTCOME_UNKNOWN" || errors.Is(got.Err, fold.ErrMoved) || time.Since(began) != time.Second {
			t.Fatalf("answered %+v after %v", got, time.Since(began))
		}
		d.CallTimeout = 19 * time.Millisecond
		if got := d.Call(charge("c1", "44", 5))[0]; !errors.Is(got.Err, fold.ErrLate) {
			t.Fatalf("answered %+v", got)
		}
	})
}

// away is Kafka while it does not answer.
type away struct{}

func (away) AppendCalls(ctx context.Context, records ...stream.Record) []stream.ProduceResult {
	<-ctx.Done()
	results := make([]stream.ProduceResult, len(records))
	for i := range results {
		results[i].Err = stream.ErrUnknown
	}
	return results
}

func TestCall_MisuseByFoldIsAnsweredPANIC(t *testing.T) {
	for name, bad := range map[string]func(*fold.Subject[count]){
		"answers nothing":           func(*fold.Subject[count]) {},
		"answers twice":             func(s *fold.Subject[count]) { s.Accept(1, nil); s.Accept(2, nil) },
		"refuses after a change":    func(s *fold.Subject[count]) { s.Save(count{spent: 1}); s.Refuse(errLimit) },
		"refuses and rejects":       func(s *fold.Subject[count]) { s.Reject("X", "y"); s.Refuse(errLimit) },
		"changes after it refused":  func(s *fold.Subject[count]) { s.Refuse(errLimit); s.Save(count{spent: 1}) },
		"accepts without a record":  func(s *fold.Subject[count]) { s.Delete(); s.Accept(1, nil) },
		"refuses without a reason":  func(s *fold.Subject[count]) { s.Refuse(nil) },
		"changes when it is again":  func(s *fold.Subject[count]) { s.Save(count{spent: 1}); s.Accept(1, nil) },
		"refuses what was accepted": func(s *fold.Subject[count]) { s.Refuse(errLimit) },
	} {
		d := foldtest.NewPartition(t, noon, func() fold.Fold[count, int64] { return &wordless{then: bad} }, counts, func(int64) int64 { return 100 })
		d.Accept(usage("1", "44", 1, d.Now))
		calls := []*event.Event{charge("c1", "44", 1)}
		switch name {
		case "changes when it is again", "refuses what was accepted":
			d.Accept(charge("c1", "44", 1)) // added by hand: no caller waits for it
		}
		if got := d.Call(calls...)[0]; fault.ReasonOf(got.Err) != "PANIC" {
			t.Errorf("a fold that %s: answered %+v", name, got)
		}
		if n, _ := d.Body("acme/44"); n.spent != 100 {
			t.Errorf("a fold that %s: %+v", name, n)
		}
	}
}

// wordless accepts what comes first, and does what it should not then.
type wordless struct {
	counter
	then func(*fold.Subject[count])
}

func (w *wordless) Apply(s *fold.Subject[count], e *event.Event) {
	switch {
	case !event.IsCommand(e.Type):
		s.Save(count{spent: 100})
	case s.Offset == 1:
		s.Accept(nil, nil)
	default:
		w.then(s)
	}
}

func TestCall_RepeatedAfterMoveIsKnown(t *testing.T) {
	d := roamerPartition(t)
	d.Accept(usage("1", "441", 1, d.Now))
	if got := d.Call(charge("c1", "441", 5))[0]; got.Err != nil || got.Value != int64(6) {
		t.Fatalf("answered %+v", got)
	}
	d.Accept(moves("move", "441", "442", d.Now))
	d.Work()
	if got := d.Call(charge("c1", "442", 5))[0]; got.Err != nil || !got.Repeated {
		t.Fatalf("under the new number answered %+v", got)
	}
	if got := d.Call(charge("c1", "442", 6))[0]; fault.ReasonOf(got.Err) != "ID_REUSED" {
		t.Fatalf("another one under the new number answered %+v", got)
	}
}
