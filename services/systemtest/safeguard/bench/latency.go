package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

const (
	usagePerSecond     = 20_000
	authorizePerSecond = 10_000
	chargePerSecond    = 1_000
	streams            = 4
)

// latencies measures Authorize and Charge, one after the other, each beside usage, and in each run the same of a process
// that answers and does nothing else.
func (s *bed) latencies(ctx context.Context, o options) (figures []figure.Figure, err error) {
	f, err := s.installation(ctx, "latency", o.partitions)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(context.WithoutCancel(ctx))) }()
	m, err := f.Start(ctx, "safeguard")
	if err != nil {
		return nil, err
	}
	if err := m.Ready(ctx); err != nil {
		return nil, err
	}
	if err := activate(ctx, f, o.subscribers); err != nil {
		return nil, err
	}
	if err := counted(ctx, m, float64(o.subscribers)); err != nil {
		return nil, err
	}
	conn, err := f.Dial(m.Address("grpc"))
	if err != nil {
		return nil, err
	}
	bareConn, end, err := s.answering(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("start what answers and does nothing else: %w", err)
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, of := range []struct {
		name      string
		goal      float64
		ratio     string
		most      float64
		perSecond int
		open      func(context.Context, *grpc.ClientConn, int) (requestStream, error)
	}{
		{"safeguard.authorize_p99_ms", 1, "safeguard.authorize_ratio", 1.5, authorizePerSecond, authorizing},
		{"safeguard.charge_p99_ms", 10, "safeguard.charge_ratio", 2, chargePerSecond, charging},
	} {
		var p99s, ratios []float64
		fig := figure.Figure{
			Name: of.name, Unit: "ms", Goal: of.goal, Better: "lower", On: s.on,
			Note: fmt.Sprintf("%d/s over %d streams beside %d/s of usage, %d subscribers; from sent to answered; who asks and who is asked are on the machine of the servers", of.perSecond, streams, usagePerSecond, o.subscribers),
		}
		for range o.runs {
			bare, err := s.answered(ctx, f, bareConn, o, of.perSecond, of.open)
			if err != nil {
				return nil, fmt.Errorf("%s: bare: %w", of.name, err)
			}
			ours, err := s.answered(ctx, f, conn, o, of.perSecond, of.open)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", of.name, err)
			}
			p99s, ratios = append(p99s, ours.p99), append(ratios, ours.p99/bare.p99)
			fig.Runs = append(fig.Runs, fmt.Sprintf("%s; bare: %s", ours, bare))
			fleet.Report("%s: %s; bare: %s", of.name, ours, bare)
		}
		fig.Value = figure.Round(figure.Median(p99s))
		ratio := fig
		ratio.Name, ratio.Unit, ratio.Goal = of.ratio, "ratio", of.most
		ratio.Note = "p99 beside that of a process that answers and does nothing else, in the same run; " + fig.Note
		ratio.Value = figure.Round(figure.Median(ratios))
		figures = append(figures, fig, ratio)
	}
	return figures, nil
}

// requestStream is a stream of requests and answers, matched by their tags.
type requestStream struct {
	send func(tag uint64) error
	next func() (tag uint64, err error)
	end  func() error
}

func authorizing(ctx context.Context, conn *grpc.ClientConn, subscribers int) (requestStream, error) {
	s, err := optionsv1.NewEnforcementServiceClient(conn).AuthorizeStream(ctx)
	if err != nil {
		return requestStream{}, err
	}
	which := scatter(subscribers)
	return requestStream{
		send: func(tag uint64) error {
			return s.Send(&optionsv1.AuthorizeStreamRequest{Tag: tag, Request: &optionsv1.AuthorizeRequest{
				Name: "tenants/" + tenant + "/subscribers/" + msisdn(which(int(tag))), Use: &optionsv1.AuthorizeRequest_Option{Option: eventv1.Safeguard_OPTION_DATA},
			}})
		},
		next: func() (uint64, error) {
			res, err := s.Recv()
			if err == nil && res.GetResponse().GetDecision() != optionsv1.AuthorizeResponse_DECISION_ALLOW {
				err = fmt.Errorf("not allowed: %v", res)
			}
			return res.GetTag(), err
		},
		end: s.CloseSend,
	}, nil
}

func charging(ctx context.Context, conn *grpc.ClientConn, subscribers int) (requestStream, error) {
	s, err := optionsv1.NewEnforcementServiceClient(conn).ChargeStream(ctx)
	if err != nil {
		return requestStream{}, err
	}
	which, began := scatter(subscribers), time.Now().UnixNano()
	return requestStream{
		send: func(tag uint64) error {
			return s.Send(&optionsv1.ChargeStreamRequest{Tag: tag, Request: &optionsv1.ChargeRequest{
				Name: "tenants/" + tenant + "/subscribers/" + msisdn(which(int(tag))), TransactionReference: fmt.Sprintf("%d-%d", began, tag),
				Amount: &money.Money{CurrencyCode: "EUR", Nanos: smallNanos},
			}})
		},
		next: func() (uint64, error) {
			res, err := s.Recv()
			if err == nil && !res.GetResponse().GetAllowed() {
				err = fmt.Errorf("not allowed: %v", res)
			}
			return res.GetTag(), err
		},
		end: s.CloseSend,
	}, nil
}

// times is how long answers took, in milliseconds, and how many went on in a second.
type times struct{ p50, p99, answered, used float64 }

// String is all of it.
func (t times) String() string {
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, %.0f/s answered beside %.0f/s of usage", t.p50, t.p99, t.answered, t.used)
}

// answered asks so many times a second, while usage comes in, and returns how long answers took after the warm-up.
func (s *bed) answered(ctx context.Context, f *fleet.Fleet, conn *grpc.ClientConn, o options, perSecond int, open func(context.Context, *grpc.ClientConn, int) (requestStream, error)) (t times, err error) {
	began := time.Now()
	stop := began.Add(o.warmUp + o.length)
	var work sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	faults := make([]error, streams+1)
	uses := 0
	work.Go(func() { uses, faults[streams] = usage(ctx, f, o, stop) })
	for i := range streams {
		work.Go(func() {
			x, err := open(ctx, conn, o.subscribers)
			if err != nil {
				faults[i] = err
				return
			}
			mine, err := ask(ctx, x, perSecond/streams, began.Add(o.warmUp), stop)
			mu.Lock()
			defer mu.Unlock()
			took, faults[i] = append(took, mine...), err
		})
	}
	work.Wait()
	if err := errors.Join(faults...); err != nil {
		return t, err
	}
	if len(took) < 100 {
		return t, fmt.Errorf("only %d answers: give more by -length", len(took))
	}
	slices.Sort(took)
	ms := func(share float64) float64 { return took[int(share*float64(len(took)-1))].Seconds() * 1000 }
	return times{ms(0.5), ms(0.99), float64(len(took)) / o.length.Seconds(), float64(uses) / (o.warmUp + o.length).Seconds()}, nil
}

// ask sends at an even rate and takes the times of what is sent after from.
func ask(ctx context.Context, x requestStream, perSecond int, from, stop time.Time) (took []time.Duration, err error) {
	var mu sync.Mutex
	sent := map[uint64]time.Time{}
	received := make(chan error, 1)
	total := make(chan int, 1)
	go func() {
		got, want := 0, -1
		for want < 0 || got < want {
			tag, err := x.next()
			now := time.Now()
			if err != nil {
				received <- err
				return
			}
			mu.Lock()
			at := sent[tag]
			delete(sent, tag)
			mu.Unlock()
			if at.After(from) {
				took = append(took, now.Sub(at))
			}
			got++
			select {
			case want = <-total:
			default:
			}
		}
		received <- nil
	}()
	n := 0
	paced(ctx, time.Millisecond, stop, func(elapsed time.Duration) bool {
		for due := int(elapsed.Seconds() * float64(perSecond)); n < due && err == nil; n++ {
			mu.Lock()
			sent[uint64(n)] = time.Now()
			mu.Unlock()
			err = x.send(uint64(n))
		}
		return err == nil
	})
	// One more, so that the receiving side wakes up and sees how many there are.
	total <- n + 1
	if err == nil {
		err = x.send(uint64(n))
	}
	return took, errors.Join(err, <-received, x.end())
}

// usage puts usage into the log at its rate.
func usage(ctx context.Context, f *fleet.Fleet, o options, stop time.Time) (n int, err error) {
	p := f.Client.NewProducer()
	topic, which := f.Client.Topic(stream.EventsOrdered), scatter(o.subscribers)
	name := fmt.Sprintf("beside-%d", stop.UnixNano())
	paced(ctx, 10*time.Millisecond, stop, func(elapsed time.Duration) bool {
		var records []stream.Record
		now := time.Now().Truncate(time.Millisecond)
		for due := int(elapsed.Seconds() * usagePerSecond); n < due && err == nil; n++ {
			e := charged(fmt.Sprintf("%s-%d", name, n), which(n), smallNanos, now)
			e.ReceivedAt = now
			var r stream.Record
			r, err = e.Record(topic)
			records = append(records, r)
		}
		if err == nil && len(records) > 0 {
			err = p.Produce(ctx, records...)
		}
		return err == nil
	})
	return n, errors.Join(err, p.Close(ctx))
}

// paced calls a function at intervals, with the time that went by, until stop or until it returns false.
func paced(ctx context.Context, every time.Duration, stop time.Time, do func(elapsed time.Duration) bool) {
	began := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for time.Now().Before(stop) && do(time.Since(began)) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
