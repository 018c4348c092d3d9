// Command prove kills replicas of the safeguard service, ingest before it, and their Redis and Kafka at random moments
// while usage comes in, and then holds every counter and every outcome against a model that was never killed.
//
// FOR says how long it kills, SEED repeats the same traffic and the same choices. Standard output has the figures, what
// happens meanwhile is told on standard error. It exits 1 without a figure where the run says nothing: somebody did not
// come up again, or nothing was killed.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/tollgate/figure"
	"github.com/tollgate/tollgate/services/tollgate/fleettest"
)

func main() {
	if err := prove(daemon.UntilSignal()); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

// options are what FOR and SEED say.
func options() (length time.Duration, seed uint64, err error) {
	length, seed = 3*time.Minute, rand.Uint64()
	if text := os.Getenv("FOR"); text != "" {
		if length, err = time.ParseDuration(text); err != nil || length <= 0 {
			return 0, 0, fmt.Errorf("FOR must be a time such as 10m, not %q", text)
		}
	}
	if text := os.Getenv("SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return 0, 0, fmt.Errorf("SEED must be a number, not %q", text)
		}
	}
	return length, seed, nil
}

var began = time.Now()

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

func prove(ctx context.Context) (err error) {
	length, seed, err := options()
	if err != nil {
		return err
	}
	say("killing for %s, SEED=%d", length, seed)
	dir, err := os.MkdirTemp("", "tollgate-prove-")
	if err != nil {
		return err
	}
	b, err := start(ctx, dir)
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err = errors.Join(err, b.stop(ending)); err != nil {
			err = fmt.Errorf("%w\nlogs are kept in %s", err, dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	if err != nil {
		return err
	}

	t := newTraffic(b.fleet, seed)
	if err := t.activate(ctx); err != nil {
		return err
	}
	from := time.Now()
	killing, done := context.WithTimeout(ctx, length)
	defer done()
	sent := make(chan error, 1)
	go func() { sent <- t.run(ctx, killing.Done()) }()
	f := &faults{bed: b, rand: rand.New(rand.NewPCG(seed, 2)), kills: map[string]int{}}
	if err := f.run(killing, ctx); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	took := time.Since(from)
	say("%d events sent, %s; quiet now", t.sent, f)

	if err := b.ready(ctx); err != nil {
		return err
	}
	if err := t.awaitEnd(ctx); err != nil {
		return err
	}
	say("all worked off")
	v, err := judge(ctx, b, t)
	if err != nil {
		return err
	}
	for _, line := range v.examples {
		say("%s", line)
	}
	if f.total() == 0 {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	on, err := fleettest.On(ctx, b.kafka, b.redis)
	if err != nil {
		return err
	}
	total := f.total()
	note := fmt.Sprintf("killed with -9: %s; seed %d; %d subscribers, two replicas; %d outcomes first told, %d repeats with the same bytes, %d of %d events were repeats",
		f, seed, subscribers, v.first, v.repeats, t.repeats, t.sent)
	var figures []figure.Figure
	for _, count := range []struct {
		name  string
		value int
	}{{"lost", v.lost}, {"doubled", v.doubled}, {"out_of_order", v.outOfOrder}} {
		figures = append(figures, figure.Figure{
			Name: "prove.safeguard." + count.name, Value: float64(count.value), Unit: "count", Goal: 0, Better: "lower", On: on, Note: note,
			Kills: &total, Events: int64(t.sent), Seconds: figure.Round(took.Seconds()),
		})
	}
	return figure.Print(os.Stdout, figures...)
}

// bed is what is proved, and what it stands on.
type bed struct {
	kafka, redis *fleettest.Server
	fleet        *fleettest.Fleet
	ingest       *fleettest.Member
	replicas     []*fleettest.Member
}

const partitions = 8

func start(ctx context.Context, dir string) (*bed, error) {
	b := &bed{}
	say("building")
	binaries := filepath.Join(dir, "bin")
	if err := fleettest.Build(ctx, binaries, "config", "ingest", "safeguard"); err != nil {
		return b, err
	}
	var err error
	if b.kafka, err = fleettest.StartServer(ctx, fleettest.Kafka, filepath.Join(dir, "kafka")); err != nil {
		return b, err
	}
	if b.redis, err = fleettest.StartServer(ctx, fleettest.Redis, filepath.Join(dir, "redis")); err != nil {
		return b, err
	}
	if b.fleet, err = fleettest.Open(ctx, fleettest.Config{
		Brokers: []string{b.kafka.Address()}, Redis: b.redis.Address(), Dir: filepath.Join(dir, "fleet"), Partitions: partitions, Binaries: binaries,
	}); err != nil {
		return b, err
	}
	if _, err := b.fleet.Start(ctx, "config"); err != nil {
		return b, err
	}
	revision, err := b.fleet.Configure(ctx, resources(time.Now().UTC())...)
	if err != nil {
		return b, err
	}
	if b.ingest, err = b.fleet.Start(ctx, "ingest"); err != nil {
		return b, err
	}
	for range 2 {
		m, err := b.fleet.Start(ctx, "safeguard")
		if err != nil {
			return b, err
		}
		b.replicas = append(b.replicas, m)
	}
	if err := b.ready(ctx); err != nil {
		return b, err
	}
	return b, b.fleet.AwaitRevision(ctx, eventsOrdered, revision)
}

// rest bounds what comes after the last kill; it only ends runs that are stuck.
const rest = 5 * time.Minute

func (b *bed) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	for _, m := range append([]*fleettest.Member{b.ingest}, b.replicas...) {
		if err := m.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop ends everything that was started, also after a start that failed.
func (b *bed) stop(ctx context.Context) error {
	var faults []error
	if b.fleet != nil {
		faults = append(faults, b.fleet.Close(ctx))
	}
	for _, s := range []*fleettest.Server{b.redis, b.kafka} {
		if s != nil {
			faults = append(faults, s.Stop(ctx))
		}
	}
	return errors.Join(faults...)
}
