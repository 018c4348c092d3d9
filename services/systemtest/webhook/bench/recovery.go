package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

const (
	// historyRate is how many deliveries a second come before Redis is lost.
	historyRate = 5000
	// recoveryProbes are planned once it is.
	recoveryProbes = 320
)

// recovery measures how long it takes until everything is sent again after Redis was lost and the service killed.
func (b *bed) recovery(ctx context.Context) (err error) {
	f, revision, err := b.installation(ctx, b.endpoints, max(1, b.connections/b.endpoints), func(i int) string { return fmt.Sprint("/e/e", i) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, f)) }()
	m, err := f.Start(ctx, "webhook")
	if err != nil {
		return err
	}
	before, err := b.receiver.count()
	if err != nil {
		return err
	}
	p := newPlanner(f, revision)
	total := 0
	for began := time.Now(); time.Since(began) < b.history; total += historyRate {
		if seconds := total / historyRate; seconds%30 == 0 {
			fleet.Report("%d deliveries are planned, for %s", total, b.history)
		}
		if err := p.plan(ctx, historyRate, b.endpoints); err != nil {
			return err
		}
		if err := bench.Pause(ctx, time.Until(began.Add(time.Duration(total/historyRate+1)*time.Second))); err != nil {
			return err
		}
	}
	if _, err := b.received(ctx, before+int64(total)); err != nil {
		return err
	}
	text, err := m.Metrics(ctx)
	if err != nil {
		return err
	}
	snapshots := sum(text, "tollgate_webhook_snapshots_total")
	if err := bench.Pause(ctx, 2*time.Second); err != nil { // until the last results are recorded
		return err
	}
	m.Kill()
	<-m.Ended()
	store := redis.NewClient(&redis.Options{Addr: b.Redis.Address()})
	defer store.Close() //nolint:errcheck // it was only read from
	if err := store.FlushAll(ctx).Err(); err != nil {
		return err
	}
	if err := p.plan(ctx, recoveryProbes, b.endpoints); err != nil {
		return err
	}
	began := time.Now()
	if err := m.Restart(ctx); err != nil {
		return err
	}
	took, err := b.received(ctx, before+int64(total)+recoveryProbes)
	if err != nil {
		return err
	}
	seconds := took.Sub(began).Seconds()
	if err := bench.Pause(ctx, 5*time.Second); err != nil {
		return err
	}
	n, err := b.receiver.count()
	if err != nil {
		return err
	}
	if n != before+int64(total)+recoveryProbes {
		return fmt.Errorf("%d receipts of %d deliveries: settled ones were sent again", n-before, int64(total)+recoveryProbes)
	}
	return b.Print(figure.Figure{
		Name: "webhook.recovery_seconds", Value: figure.Round(seconds), Unit: "s", Goal: 30, Better: "lower", Events: int64(total),
		Note: fmt.Sprintf("from the start of the process, with Redis empty, until %d new deliveries were received, the wait of the group for its former member included; %d deliveries at %d/s on %d partitions before, of which %.0f snapshots were written; nothing was sent again",
			recoveryProbes, total, historyRate, b.Partitions, snapshots),
	})
}

// received waits until the receiver has n requests, and returns when.
func (b *bed) received(ctx context.Context, n int64) (time.Time, error) {
	deadline := time.Now().Add(5 * time.Minute)
	for {
		has, err := b.receiver.count()
		if err != nil || has >= n {
			return time.Now(), err
		}
		if time.Now().After(deadline) {
			return time.Time{}, fmt.Errorf("%d requests of %d came", has, n)
		}
		if err := bench.Pause(ctx, 50*time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
}
