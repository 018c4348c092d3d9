package safeguard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// storeOf is the Redis behind the service's back.
func (f *fixture) storeOf() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: f.cfg.Redis.Address, DisableIdentity: true})
	f.Cleanup(func() { _ = c.Close() })
	return c
}

// dump is what the service keeps, as it then stands.
func (f *fixture) dump(c *redis.Client) map[string]func(redis.Pipeliner) {
	f.Helper()
	kept := map[string]func(redis.Pipeliner){}
	keys := c.Scan(f.ctx, 0, "*"+f.cfg.Redis.Prefix+":*", 1000).Iterator()
	for keys.Next(f.ctx) {
		key := keys.Val()
		put, err := f.dumpKey(c, key)
		if err != nil {
			f.Fatalf("dump %s: %v", key, err)
		}
		kept[key] = put
	}
	if err := keys.Err(); err != nil {
		f.Fatal(err)
	}
	return kept
}

// dumpKey is how a key becomes what it is now: miniredis dumps strings alone.
func (f *fixture) dumpKey(c *redis.Client, key string) (put func(redis.Pipeliner), err error) {
	kind, err := c.Type(f.ctx, key).Result()
	if err != nil {
		return nil, err
	}
	switch kind {
	case "zset":
		members, err := c.ZRangeWithScores(f.ctx, key, 0, -1).Result()
		return func(p redis.Pipeliner) { p.ZAdd(f.ctx, key, members...) }, err
	case "hash":
		fields, err := c.HGetAll(f.ctx, key).Result()
		return func(p redis.Pipeliner) { p.HSet(f.ctx, key, fields) }, err
	}
	value, err := c.Get(f.ctx, key).Result()
	return func(p redis.Pipeliner) { p.Set(f.ctx, key, value, 0) }, err
}

// setBack makes the store what it was, in one step: an operator restores a dump, or starts an empty server.
func (f *fixture) setBack(c *redis.Client, to map[string]func(redis.Pipeliner)) {
	f.Helper()
	now := f.dump(c)
	_, err := c.TxPipelined(f.ctx, func(p redis.Pipeliner) error {
		for key := range now {
			p.Del(f.ctx, key)
		}
		for _, put := range to {
			put(p)
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
}

// logged counts how often the replica wrote a message.
func (r *replica) logged(message string) int {
	return strings.Count(strings.Join(r.lines(), "\n"), `"message":"`+message+`"`)
}

// snapshots counts the partitions of which the replica has written one.
func (r *replica) snapshots() (n int) {
	lines := r.lines()
	for p := range 4 {
		if slices.ContainsFunc(lines, func(l string) bool {
			return strings.Contains(l, `"message":"snapshot written"`) && strings.Contains(l, fmt.Sprintf(`"partition":%d,`, p))
		}) {
			n++
		}
	}
	return n
}

// until waits for what can only be polled.
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

// allPublished waits until everything that follows from the log is known to have been published: the group is at its end.
func (f *fixture) allPublished() {
	f.Helper()
	topic, group := f.client.Topic(stream.EventsOrdered), f.client.Topic(account.Domain)
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

// outcomeCount is how many outcomes stand on their topic, repeats included.
func (f *fixture) outcomeCount() (n int64) {
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

// guard asks one subscriber's authorisation for as long as the test runs. An answer is the truth, or is that it is not
// known, and then what the tenant wants: no subscriber is let on by a counter that has lost something.
type guard struct {
	// blocked is set once the subscriber is past its limit, unknown once that was an answer.
	blocked, unknown atomic.Bool
	stop             func()
}

func (f *fixture) guard(e optionsv1.EnforcementServiceClient, tenant, subject string, lenient bool) *guard {
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan struct{})
	g := &guard{stop: func() { cancel(); <-ended }}
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			must := g.blocked.Load()
			a, err := e.Authorize(ctx, &optionsv1.AuthorizeRequest{
				Name: "tenants/" + tenant + "/subscribers/" + subject, Use: &optionsv1.AuthorizeRequest_Usage{Usage: roamingUsage()},
			})
			switch allow := a.GetDecision() == optionsv1.AuthorizeResponse_DECISION_ALLOW; {
			case ctx.Err() != nil, status.Code(err) == codes.DeadlineExceeded:
				return
			case err != nil:
				if kind := fault.KindOf(err); kind != fault.Unavailable && (!lenient || kind != fault.NotFound) {
					f.Errorf("authorise: %v", err)
				}
			case a.GetReason() == account.ReasonUnknown:
				g.unknown.Store(true)
				if allow != lenient {
					f.Errorf("tenant %s is answered what is not known by %v", tenant, a)
					return
				}
			case allow && must:
				f.Errorf("allowed past the limit: %v", a)
				return
			}
		}
	}()
	return g
}

// compare waits until every subscriber is shown as an independent reading of the whole log makes it.
func (f *fixture) compare(c *configuration, r *replica) {
	f.Helper()
	partitions := f.expected(c)
	for i := range crowd {
		number, alive := subject(i), 0
		for _, w := range partitions {
			_, _, there := w.Look("acme", number)
			if !there {
				continue
			}
			alive++
			f.until(number+" to be shown as the log has it", func() bool {
				shown, err := r.inventory.ListOptions(f.ctx, &optionsv1.ListOptionsRequest{Parent: "tenants/acme/subscribers/" + number})
				views, _ := w.AsShown("acme", number)
				return err == nil && len(model.Shown(shown, views)) == 0
			})
		}
		if alive != 1 {
			f.Errorf("%s is alive in %d partitions' logs", number, alive)
		}
	}
}

// expected is the model of each partition's log.
func (f *fixture) expected(c *configuration) (partitions []*model.Partition) {
	f.Helper()
	first, topic := model.New(), f.client.Topic(stream.EventsOrdered)
	for p := range int32(4) {
		w := first.Beside()
		partitions = append(partitions, w)
		next, end, err := f.client.Offsets(f.ctx, topic, p)
		if err != nil {
			f.Fatal(err)
		}
		for next < end {
			b, err := f.client.FetchFrom(f.ctx, topic, p, next, 8<<20)
			if err != nil {
				f.Fatal(err)
			}
			next = b.Next
			for _, record := range b.Records {
				e, err := event.Decode(record.Value)
				if err != nil {
					f.Fatal(err)
				}
				if d, ok := e.Data.(*controlv1.Revision); ok {
					s := c.at(d.GetRevision())
					if s == nil {
						f.Fatalf("no revision %d", d.GetRevision())
					}
					w.Configure(record.Time, s)
					continue
				}
				w.Happen(record.Time, e)
			}
		}
	}
	return partitions
}

// A store that is set back to an older dump, and then emptied, while the service runs: it is noticed, the tenant's word
// holds meanwhile, the partitions are rebuilt from snapshot and log, every figure is the one before, nothing is published another
// time that was published for sure.
func TestStore_SetBackOrEmptiedLosesNothing(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.cfg.State.SnapshotEvents = 1000 // the fewest
		f.cfg.State.BatchRecords = 2      // a rebuild takes a moment
		c := f.configure(safeguardtest.Full(func(c *configv1.ClassOfService) {
			c.OverspendSafeguard.DefaultLimit, c.OverspendSafeguard.DefaultState = safeguardtest.Units("100"), eventv1.Safeguard_STATE_ACTIVE
		}))
		r := f.start()
		f.configured()
		store := f.storeOf()
		all := func(spent string, blocked bool) {
			f.Helper()
			for i := range crowd {
				f.until(subject(i)+" to show "+spent, func() bool {
					m := r.shows(subject(i))
					return safeguardtest.Amount(m.GetSpent()) == spent && m.GetReached() == blocked
				})
			}
			f.compare(c, r)
		}
		var block, lenient *guard
		// loses what the store holds, once more until callers were answered that nothing is known: a rebuild is short.
		loses := func(to map[string]func(redis.Pipeliner), spent string, blocked bool) {
			f.Helper()
			block.unknown.Store(false)
			lenient.unknown.Store(false)
			for tried := 0; tried == 0 || !block.unknown.Load() || !lenient.unknown.Load(); tried++ {
				f.allPublished()
				published, opened := f.outcomeCount(), r.logged("partition opened")
				f.setBack(store, to)
				f.until("the loss to be noticed", func() bool { return r.logged("partition opened") >= opened+4 })
				all(spent, blocked)
				if n := f.outcomeCount(); n != published {
					f.Errorf("%d outcomes below the published offset were published again", n-published)
				}
			}
		}

		f.publish(activations()...)
		f.publish(charges("first", "28.5")...)
		for i := range 150 {
			f.publish(charges(fmt.Sprint("small-", i), "0.01")...)
		}
		f.publish(each(func(i int) *event.Event {
			return &event.Event{ID: "call-" + subject(i), Type: "usage.charged", Data: &eventv1.UsageCharged{
				Category: eventv1.UsageCharged_CATEGORY_VOICE, OutOfBundle: true, Net: safeguardtest.Units("7.5"),
			}}
		})...)
		f.publish(each(func(i int) *event.Event {
			return &event.Event{ID: "paid-" + subject(i), Type: "usage.charged", Data: &eventv1.UsageCharged{
				Category: eventv1.UsageCharged_CATEGORY_CONTENT, ThirdParty: true, Net: safeguardtest.Units("10"), Gross: safeguardtest.Units("12"),
			}}
		})...)
		f.outcomes(3 * crowd)
		all("30", false)
		f.until("a snapshot of each partition", func() bool { return r.snapshots() == 4 })
		older := f.dump(store)
		block, lenient = f.guard(r.enforcement, "acme", subject(0), false), f.guard(r.enforcement, "lenient", subject(0), true)
		defer block.stop()
		defer lenient.stop()

		f.publish(charges("second", "15")...)
		f.outcomes(4 * crowd)
		all("45", false)
		loses(older, "45", false)

		f.publish(charges("third", "5")...)
		f.publish(charges("second", "15")...) // the same events again
		f.outcomes(5 * crowd)
		all("50", true)
		block.blocked.Store(true)
		restored := r.logged("snapshot restored")
		loses(nil, "50", true)
		if n := r.logged("snapshot restored") - restored; n < 4 {
			f.Errorf("%d partitions began with a snapshot", n)
		}

		f.publish(each(func(i int) *event.Event {
			return &event.Event{ID: "back-" + subject(i), Type: "usage.charged", Data: &eventv1.UsageCharged{
				Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: safeguardtest.Units("-50"),
				Corrects: &eventv1.Correction{Id: "first", Time: timestamppb.Now()},
			}}
		})...)
		block.stop() // before the block is released
		want := []string{
			"activated 0/50 ACTIVATION", "overspend activated 0/100 ACTIVATION", "payment activated 0/300 ACTIVATION",
			"alert 80% at 40 45/50 USAGE", "reached 50/50 USAGE blocked", "released 0/50 REFUND",
		}
		for s, got := range f.outcomes(6 * crowd) {
			if diff := cmp.Diff(want, got); diff != "" {
				f.Errorf("%s: %s", s, diff)
			}
		}
		all("0", false)
		r.stop()
	})
}
