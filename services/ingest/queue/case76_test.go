package queue

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

func fc76() *ingestv1.Subscription {
	return &ingestv1.Subscription{Tenant: "sample", Name: "fc76", Types: []string{"client.*"}, Ordered: true, Start: earliest()}
}

// publish76 publishes N1 O1 N2 O2 N3: both clients are in one partition of eight.
func (f *fixture) publish76() {
	f.publish(clientUpdated("N1", "7601"), clientUpdated("O1", "7605"), clientUpdated("N2", "7601"), clientUpdated("O2", "7605"), clientUpdated("N3", "7601"))
}

// The field case, row by row, with redelivery by the clock of the replica.
func TestCase76_LateAck(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		f.publish76()
		r := f.replica(nil)
		c := r.subscribe(fc76())
		want := func(row, got, want string) {
			t.Helper()
			if got != want {
				t.Fatalf("%s: %q came, want %q", row, got, want)
			}
		}
		first := c.next(2)
		want("a", show(first), "N1 O1")
		c.one(first[1])
		o2 := c.next(1)
		want("b", show(o2), "O2")
		f.clock.Store(int64(31 * time.Second))
		again := c.next(2)
		want("c", show(again), "N1#2~ O2#2~")
		c.upTo(first[0])
		n2 := c.next(1)
		want("d", show(n2), "N2")
		c.one(first[0])
		c.upTo(first[1])
		c.send(&ingestv1.Ack{Events: []*ingestv1.EventAck{{Id: "N2", Source: "crm", Subject: "client/7601"}}})
		want("e, and an ack by id", c.ids(1), "N3")
		f.until("the position is stored", func() bool { return f.moved("fc76") == 3 })
		r.kill()

		r = f.replica(nil)
		c = r.subscribe(fc76())
		resumed := c.next(2)
		want("f", show(resumed), "O2~ N3~")
		c.one(resumed[1])
		c.send(&ingestv1.Ack{Events: []*ingestv1.EventAck{{Cursor: resumed[0].GetCursor(), GivenUp: &ingestv1.GivenUp{Reason: "no such client at 491511234567"}}}})
		f.until("the event that was given up is done", func() bool { return f.moved("fc76") == 5 })
		rejected := f.read(stream.EventsRejected, 1)[0]
		headers := map[string]string{}
		for _, h := range rejected.Headers {
			headers[h.Key] = string(h.Value)
		}
		if headers[event.HeaderReason] != "GIVEN_UP" || headers[event.HeaderDetail] != "subscription fc76: no such client at 491511234567" || headers[event.HeaderID] != "O2" {
			t.Errorf("h: on the rejected topic is %v", headers)
		}

		f.publish(clientUpdated("N4", "7601"), clientUpdated("O3", "7605"))
		want("after", c.ids(2), "N4 O3")
		if err := c.stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		_ = c.ends()
		c = r.subscribe(fc76())
		want("g", c.ids(2), "N4~ O3~")
		f.publish(clientUpdated("X1", "7607"))
		want("what was never sent is not marked", c.ids(1), "X1")
	})
}

// moved is the highest position of a subscription in events.ordered.
func (f *fixture) moved(name string) (n int64) {
	for _, p := range f.stored(name) {
		n = max(n, p.Offset)
	}
	return n
}

// read waits until a topic has n records.
func (f *fixture) read(name string, n int) (all []stream.Record) {
	f.Helper()
	topic := f.client.Topic(name)
	next := make([]int64, partitions)
	for {
		for p := range next {
			b, err := f.client.FetchFrom(f.ctx, topic, int32(p), next[p], 8<<20)
			if err != nil {
				f.Fatalf("%s holds %d of %d records: %v", name, len(all), n, err)
			}
			next[p] = b.Next
			all = append(all, b.Records...)
		}
		if len(all) >= n {
			return all
		}
		pause.For(f.ctx, 5*time.Millisecond)
	}
}

func TestSubscribe_SecondStreamTakesOver(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		f.publish76()
		replicas := []*replica{f.replica(nil), f.replica(nil)}
		for name, other := range map[string]int{"on the same replica": 0, "on another replica": 1} {
			t.Run(name, func(t *testing.T) {
				want := fc76()
				want.Name = "over-" + string(rune('a'+other))
				first := replicas[0].subscribe(want)
				first.next(2)
				second := replicas[other].subscribe(want)
				err := first.ends()
				if status.Code(err) != codes.Aborted || fault.ReasonOf(err) != "SUBSCRIPTION_TAKEN_OVER" {
					t.Errorf("the first ends with %v", err)
				}
				got := second.next(2)
				if show(got) != "N1~ O1~" {
					t.Errorf("the second gets %q", show(got))
				}
				second.upTo(got[1])
				if ids := second.ids(2); ids != "N2 O2" && other == 0 {
					t.Errorf("the second gets %q then", ids)
				}
			})
		}
	})
}
