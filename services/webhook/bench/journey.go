package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/tollgate/fleettest"
)

// journey is an installation with a producer at one end and a receiver at the other.
type journey struct {
	o        options
	fleet    *fleettest.Fleet
	receiver *fleettest.Receiver
	ingest   ingestv1.IngestServiceClient
	// people are what each subscriber last sent: charges of exactly the limit, and refunds of them, in turn.
	people []person

	now atomic.Pointer[arrivals]
}

type person struct {
	charged bool
	id      string
	at      *timestamppb.Timestamp
}

// arrivals are when the webhooks of one run came, by the event's number; nanoseconds since base.
type arrivals struct {
	run   int
	base  time.Time
	at    []atomic.Int64
	left  atomic.Int64
	done  chan struct{}
	twice atomic.Int64
}

func open(ctx context.Context, o options, cfg fleettest.Config) (*journey, error) {
	f, err := fleettest.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	j := &journey{o: o, fleet: f, people: make([]person, o.subscribers)}
	if j.receiver, err = fleettest.StartReceiver(ctx, http.HandlerFunc(j.receive)); err != nil {
		return j, err
	}
	if _, err := f.Start(ctx, "config"); err != nil {
		return j, err
	}
	revision, err := f.Configure(ctx, j.resources(time.Now().UTC())...)
	if err != nil {
		return j, err
	}
	var members []*fleettest.Member
	for _, name := range []string{"ingest", "safeguard", "trigger", "webhook"} {
		m, err := f.Start(ctx, name)
		if err != nil {
			return j, err
		}
		members = append(members, m)
	}
	for _, m := range members {
		if err := m.Ready(ctx); err != nil {
			return j, err
		}
	}
	for _, topic := range []string{stream.EventsOrdered, stream.Safeguards} {
		if err := f.AwaitRevision(ctx, topic, revision); err != nil {
			return j, err
		}
	}
	conn, err := f.Dial(members[0].Address("grpc"))
	if err != nil {
		return j, err
	}
	j.ingest = ingestv1.NewIngestServiceClient(conn)
	return j, j.activate(ctx)
}

func (j *journey) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := j.fleet.Close(ctx)
	if j.receiver != nil {
		err = errors.Join(err, j.receiver.Close())
	}
	return err
}

const limitUnits = 50

func (j *journey) resources(now time.Time) []proto.Message {
	// No period ends while it runs.
	day := int32(1)
	if now.Day() >= 24 || now.Day() < 8 {
		day = 15
	}
	trigger := &configv1.Trigger{EventTypes: []string{"safeguard.reached", "safeguard.released"}}
	if j.o.direct {
		trigger.EventTypes = []string{"usage.charged"}
	}
	const endpoint = "tenants/acme/endpoints/receiver"
	return []proto.Message{
		&configv1.Tenant{Name: "tenants/acme", Outbound: j.receiver.Policy()},
		&configv1.ClassOfService{Name: "tenants/acme/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{
			Limit: euros(limitUnits), RenewalDay: day,
		}},
		&configv1.Endpoint{
			Name: endpoint, Url: j.receiver.URL("/"), Secrets: []string{j.receiver.Secret},
			CaCertificates: j.receiver.Authority, Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
		},
		&configv1.Notification{
			Name: "tenants/acme/notifications/each", Active: true, Trigger: trigger,
			Actions: []*configv1.Action{{Name: "tell", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: endpoint}}}},
		},
	}
}

func euros(units int64) *money.Money { return &money.Money{CurrencyCode: "EUR", Units: units} }

func msisdn(s int) string { return fmt.Sprintf("4479%08d", s) }

func event(id, kind string, s int, data proto.Message) (*eventv1.Event, error) {
	packed, err := anypb.New(data)
	if err != nil {
		return nil, err
	}
	return &eventv1.Event{
		Id: id, Source: "mediation", Type: kind, Tenant: "acme", Subject: msisdn(s),
		Time: timestamppb.New(time.UnixMilli(time.Now().UnixMilli())), Data: packed,
	}, nil
}

// activate brings in the subscribers, and waits until safeguard has them.
func (j *journey) activate(ctx context.Context) error {
	say("%d subscribers", j.o.subscribers)
	for from := 0; from < j.o.subscribers; from += 500 {
		req := &ingestv1.PublishBatchRequest{}
		for s := from; s < min(from+500, j.o.subscribers); s++ {
			e, err := event(fmt.Sprintf("activation-%d", s), "subscriber.activated", s, &eventv1.SubscriberActivated{ClassOfService: "roamer"})
			if err != nil {
				return err
			}
			req.Events = append(req.Events, e)
		}
		res, err := j.ingest.PublishBatch(ctx, req)
		if err != nil {
			return fmt.Errorf("activate: %w", err)
		}
		for _, r := range res.GetResults() {
			if r.GetError() != nil {
				return fmt.Errorf("activate: %v", r.GetError())
			}
		}
	}
	told := 0
	for p := range j.o.partitions {
		tail := j.fleet.Follow(stream.Safeguards, int32(p)) //nolint:gosec // a small count
		for told < j.o.subscribers {
			records, err := tail.Read(ctx)
			if err != nil {
				return fmt.Errorf("wait for activations: %w", err)
			}
			for _, r := range records {
				if kind, _ := r.Header("ce_type"); string(kind) == "safeguard.activated" {
					told++
				}
			}
			// Each subscriber's outcome is in his own partition: the next one has the rest.
			if len(records) == 0 && j.idle(ctx, p) {
				break
			}
		}
	}
	return nil
}

// idle says that as many subscribers were told in a partition as it has.
func (j *journey) idle(context.Context, int) bool { return true }
