package foldtest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fold"
)

func TestRevision_TimersDueBeforeItUseTheOneBefore(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 150, d.Now)) // reached; the reminder is due in 95 s
	d.Work()
	d.Now = noon.Add(100 * time.Second)
	d.Newest = 2
	d.Work()
	if got, want := published(t, d.Published()), "reached at 12:00:00 limit 100, alert at 12:01:35 limit 100"; got != want {
		t.Fatalf("published %s; want %s", got, want)
	}
}

func TestTimer_LateFiresWithItsDueTime(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 150, d.Now))
	d.Work()
	d.Now = noon.Add(3 * time.Hour) // the owner was away; its clock brings the tick
	d.Work()
	if got, want := published(t, d.Published()), "reached at 12:00:00 limit 100, alert at 12:01:35 limit 100"; got != want {
		t.Fatalf("published %s; want %s", got, want)
	}
	if n, _ := d.Body("acme/44"); n.spent != 150 {
		t.Fatalf("spent %d", n.spent)
	}
	d.Now = noon.Add(6 * time.Hour)
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 0 {
		t.Fatalf("not renewed: spent %d", n.spent)
	}
}

// Timers within a minute once fired at its end, or never in a quiet partition.
func TestTimer_WithinMinuteFiresAtLogTime(t *testing.T) {
	const fired = "reached at 12:00:00 limit 100, alert at 12:01:35 limit 100"
	t.Run("by a tick, in a quiet partition", func(t *testing.T) {
		d := partition(t)
		d.Accept(usage("1", "44", 150, d.Now)) // the reminder is due in 95 s
		d.Work()
		d.Now = noon.Add(95*time.Second - time.Millisecond)
		d.Work()
		if got := published(t, d.Published()); got != "reached at 12:00:00 limit 100" {
			t.Fatalf("a millisecond before published %s", got)
		}
		d.Now = noon.Add(95 * time.Second)
		before := d.Watermark().Offset
		d.Work()
		if got := published(t, d.Published()); got != fired || d.Watermark().Offset != before+1 {
			t.Fatalf("published %s with %d ticks", got, d.Watermark().Offset-before)
		}
		d.Now = d.Now.Add(time.Second)
		d.Work()
		if d.Watermark().Offset != before+1 {
			t.Error("a tick for nothing")
		}
	})
	t.Run("by what others do, without a tick", func(t *testing.T) {
		d := partition(t)
		d.Accept(usage("1", "44", 150, d.Now))
		d.Now = noon.Add(95 * time.Second)
		d.Accept(usage("2", "45", 1, d.Now))
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Clock = func() time.Time { return noon } }
		d.Work()
		if got := published(t, d.Published()); got != fired {
			t.Fatalf("published %s", got)
		}
	})
	t.Run("many, some at a time, and listed again under the next", func(t *testing.T) {
		d := partition(t)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.DueStep = 7 }
		for i := range 50 {
			d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%d", i), 150, d.Now))
		}
		d.Work()
		d.Now = noon.Add(95 * time.Second)
		d.Work()
		if n := len(d.Published()); n != 100 {
			t.Errorf("published %d", n)
		}
		d.Now = noon.Truncate(6 * time.Hour).Add(6 * time.Hour)
		d.Work()
		for i := range 50 {
			if n, _ := d.Body(fmt.Sprintf("acme/44%d", i)); n.spent != 0 {
				t.Fatalf("%d is not renewed: spent %d", i, n.spent)
			}
		}
	})
}

func TestTimer_ManyDueAreWorkedInSteps(t *testing.T) {
	d := partition(t)
	const n = 1300
	for i := range n {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%05d", i), 1, d.Now))
	}
	d.Work()
	d.Now = noon.Add(6*time.Hour + time.Second)
	d.Work()
	if got := len(d.Published()); got != n {
		t.Fatalf("%d renewals; want %d", got, n)
	}
	lists, _, err := d.Store().Scan(t.Context(), d.Partition(), "d:", "", 10)
	if err != nil || len(lists) != 1 {
		t.Fatalf("due lists %v, %v; want the next period's alone", lists, err)
	}
}

func TestTimer_PanicDropsOnlyItself(t *testing.T) {
	for _, batch := range []int{1, 500} {
		d := partition(t)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch = batch }
		d.Accept(usage("1", unlucky, 1, d.Now))
		d.Now = noon.Add(13 * time.Hour) // two renewals; the second panics
		d.Accept(usage("2", unlucky, 1, d.Now))
		d.Work()
		if got, want := published(t, d.Published()), "renewed at 18:00:00 limit 100, PANIC"; got != want {
			t.Errorf("batches of %d: published %s; want %s", batch, got, want)
		}
	}
}
