package safeguard

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// storeOf is the Redis behind the service's back.
func (f *fixture) storeOf() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: f.cfg.Redis.Address, DisableIdentity: true})
	f.Cleanup(func() { _ = c.Close() })
	return c
}

// dump is what the service keeps, as it then stands.
func (f *fixture) dump(c *redis.Client) map[string]string {
	f.Helper()
	kept := map[string]string{}
	keys := c.Scan(f.ctx, 0, "*"+f.cfg.Redis.Prefix+":*", 1000).Iterator()
	for keys.Next(f.ctx) {
		value, err := c.Get(f.ctx, keys.Val()).Result()
		if err != nil {
			f.Fatalf("dump %s: %v", keys.Val(), err)
		}
		kept[keys.Val()] = value
	}
	if err := keys.Err(); err != nil {
		f.Fatal(err)
	}
	return kept
}

// setBack makes the store what it was, in one step: an operator restores a dump, or starts an empty server.
func (f *fixture) setBack(c *redis.Client, to map[string]string) {
	f.Helper()
	now := f.dump(c)
	_, err := c.TxPipelined(f.ctx, func(p redis.Pipeliner) error {
		for key := range now {
			p.Del(f.ctx, key)
		}
		for key, value := range to {
			p.Set(f.ctx, key, value, 0)
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
}

// openings counts how often the replica opened a partition.
func (r *replica) openings() int {
	return strings.Count(strings.Join(r.lines(), "\n"), `"message":"partition opened"`)
}

// until waits for what only looking tells.
func (f *fixture) until(what string, holds func() bool) {
	f.Helper()
	for !holds() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-f.ctx.Done():
			f.Fatalf("waited in vain for %s", what)
		}
	}
}

// floors waits until everything that follows from the log is known to have been told: the group stands at its end.
func (f *fixture) floors() {
	f.Helper()
	topic, group := f.client.Topic(stream.EventsOrdered), f.client.Topic(Domain)
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	c := &kafka.Client{Addr: kafka.TCP(f.cfg.Kafka.Brokers...), Transport: transport}
	f.until("the group to stand at the log's end", func() bool {
		committed, err := c.OffsetFetch(f.ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0, 1, 2, 3}}})
		if err != nil || committed.Error != nil {
			return false
		}
		for _, p := range committed.Topics[topic] {
			_, end, err := f.client.Offsets(f.ctx, topic, int32(p.Partition))
			if err != nil || p.CommittedOffset != end {
				return false
			}
		}
		return true
	})
}

// stands is how many outcomes stand on their topic, repeats included.
func (f *fixture) stands() (n int64) {
	f.Helper()
	for p := range int32(4) {
		_, end, err := f.client.Offsets(f.ctx, f.client.Topic(stream.Safeguards), p)
		if err != nil {
			f.Fatal(err)
		}
		n += end
	}
	return n
}

// guard asks one subscriber's authorisation for as long as the test runs. An answer is the truth or says that it is not
// known, and then blocks: nobody is let on by a counter that has lost something.
func (f *fixture) guard(e optionsv1.EnforcementServiceClient, subject string) (reached func(), stop func()) {
	var mu sync.Mutex
	blocked := false
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			mu.Lock()
			must := blocked
			mu.Unlock()
			a, err := e.Authorize(ctx, &optionsv1.AuthorizeRequest{
				Name: "tenants/acme/subscribers/" + subject, Use: &optionsv1.AuthorizeRequest_Usage{Usage: roamingData()},
			})
			switch allow := a.GetVerdict() == optionsv1.AuthorizeResponse_VERDICT_ALLOW; {
			case ctx.Err() != nil:
			case err != nil:
				if fault.KindOf(err) != fault.Unavailable {
					f.Errorf("authorise: %v", err)
				}
			case allow && must:
				f.Errorf("let on past the limit: %v", a)
				return
			case allow && a.GetReason() == "UNKNOWN":
				f.Errorf("what is not known was allowed: %v", a)
				return
			}
		}
	}()
	return func() { mu.Lock(); defer mu.Unlock(); blocked = true }, func() { cancel(); <-ended }
}

// A store that is set back to an older dump, and then emptied, while the service runs: it is noticed, the partitions are
// rebuilt from the log, every figure is the one before, nothing is told another time that was told for sure.
func TestAStoreSetBackOrEmptiedWhileRunningLosesNothing(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(gold())
		r := f.start()
		f.configured()
		store := f.storeOf()
		all := func(spent string, blocked bool) {
			f.Helper()
			for i := range crowd {
				f.until(subject(i)+" to show "+spent, func() bool {
					m := r.shows(subject(i))
					return amount(m.GetSpent()) == spent && m.GetReached() == blocked
				})
			}
		}

		f.publish(activations()...)
		f.publish(charges("first", "30")...)
		f.told(crowd)
		all("30", false)
		reached, stop := f.guard(r.enforcement, subject(0))
		defer stop()
		older := f.dump(store)

		f.publish(charges("second", "15")...)
		f.told(2 * crowd)
		all("45", false)
		f.floors()
		told, opened := f.stands(), r.openings()
		f.setBack(store, older)
		f.until("the dump to be noticed", func() bool { return r.openings() >= opened+4 })
		all("45", false)
		if n := f.stands(); n != told {
			f.Errorf("%d outcomes were told again that stood below the floor", n-told)
		}

		f.publish(charges("third", "5")...)
		f.publish(charges("second", "15")...) // the same events again
		f.told(3 * crowd)
		all("50", true)
		reached()
		f.floors()
		told, opened = f.stands(), r.openings()
		f.setBack(store, nil)
		f.until("the empty store to be noticed", func() bool { return r.openings() >= opened+4 })
		all("50", true)
		if n := f.stands(); n != told {
			f.Errorf("%d outcomes were told again that stood below the floor", n-told)
		}

		f.publish(each(func(i int) *event.Event {
			return &event.Event{ID: "back-" + subject(i), Type: "usage.charged", Data: &eventv1.UsageCharged{
				Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: units("-50"),
				Corrects: &eventv1.Correction{Id: "first", Time: timestamppb.Now()},
			}}
		})...)
		stop() // before the block is released
		want := []string{
			"activated 0/50 ACTIVATION", "alert 80% at 40 45/50 USAGE", "reached 50/50 USAGE blocked", "released 0/50 REFUND",
		}
		for s, got := range f.told(4 * crowd) {
			if diff := cmp.Diff(want, got); diff != "" {
				f.Errorf("%s: %s", s, diff)
			}
		}
		all("0", false)
		r.stop()
	})
}
