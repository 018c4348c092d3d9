package consume

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// commitEvery bounds what Each hands on again after a crash; a commit after each small batch would cost the next one
// its round trip.
const commitEvery = 50 * time.Millisecond

// Each hands the claim's records to handle, batch by batch in order, until the claim drains. It starts at the group's
// committed offset, where there is none at the log's start. It commits what is handled at the log's end, when the claim
// drains, and otherwise every 50 ms at most. An error of handle ends it: the work is run again from the last commit.
func (cl *Claim) Each(ctx context.Context, o FetchOptions, handle func(context.Context, codec.Batch) error) error {
	from, err := cl.start(ctx)
	if err != nil {
		return err
	}
	r := cl.Reader(ctx, from, o)
	defer r.Close()
	committed, at := from, time.Now()
	commit := func() error {
		if committed == from {
			return nil
		}
		if err := cl.Commit(ctx, from); err != nil {
			return err
		}
		committed, at = from, time.Now()
		return nil
	}
	for {
		b, err := r.Next(ctx)
		if errors.Is(err, ErrRevoked) {
			return commit()
		}
		if err != nil {
			return errors.Join(err, commit())
		}
		if len(b.Records) > 0 || b.Damaged != nil {
			if err := handle(ctx, b); err != nil {
				return err
			}
		}
		from = b.Next
		cl.Progress()
		if len(b.Records) == 0 || time.Since(at) >= commitEvery {
			if err := commit(); err != nil {
				return err
			}
		}
	}
}

// start is the group's committed offset, or the log's start.
func (cl *Claim) start(ctx context.Context) (int64, error) {
	if committed := cl.Committed(); committed >= 0 {
		return committed, nil
	}
	defer cl.waiting()()
	start, _, err := cl.g.c.Offsets(ctx, cl.Topic, cl.Partition)
	return start, err
}
