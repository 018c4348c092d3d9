package delivery

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
)

// Random results: an endpoint has at most its limit in flight, an ordering key has one item in flight and keeps its
// order, no item of it is sent between an undelivered settlement and its commit, and in the end every item is settled.
func TestQueue_KeepsOrderAndLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue()
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		now, offset := int64(1000), int64(0)
		var taken []*item
		var uncommitted []*orderingKey
		last := map[*orderingKey]int64{}
		settled := 0
		add := func() {
			d := &Delivery{Tenant: fmt.Sprint(offset % 3), Endpoint: fmt.Sprint("e", offset%3, rapid.IntRange(0, 2).Draw(t, "endpoint"))}
			orderingKey := uint64(rapid.IntRange(0, 3).Draw(t, "ordering key"))
			if orderingKey > 0 {
				orderingKey += endpointHash(d.Endpoint) << 8
			}
			due := now + rapid.Int64Range(-5, 20).Draw(t, "due")
			q.add(pages.Reference{Offset: offset, Endpoint: endpointHash(d.Endpoint), OrderingKey: orderingKey}, pages.NoSlot, d, due, now)
			q.endpoint(endpointHash(d.Endpoint)).limit = limit
			offset++
		}
		settle := func(i int, how int) {
			it := taken[i]
			taken = append(taken[:i], taken[i+1:]...)
			q.free(it, now)
			switch how {
			case 0:
				q.later(it, now+rapid.Int64Range(1, 30).Draw(t, "wait"), now)
				return
			case 1:
				q.settle(it, false, false, now)
			default:
				q.settle(it, true, false, now)
				if it.orderingKey != nil {
					uncommitted = append(uncommitted, it.orderingKey)
				}
			}
			settled++
		}
		take := func() bool {
			it := q.next(true, now)
			if it == nil {
				return false
			}
			busy := map[*endpoint]int{}
			for _, other := range taken {
				busy[other.endpoint]++
				if it.orderingKey != nil && other.orderingKey == it.orderingKey {
					t.Fatal("two of one ordering key at once")
				}
			}
			if busy[it.endpoint] >= limit {
				t.Fatalf("more than %d of one endpoint", limit)
			}
			if it.due > now {
				t.Fatal("sent before its time")
			}
			if it.orderingKey != nil {
				if it.orderingKey.undeliveredPending > 0 {
					t.Fatal("sent before the undelivered settlement in front of it was committed")
				}
				if it.ref.Offset < last[it.orderingKey] {
					t.Fatalf("offset %d after %d", it.ref.Offset, last[it.orderingKey])
				}
				last[it.orderingKey] = it.ref.Offset
			}
			taken = append(taken, it)
			return true
		}
		commit := func() {
			for _, l := range uncommitted {
				q.committed(l, now)
			}
			uncommitted = nil
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				add()
			case 2:
				now += rapid.Int64Range(0, 10).Draw(t, "passes")
				q.wake(now)
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
				t.Fatalf("%d of %d settled, %d outstanding, %d wait for their time: something is stuck", settled, offset, q.outstanding, len(q.due))
			}
			now += 100
			q.wake(now)
			for take() {
			}
			for len(taken) > 0 {
				settle(0, 1)
			}
			commit()
		}
		commit()
		if q.outstanding != 0 || q.taken != 0 || len(q.orderingKeys) != 0 || q.turns.n != 0 || len(q.due) != 0 {
			t.Fatalf("something is left: %+v", q)
		}
	})
}

func TestQueue_TenantsAndEndpointsTakeTurns(t *testing.T) {
	q := newQueue()
	put := func(tenant, endpoint string, n int) {
		for range n {
			d := &Delivery{Tenant: tenant, Endpoint: endpoint}
			q.add(pages.Reference{Endpoint: endpointHash(endpoint)}, pages.NoSlot, d, 0, 0)
		}
	}
	put("big", "b1", 100)
	put("big", "b2", 100)
	put("small", "s1", 2)
	var got string
	const now = 0
	for range 8 {
		got += q.next(true, now).endpoint.name + " "
	}
	if want := "b1 s1 b2 s1 b1 b2 b1 b2 "; got != want {
		t.Errorf("turns %s, want %s", got, want)
	}
}
