package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
)

// Commit stores offset as the group's position: everything below it is done.
// One commit is in flight per partition, and an offset below an earlier one is
// ErrNotMonotonic. Temporary errors are retried until ctx ends; ErrRevoked means
// the group has moved on and the next owner repeats from the last commit.
func (cl *Claim) Commit(ctx context.Context, offset int64) error {
	return cl.CommitWith(ctx, offset, "")
}

// CommitWith is Commit with a text beside the offset, for the next owner of the partition: Metadata is there what it was
// here. Brokers take 4096 bytes of it unless they are set otherwise.
func (cl *Claim) CommitWith(ctx context.Context, offset int64, metadata string) error {
	defer cl.waiting()()
	select {
	case cl.commitSlot <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("commit %s/%d at %d: %w", cl.Topic, cl.Partition, offset, ctx.Err())
	}
	defer func() { <-cl.commitSlot }()
	if offset < cl.last || offset < 0 {
		return fmt.Errorf("commit %s/%d at %d after %d: %w", cl.Topic, cl.Partition, offset, cl.last, ErrNotMonotonic)
	}
	cl.last = offset
	c := cl.g.c
	label := c.TopicLabel(cl.Topic)
	err := c.Retry(ctx, cluster.WaitKey{For: "commit", Topic: cl.Topic, Partition: cl.Partition},
		func(ctx context.Context) error {
			err := cl.commitOnce(ctx, offset, metadata)
			if errors.Is(err, kafka.RebalanceInProgress) && cl.drain.Err() != nil {
				err = fmt.Errorf("%w: %w", kafka.IllegalGeneration, err) // too late for this generation
			}
			if err != nil {
				c.metrics.commitErrors.WithLabelValues(label).Inc()
			}
			return err
		})
	switch {
	case err == nil:
		cl.commitDone(offset, metadata)
		return nil
	case errors.Is(err, kafka.IllegalGeneration), errors.Is(err, kafka.UnknownMemberId), errors.Is(err,
		kafka.FencedInstanceID):
		return fmt.Errorf("commit %s/%d at %d: %w: %w", cl.Topic, cl.Partition, offset, ErrRevoked, err)
	default:
		return fmt.Errorf("commit %s/%d at %d: %w", cl.Topic, cl.Partition, offset, err)
	}
}

func (cl *Claim) commitDone(offset int64, metadata string) {
	cl.mu.Lock()
	cl.committed, cl.metadata = offset, metadata
	cl.mu.Unlock()
	cl.Worked(offset)
	cl.g.c.metrics.commits.WithLabelValues(cl.g.c.TopicLabel(cl.Topic)).Inc()
}

func (cl *Claim) commitOnce(ctx context.Context, offset int64, metadata string) error {
	ctx, cancel := context.WithTimeout(ctx, cl.g.c.CallTimeout)
	defer cancel()
	res, err := cl.g.c.Kafka.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID:      cl.g.id,
		GenerationID: int(cl.Generation),
		MemberID:     cl.member,
		Topics:       map[string][]kafka.OffsetCommit{cl.Topic: {{Partition: int(cl.Partition), Offset: offset, Metadata: metadata}}},
	})
	if err != nil {
		return err
	}
	return cl.answerIn(res)
}

func (cl *Claim) answerIn(res *kafka.OffsetCommitResponse) error {
	for _, p := range res.Topics[cl.Topic] {
		if p.Partition == int(cl.Partition) {
			return p.Error
		}
	}
	return fmt.Errorf("answer does not name partition %d", cl.Partition)
}

// CommitSoon is Commit for work that does not wait for it: the group commits within GroupConfig.CommitEvery, all its claims
// in one request. Of several offsets the highest counts. What fails is tried again with the next; Committed shows what is
// committed. A claim that drains, and work that begins again, drop what is not committed yet.
func (cl *Claim) CommitSoon(offset int64) {
	for before := cl.soon.Load(); offset > before && !cl.soon.CompareAndSwap(before, offset); before = cl.soon.Load() {
	}
}

// forgetSoon drops what CommitSoon has not committed yet, and waits for what is on its way: work that begins reads
// Committed, and nothing moves it afterwards but its own commits.
func (cl *Claim) forgetSoon() {
	cl.soon.Store(0)
	defer cl.waiting()()
	select {
	case cl.commitSlot <- struct{}{}:
		<-cl.commitSlot
	case <-cl.drain.Done():
	}
}

// commits serves CommitSoon until the claims drain. Their end breaks off what is on its way, not their drain: it might reach
// the broker behind a commit that the drain makes.
func (g *group) commits(drain, end context.Context, claims []*Claim) {
	tick := time.NewTicker(g.cfg.CommitEvery)
	defer tick.Stop()
	for {
		select {
		case <-drain.Done():
			return
		case <-tick.C:
			g.commitAll(end, claims)
		}
	}
}

// commitAll commits what CommitSoon was called with, once. Claims with a commit of their own on its way are left out.
func (g *group) commitAll(ctx context.Context, claims []*Claim) {
	topics := map[string][]kafka.OffsetCommit{}
	offsets := map[*Claim]int64{}
	var first *Claim
	for _, cl := range claims {
		select {
		case cl.commitSlot <- struct{}{}:
		default:
			continue
		}
		offset := cl.soon.Load()
		if offset <= cl.Committed() || offset < cl.last {
			<-cl.commitSlot
			continue
		}
		first, cl.last, offsets[cl] = cl, offset, offset
		topics[cl.Topic] = append(topics[cl.Topic], kafka.OffsetCommit{Partition: int(cl.Partition), Offset: offset})
	}
	if first == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.c.CallTimeout)
	defer cancel()
	res, err := g.c.Kafka.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: g.id, GenerationID: int(first.Generation), MemberID: first.member, Topics: topics,
	})
	for cl, offset := range offsets {
		failed := err
		if failed == nil {
			failed = cl.answerIn(res)
		}
		if failed == nil {
			cl.commitDone(offset, "")
		} else {
			g.c.metrics.commitErrors.WithLabelValues(g.c.TopicLabel(cl.Topic)).Inc()
		}
		<-cl.commitSlot
	}
}
