package queue

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/delivery"
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
		var uncommitted []*OrderingKey
		last := map[*OrderingKey]int64{}
		settled := 0
		add := func() {
			d := &delivery.Delivery{Tenant: fmt.Sprint(offset % 3), Endpoint: fmt.Sprint("e", offset%3, rapid.IntRange(0, 2).Draw(t, "endpoint"))}
			orderingKey := uint64(rapid.IntRange(0, 3).Draw(t, "ordering key"))
			if orderingKey > 0 {
				orderingKey += EndpointHash(d.Endpoint) << 8
			}
			due := now + rapid.Int64Range(-5, 20).Draw(t, "due")
			q.Add(pages.Reference{Offset: offset, Endpoint: EndpointHash(d.Endpoint), OrderingKey: orderingKey}, pages.NoSlot, d, due, now)
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
				if it.OrderingKey != nil {
					uncommitted = append(uncommitted, it.OrderingKey)
				}
			}
			settled++
		}
		take := func() bool {
			it := q.Next(true, now)
			if it == nil {
				return false
			}
			busy := map[*Endpoint]int{}
			for _, other := range taken {
				busy[other.Endpoint]++
				if it.OrderingKey != nil && other.OrderingKey == it.OrderingKey {
					t.Fatal("two of one ordering key at once")
				}
			}
			if busy[it.Endpoint] >= limit {
				t.Fatalf("more than %d of one endpoint", limit)
			}
			if it.Due > now {
				t.Fatal("sent before its time")
			}
			if it.OrderingKey != nil {
				if it.OrderingKey.UndeliveredPending > 0 {
					t.Fatal("sent before the undelivered settlement in front of it was committed")
				}
				if it.Ref.Offset < last[it.OrderingKey] {
					t.Fatalf("offset %d after %d", it.Ref.Offset, last[it.OrderingKey])
				}
				last[it.OrderingKey] = it.Ref.Offset
			}
			taken = append(taken, it)
			return true
		}
		commit := func() {
			for _, l := range uncommitted {
				q.Committed(l, now)
			}
			uncommitted = nil
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
		if q.Outstanding != 0 || q.Taken != 0 || len(q.orderingKeys) != 0 || q.Turns.N != 0 || len(q.due) != 0 {
			t.Fatalf("something is left: %+v", q)
		}
	})
}

func TestQueue_TenantsAndEndpointsTakeTurns(t *testing.T) {
	q := New()
	put := func(tenant, endpoint string, n int) {
		for range n {
			d := &delivery.Delivery{Tenant: tenant, Endpoint: endpoint}
			q.Add(pages.Reference{Endpoint: EndpointHash(endpoint)}, pages.NoSlot, d, 0, 0)
		}
	}
	put("big", "b1", 100)
	put("big", "b2", 100)
	put("small", "s1", 2)
	var got string
	const now = 0
	for range 8 {
		got += q.Next(true, now).Endpoint.Name + " "
	}
	if want := "b1 s1 b2 s1 b1 b2 b1 b2 "; got != want {
		t.Errorf("turns %s, want %s", got, want)
	}
}
