package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/pause"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// Ends of a transaction.
const (
	committed = "committed"
	aborted   = "aborted"
	// abandoned is one whose producer was gone; the next of its name aborts it.
	abandoned = "abandoned"
	// unsure is one of which it is not known whether it was committed.
	unsure = "unsure"
)

// transactions is a producer of usage that writes in transactions, a few partitions each. What was aborted it mostly sends
// again in the next one, with the same ids.
type transactions struct {
	bed    *bed
	whom   func(r *rand.Rand) subject
	record func(e *eventv1.Event, u *eventv1.UsageCharged) (*kgo.Record, error)
	rand   *rand.Rand
	client *kgo.Client

	serial int
	ended  map[string]int
	fates
	// latest are events as they were sent, so that they can be given back, however their transaction ended.
	latest []draft
	// again are those of a transaction that was aborted.
	again []draft
}

// fates are events by how their transaction ended, by nameOf.
type fates struct {
	committed, aborted map[string]struct{}
	unsure             [][]string
}

// draft is one event in a transaction.
type draft struct {
	name   string
	charge charge
	number string
	record *kgo.Record
}

func newTransactions(b *bed, t *traffic, seed uint64) *transactions {
	return &transactions{
		bed: b, whom: t.whom, rand: rand.New(rand.NewPCG(seed, 3)), ended: map[string]int{},
		fates: fates{committed: map[string]struct{}{}, aborted: map[string]struct{}{}},
		record: func(e *eventv1.Event, u *eventv1.UsageCharged) (*kgo.Record, error) {
			r, err := t.record(e, u)
			return &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}, err
		},
	}
}

func (x *transactions) String() string {
	var parts []string
	for _, end := range slices.Sorted(maps.Keys(x.ended)) {
		parts = append(parts, fmt.Sprintf("%d %s", x.ended[end], end))
	}
	return strings.Join(parts, ", ")
}

// run writes until stop is closed. Then every transaction has ended, also those of which the producer does not know how.
func (x *transactions) run(ctx context.Context, stop <-chan struct{}) error {
	defer func() { x.close() }()
	for {
		select {
		case <-stop:
			return x.open(ctx)
		case <-time.After(time.Duration(x.rand.IntN(100)) * time.Millisecond):
		}
		if x.client == nil {
			if err := x.open(ctx); err != nil {
				return err
			}
		}
		all, err := x.draw()
		if err != nil {
			return err
		}
		x.ends(all, x.transaction(ctx, all))
	}
}

func (x *transactions) close() {
	if x.client != nil {
		x.client.Close()
	}
	x.client = nil
}

// open is a producer of the same name: one before it is fenced, and what that left open is aborted.
func (x *transactions) open(ctx context.Context) error {
	x.close()
	ctx, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	for {
		client, err := kgo.NewClient(
			kgo.SeedBrokers(x.bed.kafka.Address()), kgo.TransactionalID(x.bed.fleet.Prefix+"-billing"), kgo.UnknownTopicRetries(-1),
			kgo.TransactionTimeout(time.Minute),
		)
		if err != nil {
			return fmt.Errorf("open a producer of transactions: %w", err)
		}
		if _, _, err = client.ProducerID(ctx); err == nil {
			x.client = client
			return nil
		}
		client.Close()
		if !pause.For(ctx, 200*time.Millisecond) {
			return fmt.Errorf("open a producer of transactions: %w", err)
		}
	}
}

// draw is what the next transaction writes.
func (x *transactions) draw() ([]draft, error) {
	all := x.again
	x.again = nil
	for range 1 + x.rand.IntN(20) {
		x.serial++
		about := x.whom(x.rand)
		e := &eventv1.Event{Id: fmt.Sprintf("transaction-%d", x.serial), Type: "usage.charged", Time: timestamppb.New(now())}
		u := &eventv1.UsageCharged{
			Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: x.rand.IntN(2) == 0, OutOfBundle: x.rand.IntN(2) == 0,
			Net: model.Money(1+x.rand.Int64N(5*model.Unit), currency(about.class)),
		}
		if n := len(x.latest); n > 0 && x.rand.IntN(6) == 0 {
			before := x.latest[x.rand.IntN(n)]
			about.number, u = before.number, taken(&before.charge, worthOf(&before.charge))
			if x.rand.IntN(2) == 0 {
				u.Corrects.Amount = before.charge.usage.GetNet()
			}
		}
		e.Subject = about.number
		r, err := x.record(e, u)
		if err != nil {
			return nil, err
		}
		w := draft{nameOf(e.GetSubject(), e.GetId()), charge{id: e.GetId(), at: e.GetTime(), usage: u}, about.number, r}
		if all = append(all, w); u.GetCorrects() == nil {
			x.latest = append(x.latest, w)
		}
	}
	const enough = 50
	x.latest = x.latest[max(0, len(x.latest)-enough):]
	return all, nil
}

// patient is how long a broker may be away in the midst of a transaction before its producer begins anew.
const patient = 20 * time.Second

// transaction writes records and returns how that ended. A producer that is in doubt begins anew.
func (x *transactions) transaction(ctx context.Context, all []draft) (end string) {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	if err := x.client.BeginTransaction(); err != nil {
		x.close()
		return abandoned
	}
	records := make([]*kgo.Record, len(all))
	for i, w := range all {
		// A record that was sent knows where it went.
		records[i] = &kgo.Record{Topic: w.record.Topic, Key: w.record.Key, Value: w.record.Value}
	}
	if err := x.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		x.close()
		return abandoned
	}
	if x.rand.IntN(4) == 0 { // what others write meanwhile waits behind it
		pause.For(ctx, time.Duration(x.rand.IntN(2000))*time.Millisecond)
	}
	switch n := x.rand.IntN(10); {
	case n < 3:
		if x.client.EndTransaction(ctx, kgo.TryAbort) != nil {
			x.close()
			return abandoned
		}
		return aborted
	case n < 4:
		x.close()
		return abandoned
	}
	if x.client.EndTransaction(ctx, kgo.TryCommit) != nil {
		x.close()
		return unsure
	}
	return committed
}

// ends notes how the transaction of events ended.
func (x *transactions) ends(all []draft, end string) {
	x.ended[end]++
	var names []string
	for _, w := range all {
		names = append(names, w.name)
		delete(x.aborted, w.name)
		switch end {
		case committed:
			x.committed[w.name] = struct{}{}
		case aborted, abandoned:
			x.aborted[w.name] = struct{}{}
		}
	}
	switch {
	case end == unsure:
		x.unsure = append(x.unsure, names)
	case end != committed && x.rand.IntN(3) > 0:
		x.again = all
	}
}

// check compares the log with how transactions ended: it has all of what was committed, nothing of what was aborted, and all
// or nothing of what is not known.
func (f *fates) check(ck *checker) {
	there := func(name string) bool {
		_, found := ck.seen[name]
		return found
	}
	for name := range f.committed {
		if !there(name) {
			ck.add(&ck.lost, "event %s was committed and is not in the log", name)
		}
	}
	for name := range f.aborted {
		if there(name) {
			ck.add(&ck.doubled, "event %s is in the log though its transaction was aborted", name)
		}
	}
	for _, names := range f.unsure {
		if n := len(slices.DeleteFunc(slices.Clone(names), there)); n > 0 && n < len(names) {
			ck.add(&ck.lost, "%d of %d events of one transaction are not in the log, %s among them", n, len(names), names[0])
		}
	}
}
