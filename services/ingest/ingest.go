package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// Run takes events in until ctx ends; then it closes its doors, answers what is under way and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) (err error) {
	client, err := stream.Open(cfg.Kafka, env.Log, env.Metrics)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	metrics := newMetrics(env.Metrics)
	publisher := newPublisher(client, env.Clock, metrics)
	watchHealth(env.Health, client, publisher)

	grpc, err := rpc.NewServer(cfg.GRPC, env)
	if err != nil {
		return err
	}
	ingestv1.RegisterIngestServiceServer(grpc, &grpcDoor{publisher: publisher, log: rejections{env.Log, "grpc"}, metrics: metrics.door("grpc"), stopping: grpc.Stopping()})
	http, err := newHTTPDoor(cfg.HTTP, env, grpc.Keys(), publisher, metrics.door("http"))
	if err != nil {
		return errors.Join(err, grpc.Close())
	}
	kafka := &kafkaDoor{client: client, publisher: publisher, clock: env.Clock, log: rejections{env.Log, "kafka"}, metrics: metrics.door("kafka"), rejected: client.Topic(stream.EventsRejected), health: env.Health}

	err = together(ctx, grpc.Serve, http.serve, kafka.serve)

	// The doors have answered all they took; this only names what would have been left.
	finishing, cancel := env.Finishing(ctx)
	defer cancel()
	defer env.Open.Add("records on their way to Kafka")()
	return errors.Join(err, publisher.producer.Close(finishing))
}

// together runs all until ctx ends; where one of them fails, the others end too.
func together(ctx context.Context, runs ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(runs))
	var wait sync.WaitGroup
	for i, run := range runs {
		wait.Go(func() {
			defer cancel()
			errs[i] = run(ctx)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// grace is how long Kafka may stay away before ingest calls itself not ready: a moved leader is no news.
const grace = 5 * time.Second

// watchHealth tells what waits for Kafka, and why.
func watchHealth(health *daemon.Health, client *stream.Client, publisher *publisher) {
	health.Check("kafka", func() error {
		h := client.Health()
		var faults []error
		for _, in := range h.Incidents {
			faults = append(faults, &daemon.Incident{Code: in.Code, Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Detail: in.Detail})
		}
		for _, w := range h.Waiting {
			if time.Since(w.Since) >= grace {
				faults = append(faults, fmt.Errorf("%s of %s/%d waits since %s: %s", w.For, w.Topic, w.Partition, w.Since.UTC().Format(time.RFC3339), w.Reason))
			}
		}
		return errors.Join(faults...)
	})
	health.Check("publish", publisher.obstacle)
}

// rejections writes one line for each event that was turned away. What it says of the event names nobody.
type rejections struct {
	log  *zap.Logger
	door string
}
