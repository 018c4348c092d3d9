package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

// Each sender sends one event after the other, about its own subscribers, every pace.
const (
	senders     = 8
	perSender   = 60
	pace        = 30 * time.Millisecond
	limitUnits  = 50
	tenant      = "tenants/acme"
	giveUpAfter = 5 * time.Minute
	// refuses is one in how many webhooks that the receiver answers with 503.
	refuses = 300
)

// traffic sends events and receives the webhooks about them.
type traffic struct {
	bed      *soak.Bed
	check    *check
	receiver *fleet.Receiver
	senders  []*sender

	mu    sync.Mutex
	rand  *rand.Rand
	conns map[string]*grpc.ClientConn
}

// sender is a producer.
type sender struct {
	rand   *rand.Rand
	people []person
}

// person is a subscriber: what was sent about it last.
type person struct {
	msisdn string
	events int
	id     string
	at     *timestamppb.Timestamp
}

func openTraffic(ctx context.Context, b *soak.Bed, c *check, seed uint64) (t *traffic, err error) {
	t = &traffic{bed: b, check: c, rand: rand.New(rand.NewPCG(seed, 9)), conns: map[string]*grpc.ClientConn{}}
	if t.receiver, err = fleet.StartReceiver(ctx, http.HandlerFunc(t.receive)); err != nil {
		return nil, err
	}
	for l := range senders {
		all := &sender{rand: rand.New(rand.NewPCG(seed, uint64(10+l)))}
		for s := range perSender {
			all.people = append(all.people, person{msisdn: fmt.Sprintf("4479%04d%04d", l, s)})
		}
		t.senders = append(t.senders, all)
	}
	return t, errors.Join(t.configure(ctx), t.activate(ctx))
}

func (t *traffic) configure(ctx context.Context) error {
	// No period ends while it runs.
	day := int32(1)
	if now := time.Now().UTC(); now.Day() >= 24 || now.Day() < 8 {
		day = 15
	}
	const endpoint = tenant + "/endpoints/receiver"
	resources := []proto.Message{
		&configv1.Tenant{Name: tenant, Outbound: t.receiver.Policy()},
		&configv1.ClassOfService{Name: tenant + "/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{Limit: euros(limitUnits), RenewalDay: day}},
		&configv1.Endpoint{
			Name: endpoint, Url: t.receiver.URL("/"), Secrets: []string{t.receiver.Secret}, CaCertificates: t.receiver.Authority,
			Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
		},
		&configv1.Notification{
			Name: tenant + "/notifications/each", Active: true,
			Trigger: &configv1.Trigger{EventTypes: []string{"safeguard.reached", "safeguard.released"}},
			Actions: []*configv1.Action{{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: endpoint}}}},
		},
	}
	revision, err := t.bed.Fleet.Configure(ctx, resources...)
	if err := errors.Join(err, t.bed.Ready(ctx)); err != nil {
		return err
	}
	return errors.Join(t.bed.Fleet.AwaitRevision(ctx, stream.EventsOrdered, revision), t.bed.Fleet.AwaitRevision(ctx, stream.Safeguards, revision))
}

func euros(units int64) *money.Money { return &money.Money{CurrencyCode: "EUR", Units: units} }

func (t *traffic) activate(ctx context.Context) error {
	for _, l := range t.senders {
		for i := range l.people {
			p := &l.people[i]
			if err := t.send(ctx, "activation-"+p.msisdn, "subscriber.activated", p.msisdn, &eventv1.SubscriberActivated{ClassOfService: "roamer"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// close leaves connections: they are the fleet's.
func (t *traffic) close() error { return t.receiver.Close() }

// run sends events until stretch ends.
func (t *traffic) run(ctx, stretch context.Context) error {
	var work []func() error
	for _, l := range t.senders {
		work = append(work, func() error {
			for pause.For(stretch, pace) {
				if err := t.next(ctx, &l.people[l.rand.IntN(len(l.people))]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return kills.Together(work...)
}

// next charges a subscriber what brings it to its limit, or refunds what did.
func (t *traffic) next(ctx context.Context, p *person) error {
	u := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: euros(limitUnits)}
	kind := "safeguard.reached"
	if p.events%2 == 1 {
		u.Net, u.Corrects, kind = euros(-limitUnits), &eventv1.Correction{Id: p.id, Time: p.at}, "safeguard.released"
	}
	p.events++
	p.id, p.at = fmt.Sprintf("e-%s-%d", p.msisdn, p.events), timestamppb.New(time.UnixMilli(time.Now().UnixMilli()))
	t.check.expect(p.msisdn, p.id, kind)
	return t.sendAt(ctx, p.id, "usage.charged", p.msisdn, u, p.at)
}

func (t *traffic) send(ctx context.Context, id, kind, msisdn string, data proto.Message) error {
	return t.sendAt(ctx, id, kind, msisdn, data, timestamppb.New(time.UnixMilli(time.Now().UnixMilli())))
}

// sendAt repeats an event under its id, to one replica or the other, until it is accepted.
func (t *traffic) sendAt(ctx context.Context, id, kind, msisdn string, data proto.Message, at *timestamppb.Timestamp) error {
	packed, err := anypb.New(data)
	if err != nil {
		return err
	}
	e := &eventv1.Event{Id: id, Source: "mediation", Type: kind, Tenant: "acme", Subject: msisdn, Time: at, Data: packed}
	ctx, cancel := context.WithTimeout(ctx, giveUpAfter)
	defer cancel()
	for {
		conn, err := t.ingest()
		if err != nil {
			return err
		}
		calling, done := context.WithTimeout(ctx, 10*time.Second)
		_, err = ingestv1.NewIngestServiceClient(conn).Publish(calling, &ingestv1.PublishRequest{Event: e})
		done()
		switch {
		case err == nil:
			return nil
		case fault.KindOf(err) == fault.Invalid || fault.KindOf(err) == fault.Denied:
			return fmt.Errorf("send event %s: %w", id, err)
		case !pause.For(ctx, 50*time.Millisecond):
			return fmt.Errorf("send event %s: %w", id, errors.Join(ctx.Err(), err))
		}
	}
}

// ingest is a replica, at the address that it has by now.
func (t *traffic) ingest() (*grpc.ClientConn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	address := t.bed.Replicas[t.rand.IntN(2)].Address("grpc") // those of ingest are the first
	conn, ok := t.conns[address]
	if !ok {
		var err error
		if conn, err = t.bed.Fleet.Dial(address); err != nil {
			return nil, err
		}
		t.conns[address] = conn
	}
	return conn, nil
}

// receive verifies a webhook, and refuses some.
func (t *traffic) receive(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return // webhook was killed
	}
	var body struct {
		Type    string `json:"type"`
		Subject string `json:"subject"`
		Data    struct {
			Cause struct {
				Event struct {
					ID string `json:"id"`
				} `json:"event"`
			} `json:"cause"`
		} `json:"data"`
	}
	if err := errors.Join(t.receiver.Verify(r.Header, content), json.Unmarshal(content, &body)); err != nil {
		t.check.fault("a webhook that can't be verified: %v", err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	t.mu.Lock()
	refused := t.rand.IntN(refuses) == 0
	t.mu.Unlock()
	if refused {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	t.check.received(body.Subject, body.Data.Cause.Event.ID, body.Type, r.Header.Get("webhook-id"))
	w.WriteHeader(http.StatusNoContent)
}
