package soak

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// Partitions of each topic, and replicas of the channel's service.
const (
	Partitions = 8
	replicas   = 2
)

// patience bounds what a round waits for at its end; it only ends runs that are stuck.
const patience = 5 * time.Minute

// Bed is what is tested, and what it runs on: servers of its own, config, and two replicas of each other service, each a
// process.
type Bed struct {
	// Dir is for files of the run; it is removed where nothing went wrong.
	Dir          string
	Kafka, Redis *fleet.Server
	Fleet        *fleet.Fleet
	Config       *fleet.Member
	Replicas     []*fleet.Member

	stops []func() error
}

// Open starts a bed, with topics as they are unless change is set. It has to be closed also where that fails.
func Open(ctx context.Context, dir string, change func([]stream.TopicSpec), services ...string) (b *Bed, err error) {
	b = &Bed{Dir: dir}
	fleet.Report("building")
	binaries := filepath.Join(dir, "bin")
	if err := fleet.Build(ctx, binaries, append([]string{"config"}, services...)...); err != nil {
		return b, err
	}
	if b.Kafka, err = fleet.StartServer(ctx, fleet.Kafka, filepath.Join(dir, "kafka")); err != nil {
		return b, err
	}
	if b.Redis, err = fleet.StartServer(ctx, fleet.Redis, filepath.Join(dir, "redis")); err != nil {
		return b, err
	}
	if b.Fleet, err = fleet.Open(ctx, fleet.Config{
		Brokers: []string{b.Kafka.Address()}, Redis: b.Redis.Address(), Dir: filepath.Join(dir, "fleet"), Partitions: Partitions, Binaries: binaries, Topics: change,
	}); err != nil {
		return b, err
	}
	if b.Config, err = b.Fleet.Start(ctx, "config"); err != nil {
		return b, err
	}
	for _, name := range services {
		for range replicas {
			m, err := b.Fleet.Start(ctx, name)
			if err != nil {
				return b, err
			}
			b.Replicas = append(b.Replicas, m)
		}
	}
	return b, nil
}

// AtEnd is called once the services have stopped.
func (b *Bed) AtEnd(stop func() error) { b.stops = append(b.stops, stop) }

// Ready waits until the replicas are.
func (b *Bed) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return b.ReadyBy(ctx)
}

// ReadyBy waits as long as ctx lets it.
func (b *Bed) ReadyBy(ctx context.Context) error {
	for _, m := range b.Replicas {
		if err := m.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close ends everything that was started, also after a start that failed.
func (b *Bed) Close(ctx context.Context) error {
	var faults []error
	if b.Fleet != nil {
		faults = append(faults, b.Fleet.Close(ctx))
	}
	for _, stop := range b.stops {
		faults = append(faults, stop())
	}
	for _, s := range []*fleet.Server{b.Redis, b.Kafka} {
		if s != nil {
			faults = append(faults, s.Stop(ctx))
		}
	}
	return errors.Join(faults...)
}
