package state

import (
	"context"
	"errors"
	"fmt"
)

// Partition names one partition of a domain's log. A domain is a service's view of one topic: two services, or two
// topics, share no state.
type Partition struct {
	Domain string
	Number int32
	// Count is how many partitions the topic has: it decides where in a cluster the partition's keys lie.
	Count int32
}

// Entry is a key of a partition and its value.
type Entry struct {
	Key   string
	Value []byte
}

// Commit is what one atomic step changes, besides the watermark.
type Commit struct {
	Puts    []Entry
	Appends []Entry
	Deletes []string
}

// MaxKeys and MaxBytes bound one commit, watermark included: it is one script, and a script stops the store for
// everyone while it runs.
const (
	MaxKeys  = 2000
	MaxBytes = 1 << 20
)

// ErrFenced means that the stored watermark is not the one the caller wrote last: another owner has opened the
// partition, or the store was emptied or set back. What the caller computed must not be used.
var ErrFenced = errors.New("partition is fenced: its watermark is not ours")

// Store keeps the keys of partitions. Each method is atomic. Any error but ErrFenced means unknown: it may have
// happened; opening again shows it.
//
// memstate, and redisstate on miniredis and Redis, pass the same suite, statetest.
type Store interface {
	// Open writes a fresh token and the address under which the owner answers into the partition's watermark, leaves
	// the rest of it as it is, and returns it with the token that stood there before. Where there is none it creates
	// one of state Blank.
	Open(ctx context.Context, p Partition, address string) (Watermark, error)
	// Load reads values, nil where there is none; ErrFenced unless the stored watermark equals w.
	Load(ctx context.Context, p Partition, w Watermark, keys []string) ([][]byte, error)
	// Peek reads the watermark and values in one step, for those who do not own the partition. A partition without a
	// watermark is Blank.
	Peek(ctx context.Context, p Partition, keys []string) (Watermark, [][]byte, error)
	// Commit replaces from by to and makes the changes, all or nothing; ErrFenced, and nothing, unless the stored
	// watermark equals from.
	Commit(ctx context.Context, p Partition, from, to Watermark, c Commit) error
	// Scan walks the partition's keys that begin with prefix, without the watermark, some at a time, in no order; cursor
	// and next are "" at both ends. A key that stands throughout is returned at least once.
	Scan(ctx context.Context, p Partition, prefix, cursor string, count int) (keys []string, next string, err error)
	// Walk is Scan for who walks many partitions of a domain at the same time: a store that looks at more than the
	// partition's keys does so once for all of them. A step may find nothing. A partition has one walk at a time, and its
	// cursor is good for one use, within a minute; after ErrWalk it is not, and the walk begins again.
	Walk(ctx context.Context, p Partition, prefix, cursor string, count int) (keys []string, next string, err error)
}

// ErrWalk means that a walk was left alone for too long, or that another one of its partition was begun.
var ErrWalk = errors.New("the walk was given up")

// Check refuses a commit that no store could make in one step.
func (c Commit) Check() error {
	keys, size := 1+len(c.Puts)+len(c.Appends)+len(c.Deletes), 0
	for _, e := range c.Puts {
		size += len(e.Key) + len(e.Value)
	}
	for _, e := range c.Appends {
		size += len(e.Key) + len(e.Value)
	}
	if keys > MaxKeys || size > MaxBytes {
		return fmt.Errorf("%w: %d keys of %d, %d bytes of %d", ErrTooLarge, keys, MaxKeys, size, MaxBytes)
	}
	return nil
}

// ErrTooLarge means that a batch does not fit into one commit.
var ErrTooLarge = errors.New("batch does not fit into one commit")
