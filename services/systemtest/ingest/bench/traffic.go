package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

const tenantID = "bench"

func tenant() *configv1.Tenant {
	return &configv1.Tenant{Name: "tenants/" + tenantID, DisplayName: "Bench"}
}

// usage is the i-th event.
func (b *bed) usage(i int) *event.Event {
	subject := int(uint64(i) * 0x9e3779b97f4a7c15 >> 33 % uint64(b.subjects))
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &event.Event{
		ID: fmt.Sprintf("e-%09d", i), Source: "mediation", Type: "usage.charged", Tenant: tenantID, Subject: fmt.Sprintf("4915%08d", subject),
		Time: now, ReceivedAt: now,
		Data: &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: &money.Money{CurrencyCode: "EUR", Nanos: 120_000_000}},
	}
}

// end is how many records a topic has.
func end(ctx context.Context, client *stream.Client, topic string, partitions int) (n int64, err error) {
	var faults []error
	for p := range partitions {
		_, last, err := client.Offsets(ctx, topic, int32(p))
		n += last
		faults = append(faults, err)
	}
	return n, errors.Join(faults...)
}
