package trigger

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frametest"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// shifted is a clock that a test sets, and that goes on from there.
type shifted struct {
	mu       sync.Mutex
	at, real time.Time
}

func (c *shifted) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.real = at, time.Now()
}

func (c *shifted) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at.Add(time.Since(c.real))
}

// The cases through the service, on servers whose time is that of each event: some weeks with a restart in their midst, one of
// them with a store that was lost. A timer is planned when it is due by the clock, with nothing else in the log.
func TestCases_OnServers(t *testing.T) {
	brokers, redises := streamtest.Brokers(t), statetest.Redises(t)
	for i, b := range brokers {
		for name, c := range cases() {
			t.Run(b.Name+"/"+name, func(t *testing.T) {
				t.Parallel()
				bed := frametest.New(t, b.Addrs, redises[i])
				specs := table.Topics(2)
				for i := range specs { // what is weeks old is not taken away meanwhile
					specs[i].Config["retention.ms"] = "-1"
				}
				if err := bed.Client.CreateTopics(bed.Ctx, specs, true); err != nil {
					t.Fatal(err)
				}
				cfg := DefaultConfig()
				cfg.Config = bed.Config
				runCase(t, &fixture{Bed: bed, ctx: bed.Ctx, cfg: cfg, client: bed.Client, producer: bed.Producer}, c, name == "reminder")
			})
		}
	}
}

func runCase(t *testing.T, f *fixture, c ruleCase, lost bool) {
	log := c.log(t)
	byArrival(log)
	clock := &shifted{}
	clock.set(log[0].ReceivedAt.Add(-time.Hour)) // log time is that of the revision until then
	start := func() (stop func()) {
		_, end := f.Run("trigger", func(ctx context.Context, env daemon.Env) error {
			env.Clock = clock.now
			return Run(ctx, f.cfg, env)
		})
		return func() {
			if err := end(); err != nil {
				t.Errorf("trigger ended with %v", err)
			}
		}
	}
	stop := start()
	f.configure(c.snapshot(t, 1))
	for i, e := range log {
		if i == len(log)/2 {
			if stop(); lost {
				_, f.cfg.Redis.Prefix = f.Redis.Open(t)
			}
			stop = start()
		}
		clock.set(e.ReceivedAt)
		r, err := e.Record(f.client.Topic(stream.EventsOrdered))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.producer.Produce(f.ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	clock.set(moment(t, c.until))
	ds := first(f.await(webhook.Channel.Topic, func(records []stream.Record) bool { return len(first(records)) >= len(c.deliveries) }))
	decided := first(f.await(stream.TriggersDecisions, func(records []stream.Record) bool { return len(first(records)) >= len(c.decisions) }))
	var deliveries []*delivery.Delivery
	for _, r := range ds {
		d, err := delivery.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		deliveries = append(deliveries, d)
	}
	var decisions []*triggerv1.Decision
	for _, r := range decided {
		d := &triggerv1.Decision{}
		if err := proto.Unmarshal(r.Value, d); err != nil {
			t.Fatal(err)
		}
		decisions = append(decisions, d)
	}
	c.compare(t, deliveries, decisions)
}

// first are the first appearances by id, in their order in each partition.
func first(records []stream.Record) (out []stream.Record) {
	seen := map[string]bool{}
	for _, r := range slices.SortedStableFunc(slices.Values(records), func(a, b stream.Record) int { return int(a.Partition - b.Partition) }) {
		id, _ := r.Header(event.HeaderID)
		if !seen[string(id)] {
			seen[string(id)] = true
			out = append(out, r)
		}
	}
	return out
}
