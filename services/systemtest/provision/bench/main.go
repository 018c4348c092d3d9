// Command bench measures the provision service: how much longer Decide takes with three HTTP handlers than a bare loop that
// calls them one after the other (provision.decide_overhead_ms), and how many actions a second it decides with one handler
// (provision.decides_per_second). Kafka, Redis, the service and the handlers are processes of their own.
//
// Each figure goes to standard output once it is measured, what happens meanwhile to standard error. A part that fails, for
// example because an action was not published exactly once though nothing was killed, has no figure; the other is measured, and
// it exits 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// options of a whole benchmark.
type options struct {
	runs, partitions, calls, concurrency int
	warmUp, length                       time.Duration
	overhead, throughput                 bool
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == bench.Receive {
		if err := handle(daemon.UntilSignal()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.IntVar(&o.runs, "runs", 3, "runs of which the median is printed")
	flag.IntVar(&o.partitions, "partitions", 8, "partitions of each topic")
	flag.IntVar(&o.calls, "calls", 2000, "calls of each run that are compared with the bare loop")
	flag.IntVar(&o.concurrency, "concurrency", 64, "calls at once, where actions a second are measured")
	flag.DurationVar(&o.warmUp, "warm-up", 10*time.Second, "not measured, of each run")
	flag.DurationVar(&o.length, "length", 30*time.Second, "measured, of each run of actions a second")
	flag.BoolVar(&o.overhead, "overhead", true, "measure Decide beside the bare loop")
	flag.BoolVar(&o.throughput, "throughput", true, "measure actions a second")
	flag.Parse()
	if err := fleet.InFolder("tollgate-bench-", func(dir string) error { return measure(daemon.UntilSignal(), dir, o) }); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

// bed is what is measured on.
type bed struct {
	options
	*bench.Bed
	fleet    *fleet.Fleet
	handlers described
	conns    []*grpc.ClientConn
}

// Event types: of the first three handlers are asked, of the second one.
const (
	typeOfThree = "client.created"
	typeOfOne   = "client.updated"
)

func measure(ctx context.Context, dir string, o options) (err error) {
	b := &bed{options: o}
	b.Bed, err = bench.Start(ctx, dir, "provision", o.partitions)
	defer func() { fleet.End(ctx, &err, b.Stop) }()
	if err != nil {
		return err
	}
	stop, err := bench.StartReceiver(ctx, &b.handlers)
	if err != nil {
		return err
	}
	b.AtEnd(stop)
	if err := b.install(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(context.WithoutCancel(ctx), b.fleet)) }()
	return bench.Parts(ctx,
		bench.Part{Name: "overhead", Wanted: o.overhead, Limit: 5 * time.Minute, Measure: b.compared},
		bench.Part{Name: "throughput", Wanted: o.throughput, Limit: time.Duration(o.runs)*(o.warmUp+o.length) + 3*time.Minute, Measure: b.decides},
	)
}

// connections are as many as a caller with many threads has: one carries some hundred calls at once.
const connections = 4

func (b *bed) install(ctx context.Context) (err error) {
	if b.fleet, err = b.Installation(ctx); err != nil {
		return err
	}
	if _, err := b.fleet.Configure(ctx, &configv1.Tenant{
		Name: "tenants/acme", Outbound: &configv1.OutboundPolicy{PlainHttp: true, Ports: []uint32{uint32(b.handlers.Port)}, Networks: []string{"127.0.0.0/8"}},
	}); err != nil {
		return err
	}
	for i := range 3 {
		h := &configv1.Hook{
			Name: fmt.Sprintf("tenants/acme/hooks/h%d", i), EventTypes: []string{typeOfThree}, Priority: int32(i), Concurrency: 512,
			FailurePolicy: configv1.FailurePolicy_FAILURE_POLICY_FORBID,
			Handler:       &configv1.Hook_Http{Http: &configv1.HttpHandler{Url: b.handlers.url(i)}},
		}
		if i == 0 {
			h.EventTypes = append(h.EventTypes, typeOfOne)
		}
		if _, err := b.fleet.Configure(ctx, h); err != nil {
			return err
		}
	}
	m, err := b.fleet.Start(ctx, "provision")
	if err != nil {
		return err
	}
	if err := m.Ready(ctx); err != nil {
		return err
	}
	for range connections {
		conn, err := b.fleet.Dial(m.Address("grpc"))
		if err != nil {
			return err
		}
		b.conns = append(b.conns, conn)
	}
	return b.inForce(ctx)
}

// inForce waits until the service asks the handlers.
func (b *bed) inForce(ctx context.Context) error {
	for n := 0; ; n++ {
		req, err := action(typeOfThree, fmt.Sprint("warm-", n))
		if err != nil {
			return err
		}
		req.DryRun = true
		res, err := provisionv1.NewProvisioningServiceClient(b.conns[0]).Decide(ctx, req)
		switch {
		case err == nil && len(res.GetHandlers()) == 3:
			return nil
		case err != nil && fault.KindOf(fault.FromGRPC(err)) != fault.Unavailable:
			return err
		}
		if err := bench.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
