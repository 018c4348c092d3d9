package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/rpc"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// answer is the final answer to a caller.
type answer struct {
	id string
	// allowed of a charge, refusal why not; code is the reason of an error.
	allowed       bool
	refusal, code string
	charge        bool
}

// callers change options and charge payments at both replicas, and ask again under the same reference until the answer is final.
type callers struct {
	bed *bed
	// whom returns a subscriber to call about.
	whom func(r *rand.Rand) subject

	mu      sync.Mutex
	answers []answer
	unknown int // times that a caller had to ask again
	serial  int
}

const callersAtOnce = 4

// run calls until stop is closed, and returns once every caller has its answer.
func (c *callers) run(ctx context.Context, stop <-chan struct{}, seed uint64) error {
	var work sync.WaitGroup
	faults := make([]error, callersAtOnce)
	for i := range callersAtOnce {
		work.Add(1)
		go func() {
			defer work.Done()
			faults[i] = c.caller(ctx, stop, rand.New(rand.NewPCG(seed, uint64(100+i))))
		}()
	}
	work.Wait()
	return errors.Join(faults...)
}

func (c *callers) caller(ctx context.Context, stop <-chan struct{}, r *rand.Rand) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
		c.mu.Lock()
		c.serial++
		id := fmt.Sprintf("call-%d", c.serial)
		c.mu.Unlock()
		about := c.whom(r)
		t, err := c.settle(ctx, r, c.draw(r, id, about.number, currency(about.class)))
		if err != nil {
			return err
		}
		t.id = id
		c.mu.Lock()
		c.answers = append(c.answers, t)
		c.mu.Unlock()
	}
}

// ask is one call, as often as it takes.
type ask func(ctx context.Context, conn *grpc.ClientConn) (answer, error)

func (c *callers) draw(r *rand.Rand, id, number, money string) ask {
	name := "tenants/acme/subscribers/" + number
	state := func(others ...eventv1.Safeguard_State) eventv1.Safeguard_State {
		if r.IntN(2) == 0 {
			return model.Active
		}
		return others[r.IntN(len(others))]
	}
	switch n := r.IntN(10); {
	case n < 5:
		req := &optionsv1.ChargeRequest{Name: name, TransactionReference: id, Amount: model.Money(1+r.Int64N(17*model.Unit), money)}
		return func(ctx context.Context, conn *grpc.ClientConn) (answer, error) {
			res, err := optionsv1.NewEnforcementServiceClient(conn).Charge(ctx, req)
			return answer{charge: true, allowed: res.GetAllowed(), refusal: res.GetRefusal()}, err
		}
	case n < 8:
		req := &optionsv1.ChangeOverspendSafeguardRequest{Name: name + "/options/overspendSafeguard", TransactionReference: id, State: state(model.Inactive)}
		if r.IntN(2) == 0 {
			req.CurrentLimit = model.Money(r.Int64N(80)*model.Unit, money)
		}
		if r.IntN(4) == 0 {
			req.NextLimit = model.Money(r.Int64N(80)*model.Unit, money)
		}
		return func(ctx context.Context, conn *grpc.ClientConn) (answer, error) {
			_, err := optionsv1.NewOptionSubscriptionServiceClient(conn).ChangeOverspendSafeguard(ctx, req)
			return answer{}, err
		}
	case n < 9:
		req := &optionsv1.ChangeDataSafeguardRequest{Name: name + "/options/dataSafeguard", TransactionReference: id, State: state(model.Temporarily, model.Permanently)}
		return func(ctx context.Context, conn *grpc.ClientConn) (answer, error) {
			_, err := optionsv1.NewOptionSubscriptionServiceClient(conn).ChangeDataSafeguard(ctx, req)
			return answer{}, err
		}
	default:
		req := &optionsv1.ChangePaymentSafeguardRequest{Name: name + "/options/paymentSafeguard", TransactionReference: id, State: state(model.Inactive)}
		if r.IntN(3) == 0 {
			day := int32(1 + r.IntN(28))
			req.RenewalDay = &day
		}
		return func(ctx context.Context, conn *grpc.ClientConn) (answer, error) {
			_, err := optionsv1.NewOptionSubscriptionServiceClient(conn).ChangePaymentSafeguard(ctx, req)
			return answer{}, err
		}
	}
}

// settle asks one replica or the other until the answer is final.
func (c *callers) settle(ctx context.Context, r *rand.Rand, a ask) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	for {
		t, err := c.once(ctx, c.bed.address(r.IntN(2)), a)
		if err == nil {
			return t, nil
		}
		var f *fault.Error
		if errors.As(err, &f) && f.Kind != fault.Unavailable && f.Reason != "" {
			t.code = f.Reason
			return t, nil
		}
		c.mu.Lock()
		c.unknown++
		c.mu.Unlock()
		if !pause.For(ctx, 50*time.Millisecond) {
			return t, fmt.Errorf("a call was never answered: %w", err)
		}
	}
}

func (c *callers) once(ctx context.Context, address string, a ask) (answer, error) {
	conn, err := c.bed.conn(address)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return a(ctx, conn)
}

// conns are connections by address; replicas come back at others.
type conns struct {
	mu    sync.Mutex
	key   string
	known map[string]*grpc.ClientConn
}

func (c *conns) conn(address string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.known[address]; known != nil {
		return known, nil
	}
	conn, err := rpc.Dial(address, c.key)
	if err == nil {
		c.known[address] = conn
	}
	return conn, err
}

func (c *conns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.known {
		conn.Close() //nolint:errcheck // nothing is under way
	}
}
