package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// Bed is what is measured on.
type Bed struct {
	Kafka, Redis *fleet.Server
	// On describes them, and the machine.
	On string
	// Partitions of each topic of the installations that follow.
	Partitions int

	dir    string
	fleets int
	stops  []func() error
}

// Start builds a channel's service and starts servers. The bed has to be stopped also where that fails.
func Start(ctx context.Context, dir, service string, partitions int) (b *Bed, err error) {
	b = &Bed{dir: dir, Partitions: partitions}
	fleet.Report("building")
	if err := fleet.Build(ctx, filepath.Join(dir, "bin"), "config", service); err != nil {
		return b, err
	}
	if b.Kafka, err = fleet.StartServer(ctx, fleet.Kafka, filepath.Join(dir, "kafka")); err != nil {
		return b, err
	}
	if b.Redis, err = fleet.StartServer(ctx, fleet.Redis, filepath.Join(dir, "redis")); err != nil {
		return b, err
	}
	b.On, err = fleet.On(ctx, b.Kafka, b.Redis)
	return b, err
}

// AtEnd is called before the servers stop.
func (b *Bed) AtEnd(stop func() error) { b.stops = append(b.stops, stop) }

// Stop ends what runs.
func (b *Bed) Stop(ctx context.Context) error {
	var faults []error
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

// Installation is a new one on the bed, with config running.
func (b *Bed) Installation(ctx context.Context) (*fleet.Fleet, error) {
	b.fleets++
	f, err := fleet.Open(ctx, fleet.Config{
		Brokers: []string{b.Kafka.Address()}, Redis: b.Redis.Address(), Dir: filepath.Join(b.dir, fmt.Sprint("fleet-", b.fleets)),
		Partitions: b.Partitions, Binaries: filepath.Join(b.dir, "bin"),
	})
	if err != nil {
		return nil, err
	}
	if _, err := f.Start(ctx, "config"); err != nil {
		return nil, errors.Join(err, Close(ctx, f))
	}
	return f, nil
}

// Close stops an installation, nil for none.
func Close(ctx context.Context, f *fleet.Fleet) error {
	if f == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return f.Close(ctx)
}

// Print prints a figure at once.
func (b *Bed) Print(f figure.Figure) error {
	f.On = b.On
	fleet.Report("%s is %g %s", f.Name, f.Value, f.Unit)
	return figure.Print(os.Stdout, f)
}

// Part is one of a benchmark, which prints its own figures.
type Part struct {
	Name    string
	Wanted  bool
	Limit   time.Duration
	Measure func(context.Context) error
}

// Parts measures those that are wanted. One that fails has no figure; the others are measured.
func Parts(ctx context.Context, parts ...Part) error {
	var faults []error
	for _, part := range parts {
		if !part.Wanted || ctx.Err() != nil {
			continue
		}
		fleet.Report("%s: begins", part.Name)
		began := time.Now()
		if err := within(ctx, part.Limit, part.Measure); err != nil {
			fleet.Report("%s: no figure: %v", part.Name, err)
			faults = append(faults, fmt.Errorf("%s: %w", part.Name, err))
		}
		fleet.Report("%s: ended after %s", part.Name, time.Since(began).Round(time.Second))
	}
	return errors.Join(append(faults, ctx.Err())...)
}

// within ends a part that takes too long: the others have their time.
func within(ctx context.Context, limit time.Duration, measure func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s", limit))
	defer cancel()
	err := measure(ctx)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return err
}
