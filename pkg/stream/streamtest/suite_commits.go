package streamtest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

func testCommitSoon(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("soon", 2, nil)
	cfg := s.group("soon", topic)
	cfg.CommitEvery = time.Millisecond
	committed := func() []int64 {
		got, err := s.Positions(s.ctx, cfg.Name, []stream.Position{{Topic: topic, Partition: 0}, {Topic: topic, Partition: 1}})
		if err != nil {
			t.Error(err)
			return nil
		}
		return []int64{got[0].Offset, got[1].Offset}
	}
	begun, looked, again := make(chan struct{}, 2), make(chan struct{}), make(chan error, 2)
	end := s.consume(s.Client, cfg, func(_ context.Context, cl *stream.Claim) error {
		offset := 5 + int64(cl.Partition)
		if cl.Committed() < 0 {
			cl.CommitSoon(offset)
			cl.CommitSoon(offset - 1)
			for s.ctx.Err() == nil && cl.Committed() != offset {
				committed() // a round trip
			}
			begun <- struct{}{}
			<-looked
			return errors.New("the work begins again")
		}
		if cl.Committed() != offset {
			t.Errorf("work that begins again has %d committed, want %d", cl.Committed(), offset)
		}
		again <- cl.Commit(context.WithoutCancel(s.ctx), offset+10)
		<-cl.Draining()
		cl.CommitSoon(offset + 20)
		return nil
	})
	for range 2 {
		waitFor(s, "the offsets of both partitions", begun)
	}
	if got, want := committed(), []int64{5, 6}; !slices.Equal(got, want) {
		t.Errorf("committed is %v, want %v", got, want)
	}
	close(looked)
	for range 2 {
		if err := waitFor(s, "the work to begin again", again); err != nil {
			t.Error(err)
		}
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got, want := committed(), []int64{15, 16}; !slices.Equal(got, want) {
		t.Errorf("committed is %v, want %v", got, want)
	}
}
