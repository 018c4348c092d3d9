package statetest_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func charge(id, subject string, amount int64) *event.Event {
	return &event.Event{ID: id, Source: "shop", Type: "command.charge", Tenant: "acme", Subject: subject,
		Data: &eventv1.CommandCharge{Amount: &money.Money{CurrencyCode: "EUR", Units: amount}}}
}

func want(t *testing.T, got statetest.Called, spent int64, repeated bool) {
	t.Helper()
	if got.Err != nil || got.Value != spent || got.Repeated != repeated {
		t.Fatalf("answered %v, repeated %v, %v; want %d, repeated %v", got.Value, got.Repeated, got.Err, spent, repeated)
	}
}

func TestACallIsCountedOnceAndAnsweredAgain(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 10, d.Now))
	first := d.Call(charge("c1", "44", 5))[0]
	want(t, first, 15, false)
	if first.Sequence == 0 || !first.Time.Equal(d.Now) || first.Revision != 1 {
		t.Errorf("answer %+v", first)
	}
	d.Now = d.Now.Add(time.Hour)
	d.Accept(usage("2", "44", 3, d.Now))
	for _, again := range d.Call(charge("c1", "44", 5), charge("c1", "44", 5)) {
		want(t, again, 18, true)
	}
	if n, _ := d.Body("acme/44"); n.spent != 18 || n.events != 3 {
		t.Fatalf("%+v", n)
	}
}

func TestAnotherCallUnderTheSameIDIsRefusedByTheEngine(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 10, d.Now))
	want(t, d.Call(charge("c1", "44", 5))[0], 15, false)
	got := d.Call(charge("c1", "44", 6))[0]
	if fault.KindOf(got.Err) != fault.AlreadyExists || fault.ReasonOf(got.Err) != "ID_REUSED" {
		t.Fatalf("answered %+v", got)
	}
	if told := told(t, d.Told()); told != "alert at 12:00:00 limit 100" {
		t.Fatalf("told %s", told)
	}
}

func TestARefusedCallIsJudgedAnewAndLeavesNothing(t *testing.T) {
	d := drive(t)
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
	if told := told(t, d.Told()); told != "reached at 12:00:00 limit 100" || d.Watermark().Offset != before.Offset+1 {
		t.Fatalf("told %s, offset %d after %d", told, d.Watermark().Offset, before.Offset)
	}
	d.Newest = 2 // the limit is twice as high now
	d.Work()
	want(t, d.Call(charge("c1", "44", 5))[0], 202, false)
}

func TestUsagePushesNoCallOutOfItsList(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 1, d.Now))
	want(t, d.Call(charge("c1", "44", 5))[0], 6, false)
	for i := range 3000 {
		d.Accept(usage(fmt.Sprint("u", i), "44", 0, d.Now))
	}
	want(t, d.Call(charge("c1", "44", 5))[0], 6, true)
}

func TestACallThatPanicsIsPANICToItsCallerToo(t *testing.T) {
	d := drive(t)
	d.Newest = 9
	d.Accept(usage("1", "44", 1, d.Now))
	got := d.Call(charge("c1", "44", amountPanics), charge("c2", "44", 5))
	if fault.ReasonOf(got[0].Err) != "PANIC" {
		t.Fatalf("answered %+v", got[0])
	}
	want(t, got[1], 6, false)
	if told := told(t, d.Told()); told != "PANIC, alert at 12:00:00 limit 900" {
		t.Fatalf("told %s", told)
	}
}
