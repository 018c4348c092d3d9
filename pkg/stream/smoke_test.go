package stream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

func TestSmoke(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := stream.Open(stream.Config{Brokers: streamtest.Embedded(t), Prefix: "p"}, zaptest.NewLogger(t), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.CreateTopics(ctx, stream.Topics(4), true); err != nil {
		t.Fatal(err)
	}
	if err := c.VerifyTopics(ctx, stream.Topics(4), true); err != nil {
		t.Fatal(err)
	}
	p := c.NewProducer()
	for i := range 1000 {
		if err := p.Produce(ctx, stream.Record{Topic: c.Topic(stream.EventsOrdered), Partition: -1, Key: []byte(fmt.Sprint(i % 10)), Value: []byte(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	seen := make(chan int64, 2000)
	gctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- c.Consume(gctx, stream.GroupConfig{Name: "g", Topics: []string{stream.EventsOrdered}}, func(ctx context.Context, cl *stream.Claim) error {
			return cl.Each(ctx, func(ctx context.Context, r stream.Record) stream.Result {
				seen <- r.Offset
				return stream.Done()
			})
		})
	}()
	for range 1000 {
		select {
		case <-seen:
		case <-ctx.Done():
			t.Fatal("timeout", c.Health())
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Log(c.Health())
}
