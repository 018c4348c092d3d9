package fleet

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// Configure creates resources, in the order given, and returns the revision of the last.
func (f *Fleet) Configure(ctx context.Context, resources ...proto.Message) (int64, error) {
	conn, err := f.Dial(f.Configuration())
	if err != nil {
		return 0, fmt.Errorf("configure: %w", err)
	}
	var made interface{ GetMetadata() *configv1.Metadata }
	for _, resource := range resources {
		var err error
		switch r := resource.(type) {
		case *configv1.Tenant:
			made, err = configv1.NewTenantServiceClient(conn).CreateTenant(ctx, &configv1.CreateTenantRequest{Tenant: r})
		case *configv1.ClassOfService:
			made, err = configv1.NewClassOfServiceServiceClient(conn).CreateClassOfService(ctx, &configv1.CreateClassOfServiceRequest{ClassOfService: r})
		case *configv1.Endpoint:
			made, err = configv1.NewEndpointServiceClient(conn).CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: r})
		case *configv1.SmtpProfile:
			made, err = configv1.NewSmtpProfileServiceClient(conn).CreateSmtpProfile(ctx, &configv1.CreateSmtpProfileRequest{SmtpProfile: r})
		case *configv1.Notification:
			made, err = configv1.NewNotificationServiceClient(conn).CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: r})
		case *configv1.Hook:
			made, err = configv1.NewHookServiceClient(conn).CreateHook(ctx, &configv1.CreateHookRequest{Hook: r})
		default:
			err = fmt.Errorf("there is no resource %T", r)
		}
		if err != nil {
			return 0, fmt.Errorf("configure %v: %w", resource, err)
		}
	}
	return made.GetMetadata().GetRevision(), nil
}

// AwaitRevision waits until every partition of a topic has the record from which on a revision is in force.
func (f *Fleet) AwaitRevision(ctx context.Context, topic string, revision int64) error {
	for partition := range f.cfg.Partitions {
		t := f.Follow(topic, int32(partition))
		for found := false; !found; {
			records, err := t.Next(ctx)
			if err != nil {
				return fmt.Errorf("wait for revision %d in %s/%d: %w", revision, topic, partition, err)
			}
			for _, r := range records {
				e, err := event.Decode(r.Value)
				if err != nil {
					return fmt.Errorf("wait for revision %d in %s/%d: %w", revision, topic, partition, err)
				}
				change, ok := e.Data.(*controlv1.Revision)
				found = found || ok && change.GetRevision() >= revision
			}
		}
	}
	return nil
}

// Tail reads one partition from its beginning on.
type Tail struct {
	client    *stream.Client
	topic     string
	partition int32
	next      int64
}

// Follow begins to read a partition of a topic, which is named without prefix.
func (f *Fleet) Follow(topic string, partition int32) *Tail {
	return &Tail{client: f.Client, topic: f.Client.Topic(topic), partition: partition}
}

// Read returns what is there by now, at most some MiB of it; nothing at the end.
func (t *Tail) Read(ctx context.Context) ([]stream.Record, error) {
	b, err := t.client.FetchFrom(ctx, t.topic, t.partition, t.next, 4<<20)
	if err != nil {
		return nil, err
	}
	t.next = b.Next
	return b.Records, nil
}

// Next waits until there is something to read.
func (t *Tail) Next(ctx context.Context) ([]stream.Record, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		records, err := t.Read(ctx)
		if err != nil || len(records) > 0 {
			return records, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
