package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/delivery"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

const (
	// pausedEndpoints are paused, on waitingPartitions; one more is behind.
	pausedEndpoints   = 200
	waitingPartitions = 24
	// referencesOfOne is how many references an endpoint has at most.
	referencesOfOne = 10_000
)

// footprint is what waiting deliveries take.
type footprint struct {
	redis, heap     float64
	waiting, behind int
}

// held measures what deliveries that wait take of Redis and of the heap, and how long a restart takes with them.
func (b *bed) held(ctx context.Context) (figures []figure.Figure, err error) {
	wide := *b
	wide.partitions = waitingPartitions
	f, revision, err := wide.installation(ctx, pausedEndpoints+1, 64, func(i int) string { return fmt.Sprint("/e/e", i) },
		func(e *configv1.Endpoint) { e.Paused = true })
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closing(ctx, f)) }()
	m, err := f.Start(ctx, "webhook")
	if err != nil {
		return nil, err
	}
	empty, err := b.footprint(ctx, m, 0, 0)
	if err != nil {
		return nil, err
	}
	p := &planner{fleet: f, revision: revision, keys: map[string]*delivery.Delivery{}}
	if err := p.plan(ctx, b.waitingReferences, pausedEndpoints); err != nil {
		return nil, err
	}
	waits, err := b.footprint(ctx, m, b.waitingReferences, 0)
	if err != nil {
		return nil, err
	}
	report("%d wait: %.0f bytes of Redis and %.0f of the heap more", waits.waiting, waits.redis-empty.redis, waits.heap-empty.heap)
	if err := p.planFor(ctx, b.waitingBehind, pausedEndpoints); err != nil {
		return nil, err
	}
	all, err := b.footprint(ctx, m, b.waitingReferences+referencesOfOne, b.waitingBehind-referencesOfOne)
	if err != nil {
		return nil, err
	}
	report("%d more are behind: %.0f bytes of Redis and %.0f of the heap more", all.behind, all.redis-waits.redis, all.heap-waits.heap)
	if err := m.Stop(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if m, err = f.Start(ctx, "webhook"); err != nil {
		return nil, err
	}
	started := time.Since(began)
	if _, err := b.footprint(ctx, m, all.waiting, all.behind); err != nil {
		return nil, err
	}
	opened := time.Since(began)
	n := float64(waits.waiting)
	return []figure.Figure{{
		Name: "webhook.parked_bytes", Value: figure.Round((waits.redis - empty.redis) / n), Unit: "bytes", Goal: 50, Better: "lower", On: b.on,
		Note: fmt.Sprintf("%d deliveries wait for %d paused endpoints on %d partitions: %.0f bytes of heap each after a collection; with %d deliveries to one endpoint more, of which %d are behind: %.0f KiB of Redis and %.1f MiB of heap more; a restart has all of them again after %.1f s, %.1f s of which until the process was ready",
			waits.waiting, pausedEndpoints, waitingPartitions, (waits.heap-empty.heap)/n, b.waitingBehind, all.behind,
			(all.redis-waits.redis)/1024, (all.heap-waits.heap)/(1<<20), opened.Seconds(), started.Seconds()),
		Events: int64(b.waitingReferences + b.waitingBehind),
	}}, nil
}

// footprint waits until so many deliveries wait and are behind, and until what was read is collected.
func (b *bed) footprint(ctx context.Context, m *fleet.Member, waiting, behind int) (footprint, error) {
	deadline := time.Now().Add(10 * time.Minute)
	for {
		text, err := m.Metrics(ctx)
		if err != nil {
			return footprint{}, err
		}
		at := footprint{waiting: int(sum(text, "tollgate_webhook_waiting")), behind: int(sum(text, "tollgate_webhook_behind"))}
		if at.waiting == waiting && at.behind == behind {
			break
		}
		if time.Now().After(deadline) {
			return at, fmt.Errorf("%d wait and %d are behind, want %d and %d", at.waiting, at.behind, waiting, behind)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return at, err
		}
	}
	at := footprint{waiting: waiting, behind: behind}
	if waiting == 0 {
		return at, b.measure(ctx, m, &at)
	}
	// An idle process collects every two minutes at the latest; the least of some moments is nearly what lives.
	for i := range 10 {
		now := at
		if err := b.measure(ctx, m, &now); err != nil {
			return at, err
		}
		if i == 0 || now.heap < at.heap {
			at.heap = now.heap
		}
		at.redis = now.redis
		if err := pause(ctx, time.Second); err != nil {
			return at, err
		}
	}
	return at, nil
}

func (b *bed) measure(ctx context.Context, m *fleet.Member, at *footprint) error {
	text, err := m.Metrics(ctx)
	if err != nil {
		return err
	}
	at.heap = sum(text, "go_memstats_heap_alloc_bytes")
	store := redis.NewClient(&redis.Options{Addr: b.redis.Address()})
	defer store.Close() //nolint:errcheck // it was only read from
	info, err := store.Info(ctx, "memory").Result()
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(info, "used_memory_dataset:")
	value, _, _ := strings.Cut(rest, "\r\n")
	at.redis, err = strconv.ParseFloat(value, 64)
	return err
}

// sum adds the series of a metric.
func sum(text, name string) (total float64) {
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			total += n
		}
	}
	return total
}
