package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
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

// held measures what deliveries that wait take of Redis and of the heap, and how long a restart takes with them: first those of
// many paused endpoints, then with one endpoint more that is behind.
func (b *bed) held(ctx context.Context) (err error) {
	defer func(n int) { b.Partitions = n }(b.Partitions)
	b.Partitions = waitingPartitions
	f, revision, err := b.installation(ctx, pausedEndpoints+1, 64, func(i int) string { return fmt.Sprint("/e/e", i) },
		func(e *configv1.Endpoint) { e.Paused = true })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, f)) }()
	h := &holding{bed: b, fleet: f, planner: newPlanner(f, revision)}
	h.planner.small = true
	if h.member, err = f.Start(ctx, "webhook"); err != nil {
		return err
	}
	empty, err := b.footprint(ctx, h.member, 0, 0)
	if err != nil {
		return err
	}
	waits, err := h.references(ctx, empty)
	if err != nil {
		return err
	}
	return h.behind(ctx, waits)
}

// holding is an installation in which deliveries wait.
type holding struct {
	bed     *bed
	fleet   *fleet.Fleet
	planner *planner
	member  *fleet.Member
}

// references measures those of many endpoints.
func (h *holding) references(ctx context.Context, empty footprint) (waits footprint, err error) {
	b := h.bed
	if err := h.planner.plan(ctx, b.waitingReferences, pausedEndpoints); err != nil {
		return waits, err
	}
	fleet.Report("%d deliveries to %d paused endpoints are planned", b.waitingReferences, pausedEndpoints)
	if waits, err = b.footprint(ctx, h.member, b.waitingReferences, 0); err != nil {
		return waits, err
	}
	n := float64(b.waitingReferences)
	note := fmt.Sprintf("%d deliveries with small bodies wait for %d paused endpoints on %d partitions of one process", b.waitingReferences, pausedEndpoints, waitingPartitions)
	err = errors.Join(
		b.Print(figure.Figure{
			Name: "webhook.parked_bytes", Value: figure.Round((waits.redis - empty.redis) / n), Unit: "bytes", Goal: 50, Better: "lower",
			Note: "Redis, each: " + note, Events: int64(b.waitingReferences),
		}),
		b.Print(figure.Figure{
			Name: "webhook.parked_heap_bytes", Value: figure.Round((waits.heap - empty.heap) / n), Unit: "bytes", Goal: 100, Better: "lower",
			Note: "heap after a collection, each: " + note, Events: int64(b.waitingReferences),
		}))
	if err != nil {
		return waits, err
	}
	started, opened, err := h.reopen(ctx, waits)
	if err != nil {
		return waits, err
	}
	return waits, b.Print(figure.Figure{
		Name: "webhook.reopening_seconds", Value: figure.Round((opened - started).Seconds()), Unit: "s", Goal: 5, Better: "lower",
		Note: fmt.Sprintf("from the ready process until all %d partitions have what waits again, %.1f s after its start: %s", waitingPartitions, opened.Seconds(), note),
	})
}

// behind measures one endpoint more that has far more waiting than it may have references.
func (h *holding) behind(ctx context.Context, waits footprint) error {
	b := h.bed
	began := time.Now()
	if err := h.planner.planFor(ctx, b.waitingBehind, pausedEndpoints); err != nil {
		return err
	}
	fleet.Report("%d deliveries to one endpoint are planned after %.0f s", b.waitingBehind, time.Since(began).Seconds())
	all, err := b.footprint(ctx, h.member, b.waitingReferences+referencesOfOne, b.waitingBehind-referencesOfOne)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%d deliveries to one paused endpoint, of which %d are behind", b.waitingBehind, all.behind)
	err = errors.Join(
		b.Print(figure.Figure{
			Name: "webhook.behind_redis_kib", Value: figure.Round((all.redis - waits.redis) / 1024), Unit: "KiB", Better: "lower", Note: "Redis more, with " + note,
		}),
		b.Print(figure.Figure{
			Name: "webhook.behind_heap_mib", Value: figure.Round((all.heap - waits.heap) / (1 << 20)), Unit: "MiB", Better: "lower", Note: "heap more after a collection, with " + note,
		}))
	if err != nil {
		return err
	}
	started, opened, err := h.reopen(ctx, all)
	if err != nil {
		return err
	}
	return b.Print(figure.Figure{
		Name: "webhook.behind_reopening_seconds", Value: figure.Round((opened - started).Seconds()), Unit: "s", Goal: 5, Better: "lower",
		Note: fmt.Sprintf("from the ready process until all partitions have what waits again, %.1f s after its start: %s", opened.Seconds(), note),
	})
}

// reopen starts the service again, and returns how long it takes until it is ready and until everything waits again.
func (h *holding) reopen(ctx context.Context, all footprint) (started, opened time.Duration, err error) {
	if err := h.member.Stop(ctx); err != nil {
		return 0, 0, err
	}
	fleet.Report("starts again")
	began := time.Now()
	if h.member, err = h.fleet.Start(ctx, "webhook"); err != nil {
		return 0, 0, err
	}
	started = time.Since(began)
	_, err = h.bed.waits(ctx, h.member, all.waiting, all.behind)
	return started, time.Since(began), err
}

// waits waits until so many deliveries wait and are behind.
func (b *bed) waits(ctx context.Context, m *fleet.Member, waiting, behind int) (at footprint, err error) {
	for turn := 1; ; turn++ {
		text, err := m.Metrics(ctx)
		if err != nil {
			return at, err
		}
		at = footprint{waiting: int(sum(text, "tollgate_webhook_waiting")), behind: int(sum(text, "tollgate_webhook_behind"))}
		if at.waiting == waiting && at.behind == behind {
			return at, nil
		}
		if turn%200 == 0 {
			fleet.Report("%d wait and %d are behind, of %d and %d", at.waiting, at.behind, waiting, behind)
		}
		if err := bench.Pause(ctx, 50*time.Millisecond); err != nil {
			return at, fmt.Errorf("%d wait and %d are behind, want %d and %d: %w", at.waiting, at.behind, waiting, behind, err)
		}
	}
}

// footprint waits until so many deliveries wait and are behind, and measures what they take.
func (b *bed) footprint(ctx context.Context, m *fleet.Member, waiting, behind int) (footprint, error) {
	at, err := b.waits(ctx, m, waiting, behind)
	if err != nil {
		return at, err
	}
	// What was read is collected, by a second collection where the first one was under way; Redis rests.
	for range 3 {
		if err := errors.Join(b.collect(ctx, m), bench.Pause(ctx, time.Second)); err != nil {
			return at, err
		}
	}
	if err := b.collect(ctx, m); err != nil {
		return at, err
	}
	return at, b.measure(ctx, m, &at)
}

// collect lets a process collect its garbage.
func (b *bed) collect(ctx context.Context, m *fleet.Member) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Address("admin")+"/debug/pprof/heap?gc=1", http.NoBody)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Timeout: time.Minute}).Do(q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func (b *bed) measure(ctx context.Context, m *fleet.Member, at *footprint) error {
	text, err := m.Metrics(ctx)
	if err != nil {
		return err
	}
	at.heap = sum(text, "go_memstats_heap_alloc_bytes")
	store := redis.NewClient(&redis.Options{Addr: b.Redis.Address()})
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
