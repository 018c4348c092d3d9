package foldtest_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// publisherFold publishes for each event as much as that asks for: so many units of outcomes, each of quantity bytes. It keeps no
// record.
type publisherFold struct{ counter }

func (*publisherFold) Select(*event.Event) fold.Selection { return fold.Selection{} }

func (*publisherFold) Apply(s *fold.Subject[count], e *event.Event) {
	u, _ := e.Data.(*eventv1.UsageCharged)
	for i := range u.GetNet().GetUnits() {
		s.Emit(stream.Record{Topic: "outcomes", Key: []byte(e.ID + "." + strconv.FormatInt(i, 10)), Value: make([]byte, u.GetQuantity())})
	}
}

func (*publisherFold) Fire(*fold.Subject[count], string, time.Time) {}

func publishingPartition(t *testing.T) (d *foldtest.Partition[count, int64], batches *[]int, alive *int) {
	d = foldtest.NewPartition(t, noon, func() fold.Fold[count, int64] { return &publisherFold{} }, fold.Options[int64]{}, func(int64) int64 { return 0 })
	d.Work()
	batches, alive = new([]int), new(int)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.Published = func(outcomes []stream.Record) { *batches = append(*batches, len(outcomes)) }
		c.Alive = func() { *alive++ }
	}
	return d, batches, alive
}

func usageWith(id string, outcomes, bytes int64) *event.Event {
	e := usage(id, "44", outcomes, noon)
	e.Data.(*eventv1.UsageCharged).Quantity = bytes
	return e
}

// What follows from a batch is held in memory and published in one go, so that it has an end however much each event
// leads to; and the watchdog is called during a long one.
func TestBatch_EndsAfterFiveThousandOutcomes(t *testing.T) {
	for name, each := range map[string][2]int64{"by number": {1000, 1}, "by bytes": {2, 1 << 20}} {
		t.Run(name, func(t *testing.T) {
			d, batches, alive := publishingPartition(t)
			const events = 40
			for i := range events {
				d.Accept(usageWith(strconv.Itoa(i), each[0], each[1]))
			}
			d.Work()
			sum := 0
			for _, n := range *batches {
				sum += n
				if n > 5000 || int64(n)*each[1] > 10<<20 {
					t.Errorf("a batch has %d outcomes of %d bytes", n, each[1])
				}
			}
			if sum != events*int(each[0]) {
				t.Errorf("%d outcomes of %d", sum, events*each[0])
			}
			if *alive == 0 {
				t.Error("the watchdog was not called")
			}
			if w := d.Watermark(); w.Offset != events+1 {
				t.Errorf("stands at %d", w.Offset)
			}
		})
	}
}

// A record that its topic refuses would be published again for ever.
func TestEmit_OversizedRejectsItsEvent(t *testing.T) {
	d, _, _ := publishingPartition(t)
	d.Accept(usageWith("1", 1, 10), usageWith("2", 1, 3<<20), usageWith("3", 1, 10))
	d.Work()
	var keys, reasons []string
	for _, r := range d.Published() {
		if reason, ok := r.Header(event.HeaderReason); ok {
			reasons = append(reasons, string(reason))
			continue
		}
		keys = append(keys, string(r.Key))
	}
	if len(reasons) != 1 || reasons[0] != "PANIC" || len(keys) != 2 || keys[0] != "1.0" || keys[1] != "3.0" {
		t.Errorf("rejected %q, published %q", reasons, keys)
	}
	if w := d.Watermark(); w.Offset != 4 {
		t.Errorf("stands at %d", w.Offset)
	}
}
