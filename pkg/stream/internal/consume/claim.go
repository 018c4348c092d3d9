package consume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// Claim is one partition held by this member for one generation of its group.
// Its methods may be called from several goroutines of the partition's work.
type Claim struct {
	// Topic is the full topic name.
	Topic     string
	Partition int32
	// Generation of the group that assigned it.
	Generation int32

	g         *group
	member    string
	committed int64
	metadata  string // of committed
	position  *position

	drain    context.Context // ends at revoke: stop taking, finish what is begun
	progress atomic.Int64    // when work last showed a sign, in ns since g.started
	over     atomic.Bool     // work has returned for good
	failed   atomic.Bool     // Health reports that the work waits: it failed, and made no progress since
	idle     atomic.Int32    // how many calls wait for another service; that is progress

	mu sync.Mutex // guards committed and metadata

	commitSlot chan struct{} // one commit in flight
	last       int64         // highest offset a commit was asked for; guarded by commitSlot
	soon       atomic.Int64  // highest offset of CommitSoon, none below 1
}

func newClaim(g *group, topic string, partition, generation int32, member string, at Position,
	drain context.Context) *Claim {
	cl := &Claim{
		Topic: topic, Partition: partition, Generation: generation,
		g: g, member: member, committed: at.Offset, metadata: at.Metadata, position: newPosition(at.Offset), drain: drain,
		commitSlot: make(chan struct{}, 1), last: at.Offset,
	}
	cl.Alive()
	return cl
}

// Committed is the group's committed offset: that at assignment, then that of this claim's own commits, so that work
// which is run again goes on from there. -1 when there is none.
func (cl *Claim) Committed() int64 {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.committed
}

// Metadata is the text that was committed with Committed.
func (cl *Claim) Metadata() string {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.metadata
}

// Draining ends when the partition is revoked or the process stops: take no
// more, finish what is begun, commit, return. The work's own context ends a
// drain deadline later.
func (cl *Claim) Draining() <-chan struct{} { return cl.drain.Done() }

// Fetch reads from an explicit offset and waits at the log's end for records up
// to MaxWait; an empty batch then has the log's end. Temporary errors are
// retried (Health reports it). It returns ErrRevoked once the claim drains, and an
// *OutOfRangeError, raised as an incident, when the log does not hold the offset.
func (cl *Claim) Fetch(ctx context.Context, from int64, o FetchOptions) (codec.Batch, error) {
	defer cl.waiting()()
	return cl.fetch(ctx, from, o)
}

// fetch is Fetch without a report to the watchdog: a reader fetches ahead of a
// worker, which may be stuck meanwhile.
func (cl *Claim) fetch(ctx context.Context, from int64, o FetchOptions) (codec.Batch, error) {
	o = o.withDefaults(cl.g.c.CallTimeout)
	return cl.fetchBy(ctx, from, cl.g.c.direct(cl.Topic, cl.Partition, from, o))
}

func (cl *Claim) fetchBy(ctx context.Context, from int64,
	once func(context.Context) (codec.Batch, error)) (codec.Batch, error) {
	if cl.drain.Err() != nil {
		return codec.Batch{Next: from}, ErrRevoked
	}
	if ctx.Err() != nil {
		return codec.Batch{Next: from}, ctx.Err()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(cl.drain, cancel)()
	b, err := cl.g.c.fetchBy(ctx, cl.Topic, cl.Partition, from, once)
	var gone *OutOfRangeError
	switch {
	case err == nil:
		cl.position.seen(b, time.Now())
		return b, nil
	case errors.As(err, &gone):
		cl.Incident(IncidentOutOfRange, from, err)
		return b, err
	case cl.drain.Err() != nil:
		return b, fmt.Errorf("fetch %s/%d from %d: %w", cl.Topic, cl.Partition, from, ErrRevoked)
	default:
		return b, err
	}
}

// Progress reports that the partition's work is alive, to the watchdog, and that work which had failed goes on, to
// Health.
func (cl *Claim) Progress() {
	cl.Alive()
	if cl.failed.Swap(false) {
		cl.g.c.Done(cl.workKey())
		cl.SettleIncident(reason.BatchTooLarge)
		cl.SettleIncident(reason.BatchDamaged)
	}
}

// Alive reports to the watchdog alone: work that waits, begins again, or takes long is alive and has done nothing yet.
func (cl *Claim) Alive() { cl.progress.Store(int64(time.Since(cl.g.started))) }

func (cl *Claim) workKey() cluster.WaitKey {
	return cluster.WaitKey{For: "work", Topic: cl.Topic, Partition: cl.Partition}
}

// Waiting runs f, which waits for another service (Redis, a receiver): however
// long it takes, it counts as progress. f has a deadline of its own. Fetch,
// Commit and a Produce under the work's context count by themselves.
func (cl *Claim) Waiting(f func()) {
	defer cl.waiting()()
	f()
}

// waiting marks the claim as waiting until the returned function is called.
func (cl *Claim) waiting() func() {
	cl.idle.Add(1)
	return func() {
		cl.Alive()
		cl.idle.Add(-1)
	}
}

// sinceSign is for how long the work showed no sign.
func (cl *Claim) sinceSign() time.Duration {
	if cl.idle.Load() > 0 {
		return 0
	}
	return time.Since(cl.g.started) - time.Duration(cl.progress.Load())
}

// Incident raises a state that needs a person: one log line and one count when
// it is new, and a line in Health until it is settled or the claim ends.
func (cl *Claim) Incident(code string, offset int64, err error) {
	in := cluster.Incident{Code: code, Topic: cl.Topic, Partition: cl.Partition, Offset: offset, Detail: err.Error()}
	cl.g.c.RaiseIncident(in)
}

// Report notes what a person should know of one record, behind which the
// partition goes on: logged, counted and shown, and nothing waits for it.
func (cl *Claim) Report(code string, offset int64, err error) {
	cl.g.c.ReportIncident(cluster.Incident{Code: code, Topic: cl.Topic, Partition: cl.Partition, Offset: offset,
		Since: time.Now(), Detail: err.Error()})
}

// SettleIncident ends an incident of this partition.
func (cl *Claim) SettleIncident(code string) { cl.g.c.SettleIncident(code, cl.Topic, cl.Partition) }

// damaged raises an incident where a batch that can't be read is what stops the work.
func (cl *Claim) damaged(err error) {
	var d *codec.DamagedError
	if errors.As(err, &d) {
		cl.Incident(d.Reason, d.First, err)
	}
}
