package queue

import (
	"fmt"
	"reflect"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
)

// Random results: an endpoint has at most its limit in flight, an ordering key has one item in flight and keeps its
// order, no item of it is sent between an undelivered settlement and its commit, and in the end every item is settled.
func TestQueue_KeepsOrderAndLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := New()
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		now, offset := int64(1000), int64(0)
		var taken []*Item
		var uncommitted []uint64
		var settledItems []*Item
		last, pending := map[uint64]int64{}, map[uint64]int{}
		settled := 0
		add := func() {
			d := &delivery.Delivery{Tenant: fmt.Sprint(offset % 3), Endpoint: fmt.Sprint("e", offset%3, rapid.IntRange(0, 2).Draw(t, "endpoint"))}
			orderingKey := uint64(rapid.IntRange(0, 3).Draw(t, "ordering key"))
			if orderingKey > 0 {
				orderingKey += EndpointHash(d.Endpoint) << 8
			}
			due := now + rapid.Int64Range(-5, 20).Draw(t, "due")
			q.Add(pages.Reference{Offset: offset, Endpoint: EndpointHash(d.Endpoint), OrderingKey: orderingKey}, pages.NoSlot, d, due, health.Never, now)
			q.Endpoint(EndpointHash(d.Endpoint)).Limit = limit
			offset++
		}
		settle := func(i int, how int) {
			it := taken[i]
			taken = append(taken[:i], taken[i+1:]...)
			q.Free(it, now)
			switch how {
			case 0:
				q.Later(it, now+rapid.Int64Range(1, 30).Draw(t, "wait"), now)
				return
			case 1:
				q.Settle(it, false, false, now)
			default:
				q.Settle(it, true, false, now)
				if it.Key != 0 {
					uncommitted = append(uncommitted, it.Key)
					pending[it.Key]++
				}
			}
			settledItems = append(settledItems, it)
			settled++
		}
		take := func() bool {
			it := q.Next(true, now)
			if it == nil {
				return false
			}
			busy := map[*Endpoint]int{}
			for _, other := range taken {
				busy[q.Of(other)]++
				if it.Key != 0 && other.Key == it.Key {
					t.Fatal("two of one ordering key at once")
				}
			}
			if busy[q.Of(it)] >= limit {
				t.Fatalf("more than %d of one endpoint", limit)
			}
			if it.Due() > now {
				t.Fatal("sent before its time")
			}
			if it.Key != 0 {
				if pending[it.Key] > 0 || q.AwaitsCommit(it) {
					t.Fatal("sent before the undelivered settlement in front of it was committed")
				}
				if it.Offset() < last[it.Key] {
					t.Fatalf("offset %d after %d", it.Offset(), last[it.Key])
				}
				last[it.Key] = it.Offset()
			}
			taken = append(taken, it)
			return true
		}
		commit := func() {
			for _, l := range uncommitted {
				q.Committed(l, now)
			}
			for _, it := range settledItems { // their numbers are used again
				q.Release(it)
				q.Stored(it)
			}
			uncommitted, settledItems = nil, nil
			clear(pending)
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				add()
			case 2:
				now += rapid.Int64Range(0, 10).Draw(t, "passes")
				q.Wake(now)
				for take() {
				}
			case 3:
				if len(taken) > 0 {
					settle(rapid.IntRange(0, len(taken)-1).Draw(t, "which"), rapid.IntRange(0, 2).Draw(t, "how"))
				}
			case 4:
				commit()
			}
		}
		for round := 0; settled < int(offset); round++ {
			if round > int(offset)+100 {
				t.Fatalf("%d of %d settled, %d outstanding, %d wait for their time: something is stuck", settled, offset, q.Outstanding, len(q.due))
			}
			now += 100
			q.Wake(now)
			for take() {
			}
			for len(taken) > 0 {
				settle(0, 1)
			}
			commit()
		}
		commit()
		if q.Outstanding != 0 || q.Taken != 0 || q.tails.N != 0 || len(q.pending) != 0 || q.bodiless.N != 0 || q.Turns.N != 0 || len(q.due) != 0 {
			t.Fatalf("something is left: %+v", q)
		}
	})
}

func TestQueue_TenantsAndEndpointsTakeTurns(t *testing.T) {
	q := New()
	put := func(tenant, endpoint string, n int) {
		for range n {
			d := &delivery.Delivery{Tenant: tenant, Endpoint: endpoint}
			q.Add(pages.Reference{Endpoint: EndpointHash(endpoint)}, pages.NoSlot, d, 0, health.Never, 0)
		}
	}
	put("big", "b1", 100)
	put("big", "b2", 100)
	put("small", "s1", 2)
	var got string
	const now = 0
	for range 8 {
		got += q.Of(q.Next(true, now)).Name + " "
	}
	if want := "b1 s1 b2 s1 b1 b2 b1 b2 "; got != want {
		t.Errorf("turns %s, want %s", got, want)
	}
}

// What waits is plain values: with the index by offset, the index of ordering keys, the heap of due times and its place in the
// pages, 100 bytes of heap are not exceeded (a window of ids takes 20 of them, see package scan).
func TestItem_IsSmallAndWithoutPointers(t *testing.T) {
	if size := unsafe.Sizeof(Item{}); size > 56 {
		t.Errorf("an item takes %d bytes", size)
	}
	of := reflect.TypeFor[Item]()
	for i := range of.NumField() {
		switch f := of.Field(i); f.Type.Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice, reflect.String, reflect.Interface, reflect.Func, reflect.Chan:
			t.Errorf("%s refers to something: the collector looks at each item", f.Name)
		}
	}
}

func TestItem_NumbersOfFewerBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var it Item
		v := rapid.Int64Range(-most48, most48).Draw(t, "v")
		it.due.set(v)
		if got := it.due.get(); got != v {
			t.Fatalf("%d is read as %d", v, got)
		}
		w := rapid.Int64Range(least40+1, -least40-1).Draw(t, "w")
		it.SetFirst(w)
		if got := it.First(); got != w {
			t.Fatalf("%d is read as %d", w, got)
		}
	})
	var it Item
	it.due.set(Forever)
	it.SetFirst(health.Never)
	if it.Due() != Forever || it.First() != health.Never {
		t.Errorf("read as %d, %d", it.Due(), it.First())
	}
}

// The store has of an item what is recorded, whatever happened since.
func TestReference_IsOfRecordedResults(t *testing.T) {
	q := New()
	const drift = 1_000_000
	e := EndpointHash("e")
	it := q.Add(pages.Reference{Offset: 7, Endpoint: e, OrderingKey: 5, Collapse: 9, ID: 3, Deadline: 4}, pages.NoSlot, nil, 10, health.Never, 20)
	want := pages.Reference{Offset: 7, Due: drift + 10, Endpoint: e, OrderingKey: 5, Collapse: 9, ID: 3, Deadline: 4}
	check := func(when string) {
		t.Helper()
		if diff := cmp.Diff(want, q.Reference(it.Number(), drift)); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	check("when it was read")
	fail := func(attempts uint8, due int64) {
		q.Unrecorded(it)
		it.Attempts = attempts
		q.Free(it, 30)
		q.Later(it, due, 30)
	}
	q.Next(true, 30)
	it.SetFirst(1500)
	fail(1, 40)
	check("after a result that is not recorded")
	q.Wake(50)
	q.Next(true, 50)
	fail(2, 60)
	check("after two")
	q.Record(it, 1, 40)
	want.Attempts, want.Due, want.First = 1, drift+40, 1002
	check("once the first is recorded")
	q.Record(it, 2, 60)
	want.Attempts, want.Due = 2, drift+60
	check("once both are")
	q.Wake(70)
	q.Next(true, 70)
	q.Hold(it, 5, 70)
	q.Free(it, 70)
	q.Later(it, Forever, 70)
	want.Due = 0
	check("while it is held")
}
