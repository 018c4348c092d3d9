package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// created is a good event of the tenant that misbehaves.
func created(id, subject string) *eventv1.Event {
	return (&event.Event{ID: id, Source: "crowd", Type: "client.created", Tenant: "bad", Subject: subject, Time: time.Now(), Data: &eventv1.ClientChanged{}}).Proto()
}

// crowds are many at once, and one event that leads to many.
func crowds() []attempt {
	return []attempt{
		{"crowd: 200 callers of 190 KB at once", func(ctx context.Context, b *bed) (string, error) {
			return together(ctx, b, 200, 1000)
		}},
		{"crowd: 1,000 callers of one event at once", func(ctx context.Context, b *bed) (string, error) {
			return together(ctx, b, 1000, 1)
		}},
		{"crowd: 60 notifications of 20 actions on one type, one event", func(ctx context.Context, b *bed) (string, error) {
			return fanOut(ctx, b, 60, 1)
		}},
		{"crowd: 120 notifications of 20 actions on one type, 100 events", func(ctx context.Context, b *bed) (string, error) {
			return fanOut(ctx, b, 120, 100)
		}},
	}
}

// together sends n batches at once. Each is accepted as a whole or answered with a time to try again.
func together(ctx context.Context, b *bed, n, events int) (string, error) {
	client := ingestv1.NewIngestServiceClient(b.key["ingest"])
	var group sync.WaitGroup
	var mu sync.Mutex
	answers := map[codes.Code]int{}
	for i := range n {
		batch := &ingestv1.PublishBatchRequest{}
		for k := range events {
			// No notification is for these: the attack is on ingest, not on how many webhooks a second go out.
			e := created(fmt.Sprintf("c-%d-%d-%d", time.Now().UnixNano(), i, k), fmt.Sprintf("client/%s", strings.Repeat("7", 100)))
			e.Type = "client.deleted"
			batch.Events = append(batch.Events, e)
		}
		group.Go(func() {
			_, err := client.PublishBatch(ctx, batch)
			mu.Lock()
			defer mu.Unlock()
			answers[status.Code(err)]++
		})
	}
	group.Wait()
	for code := range answers {
		if code != codes.OK && code != codes.ResourceExhausted {
			return "", fmt.Errorf("answered %v", answers)
		}
	}
	return fmt.Sprint(answers), nil
}

// fanOut makes notifications on one type, then sends events of it.
func fanOut(ctx context.Context, b *bed, notifications, events int) (string, error) {
	service := configv1.NewNotificationServiceClient(b.key["config"])
	var revision int64
	// Deleted names stay taken.
	name := func(i int) string { return fmt.Sprintf("tenants/bad/notifications/fan-%d-%03d", notifications, i) }
	for i := range notifications {
		n := notification(name(i), "", "client.updated")
		action := n.Actions[0]
		n.Actions = nil
		for k := range 20 {
			one := proto.CloneOf(action)
			one.Name = fmt.Sprintf("a%02d", k)
			n.Actions = append(n.Actions, one)
		}
		saved, err := service.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: n, AllowMissing: true})
		if err != nil {
			return "", err
		}
		revision = saved.GetMetadata().GetRevision()
	}
	if err := b.fleet.AwaitRevision(ctx, stream.EventsOrdered, revision); err != nil {
		return "", err
	}
	ids := map[string]bool{}
	batch := &ingestv1.PublishBatchRequest{}
	for i := range events {
		e := created(fmt.Sprintf("fan-%d-%d", time.Now().UnixNano(), i), fmt.Sprintf("client/%d", i))
		e.Type = "client.updated"
		batch.Events = append(batch.Events, e)
		ids[e.GetId()] = true
	}
	if _, err := ingestv1.NewIngestServiceClient(b.key["ingest"]).PublishBatch(ctx, batch); err != nil {
		return "", err
	}
	if err := fannedOut(ctx, b, ids, notifications*20); err != nil {
		return "", err
	}
	for i := range notifications {
		if _, err := service.DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: name(i)}); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d events to %d actions each", events, notifications*20), nil
}

// maxPlanned is how many deliveries one event plans at most.
const maxPlanned = 2000

// fannedOut waits until each event has planned what it may, of all its actions, and has one Decision of the rest.
func fannedOut(ctx context.Context, b *bed, events map[string]bool, actions int) error {
	want, left := min(actions, maxPlanned)*len(events), max(0, actions-maxPlanned)
	planned := 0
	err := following(ctx, b, webhook.Channel.Topic, func(value []byte) (bool, error) {
		var d deliveryv1.Delivery
		if err := proto.Unmarshal(value, &d); err != nil {
			return false, err
		}
		if events[d.GetEvent().GetId()] {
			planned++
		}
		return planned >= want, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d deliveries are planned: %w", planned, want, err)
	}
	if left == 0 {
		return nil
	}
	decided := map[string]bool{}
	err = following(ctx, b, stream.TriggersDecisions, func(value []byte) (bool, error) {
		var d triggerv1.Decision
		if err := proto.Unmarshal(value, &d); err != nil {
			return false, err
		}
		if id := d.GetEvent().GetId(); events[id] {
			if d.GetReason() != triggerv1.Decision_REASON_FAN_OUT || d.GetCount() != int64(left) {
				return false, fmt.Errorf("event %s has a Decision %s of %d, not FAN_OUT of %d", id, d.GetReason(), d.GetCount(), left)
			}
			decided[id] = true
		}
		return len(decided) == len(events), nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d events have their Decision: %w", len(decided), len(events), err)
	}
	return nil
}

// following reads a topic from its beginning until enough returns true.
func following(ctx context.Context, b *bed, topic string, enough func(value []byte) (bool, error)) error {
	n, err := b.fleet.Client.Partitions(ctx, b.fleet.Client.Topic(topic))
	if err != nil {
		return err
	}
	tails := make([]*fleet.Tail, n)
	for p := range tails {
		tails[p] = b.fleet.Follow(topic, int32(p))
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		moved := false
		for _, t := range tails {
			records, err := t.Read(ctx)
			if err != nil {
				return err
			}
			moved = moved || len(records) > 0
			for _, r := range records {
				if done, err := enough(r.Value); err != nil || done {
					return err
				}
			}
		}
		if moved {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
