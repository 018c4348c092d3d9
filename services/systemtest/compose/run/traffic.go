package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// victims are killed in this order, one of each consumer on the way of an event. Each is back before the next.
var victims = []string{"webhook-1", "trigger-1", "safeguard-1", "ingest-1"}

const counted = "tenants/counted"

// traffic sends events of one tenant, each of a subject of its own, and counts the webhooks about them.
type traffic struct {
	product  *product
	receiver *fleet.Receiver
	ingests  []*grpc.ClientConn

	mu sync.Mutex
	// ids are the webhook ids by subject, and again counts those that came once more.
	ids    map[string][]string
	again  int
	first  int // event that has not arrived
	faults []error
}

// openTraffic configures the tenant.
func openTraffic(ctx context.Context, p *product) (t *traffic, err error) {
	t = &traffic{product: p, ids: map[string][]string{}}
	if t.receiver, err = fleet.StartReceiver(ctx, http.HandlerFunc(t.receive)); err != nil {
		return nil, err
	}
	for _, name := range []string{"ingest-1:7020", "ingest-2:7020"} {
		conn, err := rpc.Dial(p.at[name], p.key)
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		t.ingests = append(t.ingests, conn)
	}
	if err := t.configure(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("configure the traffic: %w", err), t.close())
	}
	return t, nil
}

func (t *traffic) configure(ctx context.Context) error {
	conn, err := rpc.Dial(t.product.at["config:7010"], t.product.key)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // its calls have been answered
	_, err = configv1.NewTenantServiceClient(conn).CreateTenant(ctx, &configv1.CreateTenantRequest{
		Tenant: &configv1.Tenant{Name: counted, Outbound: t.receiver.Policy()},
	})
	if err != nil {
		return err
	}
	_, err = configv1.NewEndpointServiceClient(conn).CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: &configv1.Endpoint{
		Name: counted + "/endpoints/counter", Url: t.receiver.URL("/"), Secrets: []string{t.receiver.Secret},
		CaCertificates: t.receiver.Authority, Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
	}})
	if err != nil {
		return err
	}
	_, err = configv1.NewNotificationServiceClient(conn).CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: &configv1.Notification{
		Name: counted + "/notifications/each", Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"usage.charged"}},
		Actions: []*configv1.Action{{
			Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: counted + "/endpoints/counter"}},
		}},
	}})
	return err
}

func (t *traffic) close() error {
	err := t.receiver.Close()
	for _, conn := range t.ingests {
		err = errors.Join(err, conn.Close())
	}
	return err
}

// receive verifies before it counts.
func (t *traffic) receive(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender was killed
	}
	var body struct {
		Subject string `json:"subject"`
	}
	err = errors.Join(t.receiver.Verify(r.Header, content), json.Unmarshal(content, &body))
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.faults = append(t.faults, err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if id := r.Header.Get("webhook-id"); slices.Contains(t.ids[body.Subject], id) {
		t.again++
	} else {
		t.ids[body.Subject] = append(t.ids[body.Subject], id)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (t *traffic) repeats() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.again
}

func (t *traffic) arrived() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ids)
}

// inFlight is how many events may wait for their answer at once.
const inFlight = 32

// arrivedUpTo is the number of the first event that has not arrived.
func (t *traffic) arrivedUpTo() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.ids[subject(t.first)]) > 0 {
		t.first++
	}
	return t.first
}

func subject(n int) string { return fmt.Sprintf("4479%08d", n) }

// run sends events at a rate until each victim was killed, its twin went on without it and it is back; then it waits for
// every webhook, and returns how many events there were.
func (t *traffic) run(ctx context.Context, rate int) (events int, err error) {
	var accepted atomic.Int64
	failed, enough := make(chan error, 1), make(chan struct{})
	ended := make(chan int, 1)
	go func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		var all errgroup.Group
		all.SetLimit(inFlight)
		n := 0
		for going := true; going; n++ {
			number := n
			all.Go(func() error {
				err := t.send(ctx, number)
				if err == nil {
					accepted.Add(1)
				}
				return err
			})
			select {
			case <-tick.C:
			case <-enough:
				going = false
			}
		}
		if err := all.Wait(); err != nil {
			failed <- err
		}
		ended <- n
	}()
	for _, victim := range victims {
		before := accepted.Load() + int64(rate)
		if err = await(ctx, 3*time.Minute, "events to be accepted", func() (bool, error) { return accepted.Load() >= before, nil }); err != nil {
			break
		}
		if err = t.without(ctx, victim, func() int { return int(accepted.Load()) }, rate); err != nil {
			break
		}
	}
	close(enough)
	events = <-ended
	select {
	case other := <-failed:
		err = errors.Join(err, other)
	default:
	}
	if err != nil {
		return events, err
	}
	return events, t.all(ctx, events)
}

// without kills the victim, waits until every event up to a second after that has arrived without it, and starts it again.
func (t *traffic) without(ctx context.Context, victim string, accepted func() int, rate int) error {
	fleet.Report("killing %s: %d events accepted, %d arrived", victim, accepted(), t.arrived())
	if err := t.product.kill(ctx, victim); err != nil {
		return err
	}
	begun, upTo := time.Now(), accepted()+rate
	err := await(ctx, 3*time.Minute, fmt.Sprintf("the twin of %s to deliver every event up to %d", victim, upTo), func() (bool, error) { return t.arrivedUpTo() >= upTo, nil })
	if err != nil {
		return err
	}
	fleet.Report("the twin of %s has delivered every event up to %d %.1f s after the kill", victim, upTo, time.Since(begun).Seconds())
	if strings.HasPrefix(victim, "safeguard") {
		// The webhooks that are counted are about usage, past safeguard; those of the demo are about what safeguard has counted.
		if err := t.product.demoAgain(ctx); err != nil {
			return fmt.Errorf("without %s: %w", victim, err)
		}
	}
	return t.product.start(ctx, victim)
}

// send repeats an event under its id, by one ingest or the other, until it is accepted.
func (t *traffic) send(ctx context.Context, n int) error {
	data, err := anypb.New(&eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Unit: "byte", Quantity: 1000})
	if err != nil {
		return err
	}
	event := &eventv1.Event{
		Id: fmt.Sprintf("counted-%d", n), Source: "test-compose", Type: "usage.charged", Tenant: "counted",
		Subject: subject(n), Time: timestamppb.Now(), Data: data,
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for try := n; ; try++ {
		_, err := ingestv1.NewIngestServiceClient(t.ingests[try%len(t.ingests)]).Publish(ctx, &ingestv1.PublishRequest{Event: event})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || fault.KindOf(err) != fault.Unavailable {
			return fmt.Errorf("send event %d: %w", n, err)
		}
	}
}

// all waits for the webhook of every event, and compares: one id for each, and none that can't be verified.
func (t *traffic) all(ctx context.Context, events int) error {
	if err := await(ctx, 2*time.Minute, fmt.Sprintf("all %d webhooks", events), func() (bool, error) { return t.arrived() >= events, nil }); err != nil {
		return fmt.Errorf("%w: %d arrived", err, t.arrived())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	faults := t.faults
	for n := range events {
		if ids := t.ids[subject(n)]; len(ids) != 1 {
			faults = append(faults, fmt.Errorf("event %d arrived under the ids %q", n, ids))
		}
	}
	if len(t.ids) != events {
		faults = append(faults, fmt.Errorf("webhooks about %d subjects arrived, %d were sent", len(t.ids), events))
	}
	return errors.Join(faults...)
}
