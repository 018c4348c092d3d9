package state

import (
	"context"
	"errors"
	"fmt"
)

// Revision is one of the configuration. Its number alone may name two contents, where a configuration was set back to a
// backup or begun anew; with its history it names one for ever.
type Revision struct {
	History uint64
	Number  int64
}

func (r Revision) String() string { return fmt.Sprintf("%d of history %016x", r.Number, r.History) }

// Revisions is where configuration comes from. None of its methods waits for anybody: an owner never does.
type Revisions[C any] interface {
	// Newest is the newest revision that changes what a fold reads, once it is at hand here, and kept where whoever
	// opens a partition at it finds it while the configuration service is away. Number 0 while there is none.
	Newest() Revision
	// Changed is closed when Newest, or what At answers, becomes another; taken before they are asked.
	Changed() <-chan struct{}
	// At is a revision that is at hand. Another one is fetched from here on: ErrNotReady meanwhile, an error of kind
	// fault.NotFound while every source that could know it answers that it does not.
	At(r Revision) (C, error)
	// InForce reports the revision that a partition is folded by from here on: it is kept while that is so. The zero
	// Revision: by none in this process.
	InForce(p Partition, r Revision)
}

// ErrNotReady means that a revision is being fetched.
var ErrNotReady = errors.New("the revision is not at hand yet")

// Await is a revision, for those who may wait for it.
func Await[C any](ctx context.Context, from Revisions[C], r Revision) (C, error) {
	for {
		changed := from.Changed()
		c, err := from.At(r)
		if !errors.Is(err, ErrNotReady) {
			return c, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return c, errors.Join(err, ctx.Err())
		}
	}
}
