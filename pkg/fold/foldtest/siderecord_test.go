package foldtest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
)

func TestIDs_KnownForADayThenTheirSegmentsAreDeleted(t *testing.T) {
	d := partition(t)
	for i := range 200 {
		d.Accept(usage(fmt.Sprint(i), "44", 0, d.Now))
		d.Now = d.Now.Add(time.Second)
	}
	d.Work()
	segments := func() int {
		keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "s:", "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	if segments() == 0 {
		t.Fatal("200 ids, and none are in a segment")
	}
	d.Now = noon.Add(23 * time.Hour)
	for i := range 200 {
		d.Accept(usage(fmt.Sprint(i), "44", 0, noon.Add(time.Duration(i)*time.Second)))
	}
	d.Work()
	if n, _ := d.Body("acme/44"); n.events != 200 {
		t.Fatalf("counted %d events; want 200, and the repeats known", n.events)
	}
	d.Now = noon.Add(60 * time.Hour)
	d.Work()
	if n := segments(); n != 0 {
		t.Fatalf("%d segments are left after the window", n)
	}
}

func TestSideRecord_DeletedWithItsRecord(t *testing.T) {
	for _, batch := range []int{1, 500} {
		d := partition(t)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch, c.Cache = batch, 1 }
		sideRecord := func() string {
			_, values, err := d.Store().Peek(t.Context(), d.Partition(), []string{"a:acme/44"})
			if err != nil {
				t.Fatal(err)
			}
			return string(values[0])
		}
		steps := []struct {
			event *event.Event
			want  string
		}{
			{usage("none", "44", amountBlanks, d.Now), ""},
			{usage("first", "44", amountNotes, d.Now), "first"},
			{usage("other", "44", 1, d.Now), "first"},
			{usage("second", "44", amountNotes, d.Now), "second"},
			{usage("blank", "44", amountBlanks, d.Now), ""},
			{usage("third", "44", amountNotes, d.Now), "third"},
			{usage("delete", "44", amountDeletes, d.Now), ""},
			{usage("anew", "44", 1, d.Now), ""},
			{usage("fourth", "44", amountNotes, d.Now), "fourth"},
		}
		for _, step := range steps {
			d.Accept(step.event)
			d.Work()
			if got := sideRecord(); got != step.want {
				t.Fatalf("batches of %d: after %s the side record is %q; want %q", batch, step.event.ID, got, step.want)
			}
		}
		for i := range steps { // all of it once more, in as few steps as may be
			again := *steps[i].event
			again.ID += "-again"
			d.Accept(&again)
		}
		d.Work()
		if got := sideRecord(); got != "fourth-again" {
			t.Fatalf("batches of %d: the side record is %q", batch, got)
		}
		keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "a:", "", 10)
		if err != nil || len(keys) != 1 {
			t.Fatalf("batches of %d: side records %v, %v", batch, keys, err)
		}
	}
}

func TestSideRecord_CountsInTheBoundsOfACommit(t *testing.T) {
	d := partition(t)
	const n = 1100 // their records and side records are more than one commit takes
	for i := range n {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%05d", i), amountNotes, d.Now))
	}
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch = 1500 }
	d.Work()
	keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "a:", "", 2*n)
	if err != nil || len(keys) != n {
		t.Fatalf("%d side records; want %d, %v", len(keys), n, err)
	}
}

func TestIDs_MostEventsReadNoSegment(t *testing.T) {
	d := partition(t)
	read := &readSegments{}
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		read.Store, c.Store = c.Store, read
		c.Cache = 1
	}
	for i := range 900 {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%d", i%10), 0, d.Now))
		if i%10 == 9 {
			d.Work()
		}
	}
	if read.segments > 90 { // without filters, two thirds of the events read one or two
		t.Errorf("%d segments were read for 900 events", read.segments)
	}
	before := read.segments
	d.Accept(usage("5", "445", 0, d.Now.Add(-time.Hour)), usage("6", "446", 0, noon)) // another under its id, and a repeat
	d.Work()
	if n, _ := d.Body("acme/446"); read.segments == before || n.events != 90 {
		t.Errorf("%d segments were read for ids in segments; %d events", read.segments-before, n.events)
	}
}

// readSegments counts segments that are read.
type readSegments struct {
	state.Store
	segments int
}

func (r *readSegments) Load(ctx context.Context, p state.Partition, w state.Watermark, keys []string) ([][]byte, error) {
	for _, k := range keys {
		if strings.HasPrefix(k, "s:") {
			r.segments++
		}
	}
	return r.Store.Load(ctx, p, w, keys)
}
