package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

const (
	typeAction  = "client.updated"
	typeArrives = "balance.changed"
	// callers decide one action after the other, each about objects of its own.
	callers = 16
	objects = 8
	// callTimeout is the deadline of a call.
	callTimeout = 3 * time.Second
	// perTick events arrive every tick, about so many subjects.
	perTick  = 3
	tick     = 50 * time.Millisecond
	subjects = 50
)

// traffic decides actions and publishes events.
type traffic struct {
	bed   *soak.Bed
	check *check
	seed  uint64

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
	round int
	next  [subjects]int
}

func newTraffic(b *soak.Bed, c *check, seed uint64) *traffic {
	return &traffic{bed: b, check: c, seed: seed, conns: map[string]*grpc.ClientConn{}}
}

// client is one of a random replica, where that listens now.
func (t *traffic) client(random *rand.Rand) (provisionv1.ProvisioningServiceClient, error) {
	address := t.bed.Replicas[random.IntN(len(t.bed.Replicas))].Address("grpc")
	t.mu.Lock()
	defer t.mu.Unlock()
	if conn := t.conns[address]; conn != nil {
		return provisionv1.NewProvisioningServiceClient(conn), nil
	}
	conn, err := t.bed.Fleet.Dial(address)
	if err != nil {
		return nil, err
	}
	t.conns[address] = conn
	return provisionv1.NewProvisioningServiceClient(conn), nil
}

func action(object int, key string, dryRun bool) (*provisionv1.DecideRequest, error) {
	id := strconv.Itoa(object)
	data, err := anypb.New(&eventv1.ClientChanged{Client: &eventv1.Account{Id: id, Name: key}})
	return &provisionv1.DecideRequest{
		Tenant: tenant, Type: typeAction, ObjectId: id, Data: data, IdempotencyKey: key, Correlation: key, DryRun: dryRun,
	}, err
}

// inForce waits until both replicas ask, and until they have a position in every partition of the log.
func (t *traffic) inForce(ctx context.Context) error {
	for i := range t.bed.Replicas {
		conn, err := t.bed.Fleet.Dial(t.bed.Replicas[i].Address("grpc"))
		if err != nil {
			return err
		}
		for asked := false; !asked; {
			req, err := action(0, "warm", true)
			if err != nil {
				return err
			}
			res, err := provisionv1.NewProvisioningServiceClient(conn).Decide(ctx, req)
			if asked = err == nil && len(res.GetHandlers()) > 0; !asked && !pause.For(ctx, 50*time.Millisecond) {
				return ctx.Err()
			}
		}
	}
	topic := t.bed.Fleet.Client.Topic(stream.EventsOrdered)
	var ask []stream.Position
	for p := range soak.Partitions {
		ask = append(ask, stream.Position{Topic: topic, Partition: int32(p)})
	}
	for {
		found, err := t.bed.Fleet.Client.Positions(ctx, "provision", ask)
		if err != nil {
			return err
		}
		begun := 0
		for _, p := range found {
			if p.Offset >= 0 {
				begun++
			}
		}
		if begun == len(ask) {
			return nil
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// decide has all callers decide until stretch ends; each then goes on until its last action is answered.
func (t *traffic) decide(ctx, stretch context.Context) error {
	t.round++
	var all sync.WaitGroup
	failed := make(chan error, callers)
	for c := range callers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(t.seed, uint64(1000*t.round+c)))
			for n := 0; stretch.Err() == nil; n++ {
				key := fmt.Sprintf("r%d-c%d-%d", t.round, c, n)
				if err := t.one(ctx, random, c*objects+random.IntN(objects), key); err != nil {
					failed <- fmt.Errorf("%s: %w", key, err)
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// one repeats an action until it is answered, and one in ten then once more.
func (t *traffic) one(ctx context.Context, random *rand.Rand, object int, key string) error {
	req, err := action(object, key, false)
	if err != nil {
		return err
	}
	answered := false
	for {
		client, err := t.client(random)
		if err != nil {
			return err
		}
		calling, cancel := context.WithTimeout(ctx, callTimeout)
		res, err := client.Decide(calling, req)
		cancel()
		if err == nil {
			t.check.answered(object, key, res)
			if answered || random.IntN(10) > 0 {
				return nil
			}
			answered = true
			continue
		}
		switch status.Code(err) {
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
		default:
			return err
		}
		if !pause.For(ctx, time.Duration(50+random.IntN(300))*time.Millisecond) {
			return fmt.Errorf("not answered: %w", err)
		}
	}
}

// publish puts numbered events into the log until stretch ends, as ingest does.
func (t *traffic) publish(ctx, stretch context.Context) error {
	producer := t.bed.Fleet.Client.NewProducer()
	random := rand.New(rand.NewPCG(t.seed, uint64(t.round)))
	topic := t.bed.Fleet.Client.Topic(stream.EventsOrdered)
	for pause.For(stretch, tick) {
		var batch []stream.Record
		for range perTick {
			subject := random.IntN(subjects)
			t.next[subject]++
			r, err := numbered(subject, t.next[subject]).Record(topic)
			if err != nil {
				return err
			}
			batch = append(batch, r)
		}
		if err := producer.Produce(ctx, batch...); err != nil { // it tries until ctx ends
			return err
		}
	}
	t.check.published(t.next)
	closing, end := context.WithTimeout(ctx, time.Minute)
	defer end()
	return producer.Close(closing)
}

func numbered(subject, number int) *event.Event {
	now := time.Now().UTC().Truncate(time.Millisecond)
	id := fmt.Sprintf("%d-%d", subject, number)
	return &event.Event{
		ID: id, Source: "billing", Type: typeArrives, Tenant: tenant, Subject: fmt.Sprintf("account/%d", subject), Time: now, ReceivedAt: now,
		Data: &eventv1.BalanceChanged{Offer: id},
	}
}
