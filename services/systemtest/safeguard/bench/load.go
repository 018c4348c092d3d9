package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

const tenant = "bench"

// Every hundredth charge is of one euro, and there is a threshold at each euro:
// one event in a hundred crosses one. The others are of a thousandth of a cent.
const (
	crossingNanos = 1_000_000_000
	smallNanos    = 10_000
	thresholds    = 10
)

// class offers all three options. Only the data safeguard's thresholds are crossed: one event in a hundred publishes one outcome.
func class() *configv1.ClassOfService {
	far := &money.Money{CurrencyCode: "EUR", Units: 1_000_000}
	data := &configv1.DataSafeguardOption{Limit: far}
	for i := range thresholds {
		data.AlertThresholds = append(data.AlertThresholds, &configv1.AlertThreshold{
			Threshold: &configv1.AlertThreshold_Amount{Amount: &money.Money{CurrencyCode: "EUR", Units: int64(i + 1)}},
		})
	}
	return &configv1.ClassOfService{
		Name: "tenants/" + tenant + "/classesOfService/standard", DataSafeguard: data,
		OverspendSafeguard: &configv1.OverspendSafeguardOption{
			CurrencyCode: "EUR", DefaultLimit: far, DefaultState: eventv1.Safeguard_STATE_ACTIVE,
		},
		PaymentSafeguard: &configv1.PaymentSafeguardOption{Limit: far, PerPaymentLimit: &money.Money{CurrencyCode: "EUR", Units: 100}},
	}
}

func msisdn(i int) string { return fmt.Sprintf("4915%09d", i) }

// load is what is in a log, and what must come of it.
type load struct {
	spent []int64 // nanos by subscriber
}

// activate puts subscribers into the log.
func activate(ctx context.Context, f *fleet.Fleet, n int) error {
	return produce(ctx, f, n, func(i int, now time.Time) *event.Event {
		return &event.Event{
			ID: fmt.Sprintf("a-%d", i), Source: "bench/crm", Type: "subscriber.activated", Tenant: tenant, Subject: msisdn(i), Time: now,
			Data: &eventv1.SubscriberActivated{ClassOfService: "standard", Imsi: fmt.Sprintf("26201%010d", i), Language: "de"},
		}
	})
}

// use puts usage into the log, of the subscribers that which returns.
func (l *load) use(ctx context.Context, f *fleet.Fleet, name string, n int, which func(i int) int) error {
	var mu sync.Mutex
	return produce(ctx, f, n, func(i int, now time.Time) *event.Event {
		amount := int64(smallNanos)
		if i%100 == 99 {
			amount = crossingNanos
		}
		who := which(i)
		mu.Lock()
		l.spent[who] += amount
		mu.Unlock()
		return charged(fmt.Sprintf("%s-%d", name, i), who, amount, now)
	})
}

// charged is usage that counts against all three options.
func charged(id string, who int, amount int64, now time.Time) *event.Event {
	price := &money.Money{CurrencyCode: "EUR", Units: amount / 1e9, Nanos: int32(amount % 1e9)}
	return &event.Event{
		ID: id, Source: "bench/rating", Type: "usage.charged", Tenant: tenant, Subject: msisdn(who), Time: now,
		Data: &eventv1.UsageCharged{
			Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, OutOfBundle: true, ThirdParty: true, Net: price, Gross: price,
			Quantity: 1 << 20, Unit: "byte", VisitedCountry: "FR",
		},
	}
}

// produce writes events straight to the ordered topic, as ingest does.
func produce(ctx context.Context, f *fleet.Fleet, n int, draw func(i int, now time.Time) *event.Event) error {
	const chunk, writers = 4000, 4
	p := f.Client.NewProducer()
	topic := f.Client.Topic(stream.EventsOrdered)
	var work sync.WaitGroup
	fault := make(chan error, writers)
	for w := range writers {
		work.Add(1)
		go func() {
			defer work.Done()
			for from := w * chunk; from < n; from += writers * chunk {
				now := time.Now().Truncate(time.Millisecond)
				records := make([]stream.Record, 0, chunk)
				for i := from; i < min(n, from+chunk); i++ {
					e := draw(i, now)
					e.ReceivedAt = now
					r, err := e.Record(topic)
					if err != nil {
						fault <- err
						return
					}
					records = append(records, r)
				}
				if err := p.Produce(ctx, records...); err != nil {
					fault <- err
					return
				}
			}
		}()
	}
	work.Wait()
	select {
	case err := <-fault:
		return fmt.Errorf("produce: %w", err)
	default:
		return p.Close(ctx)
	}
}

// shuffled visits each of n once, in the same disorder every time.
func shuffled(n int) func(int) int {
	order := rand.New(rand.NewPCG(1, 2)).Perm(n)
	return func(i int) int { return order[i] }
}
