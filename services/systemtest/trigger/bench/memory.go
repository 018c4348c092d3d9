package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
)

// remembered measures what Redis takes for a subject that one rule watches for silence: its state with the event that it
// holds, and its timer; by used_memory before and after, while nothing else is connected.
func (b *bed) remembered(ctx context.Context) (err error) {
	client := redis.NewClient(&redis.Options{Addr: b.Redis.Address()})
	defer client.Close() //nolint:errcheck // read only
	// Keys of what was measured before share one hash table with ours, whose size goes by powers of two.
	if err := client.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("empty Redis: %w", err)
	}
	l, err := b.live(ctx, []*configv1.Notification{notify("dormant", &configv1.Trigger{
		EventTypes: types[:1], Kind: &configv1.Trigger_Absence{Absence: &configv1.Absence{For: durationpb.New(30 * 24 * time.Hour)}},
	})})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, l.fleet)) }()
	before, err := bench.UsedMemory(ctx, client)
	if err != nil {
		return err
	}
	_, err = l.put(ctx, traffic{b.armed, func(i int, _ time.Time) (*event.Event, bool, error) {
		return &event.Event{Type: types[0], Subject: number(i), Data: charged(1)}, false, nil
	}})
	if err := errors.Join(err, l.service.Restart(ctx)); err != nil {
		return err
	}
	if err := errors.Join(l.worked(ctx, b.armed, 0), l.service.Stop(ctx)); err != nil {
		return err
	}
	size, err := bench.RecordBytes(ctx, b.Redis, l.fleet, "trigger-ordered")
	if err != nil {
		return err
	}
	after, err := bench.UsedMemory(ctx, client)
	if err != nil {
		return err
	}
	return b.Print(figure.Figure{
		Name: "trigger.armed_bytes", Value: figure.Round(float64(after-before) / float64(b.armed)), Unit: "bytes", Goal: 400, Better: "lower",
		Note:   fmt.Sprintf("used_memory of %d subjects with a silence each that is watched for, after one event of usage; due lists included; a record is %d bytes long", b.armed, size),
		Events: int64(b.armed),
	})
}
