package consumers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tollgate/tollgate/pkg/pause"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// consumer is one subscription, and what it got.
type consumer struct {
	*Group
	name    string
	ordered bool
	random  *rand.Rand

	mu sync.Mutex
	// unmarked is how often each event came without a mark; an event that came only marked has 0.
	unmarked map[string]int
	// last is, with order, the highest number that came of each subject.
	last     [subjects]int
	disorder []string
	received int64
}

func newConsumer(g *Group, i int, seed uint64) *consumer {
	return &consumer{
		Group: g, name: fmt.Sprint("soak-", i), ordered: i%3 < 2, random: rand.New(rand.NewPCG(seed, uint64(100+i))),
		unmarked: map[string]int{},
	}
}

// run subscribes again and again, until ctx ends. The error is one that no kill explains.
func (c *consumer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		// Left behind: the stream stays open on its replica, and nobody reads it.
		one, leave := context.WithCancel(ctx)
		abandoned, err := c.life(one)
		if !abandoned {
			leave()
		} else {
			defer leave()
		}
		switch status.Code(err) {
		case codes.OK, codes.Unavailable, codes.Canceled, codes.Aborted, codes.DeadlineExceeded, codes.ResourceExhausted:
		default:
			if ctx.Err() == nil && !errors.Is(err, io.EOF) {
				leave()
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		pause.For(ctx, time.Duration(c.random.IntN(300))*time.Millisecond)
	}
	return nil
}

// life is one stream on one replica, until it ends or the consumer has enough of it.
func (c *consumer) life(ctx context.Context) (abandoned bool, err error) {
	conn, err := c.fleet.Dial(c.replicas[c.random.IntN(len(c.replicas))].Address("grpc"))
	if err != nil {
		return false, nil //nolint:nilerr // it is being started again
	}
	s, err := ingestv1.NewEventQueueServiceClient(conn).Subscribe(ctx)
	if err != nil {
		return false, err
	}
	if err := s.Send(&ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Subscription{Subscription: &ingestv1.Subscription{
		Tenant: c.tenant, Name: c.name, Types: []string{"client.*"}, Ordered: c.ordered, Filter: `subject != ""`,
		Start: &ingestv1.Start{At: &ingestv1.Start_Earliest{Earliest: &emptypb.Empty{}}},
	}}}); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	// It is left after a while, in some way.
	over := time.Now().Add(time.Duration(2+c.random.IntN(20)) * time.Second)
	for {
		res, err := s.Recv()
		if err != nil {
			return false, err
		}
		ack, err := c.take(res.GetEvents())
		if err != nil {
			return false, err
		}
		if time.Now().After(over) && len(res.GetEvents()) > 0 {
			switch c.random.IntN(3) {
			case 0:
				return true, nil
			case 1:
				return false, s.CloseSend()
			default:
				return false, nil
			}
		}
		if ack == nil {
			continue
		}
		pause.For(ctx, time.Duration(c.random.IntN(20))*time.Millisecond)
		if err := s.Send(&ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Ack{Ack: ack}}); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
	}
}

// take notes what came, and makes an ack for it, of one kind or the other.
func (c *consumer) take(events []*ingestv1.QueuedEvent) (*ingestv1.Ack, error) {
	if len(events) == 0 {
		return nil, nil //nolint:nilnil // nothing to acknowledge
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received += int64(len(events))
	for _, e := range events {
		id := e.GetEvent().GetId()
		subject, number, err := parsed(id)
		if err != nil {
			return nil, err
		}
		if e.GetEvent().GetTenant() != c.tenant {
			return nil, fmt.Errorf("%s is of tenant %s", id, e.GetEvent().GetTenant())
		}
		if n := c.unmarked[id]; e.GetMayHaveBeenSeen() {
			c.unmarked[id] = n
		} else {
			c.unmarked[id] = n + 1
		}
		if c.ordered {
			if number > c.last[subject]+1 {
				c.disorder = append(c.disorder, fmt.Sprintf("%s: %s came after number %d", c.name, id, c.last[subject]))
			}
			c.last[subject] = max(c.last[subject], number)
		}
	}
	if c.random.IntN(2) == 0 {
		return &ingestv1.Ack{Cursor: events[len(events)-1].GetCursor()}, nil
	}
	a := &ingestv1.Ack{}
	for _, e := range events {
		switch c.random.IntN(100) {
		case 0: // forgotten: it comes again after 30 s
		case 1:
			a.Events = append(a.Events, &ingestv1.EventAck{Cursor: e.GetCursor(), GivenUp: &ingestv1.GivenUp{Reason: "soak"}})
		case 2, 3:
			a.Events = append(a.Events, &ingestv1.EventAck{Id: e.GetEvent().GetId(), Source: e.GetEvent().GetSource(), Subject: e.GetEvent().GetSubject()})
		default:
			a.Events = append(a.Events, &ingestv1.EventAck{Cursor: e.GetCursor()})
		}
	}
	if len(a.Events) == 0 {
		return nil, nil //nolint:nilnil // all are forgotten
	}
	return a, nil
}

// missing is how many events did not come yet.
func (c *consumer) missing() (n int) {
	last := c.log.numbers()
	c.mu.Lock()
	defer c.mu.Unlock()
	for subject, highest := range last {
		for number := 1; number <= highest; number++ {
			if _, came := c.unmarked[fmt.Sprintf("%d-%d", subject, number)]; !came {
				n++
			}
		}
	}
	return n
}

// compare counts what went wrong, and reports examples.
func (c *consumer) compare(inLog map[string]int) (lost, doubled, disorder int, received int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range inLog {
		came, ok := c.unmarked[id]
		switch {
		case !ok:
			if lost++; lost <= 5 {
				fleet.Report("%s: %s never came", c.name, id)
			}
		case came > n:
			if doubled++; doubled <= 5 {
				fleet.Report("%s: %s came %d times without a mark, the log has it %d times", c.name, id, came, n)
			}
		}
	}
	for i, example := range c.disorder {
		if i < 5 {
			fleet.Report("%s", example)
		}
	}
	return lost, doubled, len(c.disorder), c.received
}
