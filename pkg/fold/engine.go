package fold

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fold/internal/ahead"
	"github.com/tollgate/tollgate/pkg/fold/internal/kafkalog"
	"github.com/tollgate/tollgate/pkg/fold/internal/limits"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/fold/internal/view"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/snapshot"
	"github.com/tollgate/tollgate/pkg/stream"
)

// EngineConfig joins a fold to a topic.
type EngineConfig[B, C any] struct {
	// Service and Domain: who folds, and its view of which topic. The group is named after the domain.
	Service, Domain string
	// Topic of the log, without prefix.
	Topic string
	// Address of this process's gRPC server, for calls forwarded to it.
	Address string
	// NewFold makes a fold for one partition.
	NewFold func() Fold[B, C]
	Options Options[C]

	Client   *stream.Client
	Producer *stream.Producer
	// Foreign is nil for a fold that emits none.
	Foreign   ForeignPublisher
	Store     state.Store
	Revisions state.Revisions[C]
	Clock     func() time.Time
	Logger    *zap.Logger
	Metrics   prometheus.Registerer
	Limits    Limits
	// Published receives outcomes; see OwnerConfig. Partitions call it side by side.
	Published func(outcomes []stream.Record)
	// Applied receives events of a traceparent; see OwnerConfig. Partitions call it side by side.
	Applied func(Applied)
}

// Limits bound what an engine holds and how often it does what costs.
type Limits = limits.Limits

// DefaultLimits fit a process with a GiB of memory.
func DefaultLimits() Limits { return limits.Default() }

// Engine works the partitions of one domain that fall to this process.
type Engine[B, C any] struct {
	config     EngineConfig[B, C]
	partitions int32
	metrics    *Metrics
	decode     func([]byte) (B, error)

	still view.Still

	mu     sync.Mutex
	owned  map[int32]*Owner[B, C]
	joined bool
	// stopped are partitions whose work has failed and has committed nothing since.
	stopped map[int32]stop
	// awaited is how many of the partitions assigned last have not been begun yet.
	awaited int
}

// NewEngine asks how many partitions the topic has; they are fixed for life.
func NewEngine[B, C any](ctx context.Context, c EngineConfig[B, C]) (*Engine[B, C], error) {
	if err := c.Options.Validate(); err != nil {
		return nil, fmt.Errorf("check options of domain %s: %w", c.Domain, err)
	}
	n, err := c.Client.Partitions(ctx, c.Client.Topic(c.Topic))
	if err != nil {
		return nil, fmt.Errorf("prepare domain %s: %w", c.Domain, err)
	}
	return &Engine[B, C]{
		config: c, partitions: int32(n), metrics: NewMetrics(c.Service, c.Domain, c.Metrics),
		decode:  c.NewFold().Decode,
		owned:   make(map[int32]*Owner[B, C]),
		stopped: make(map[int32]stop),
	}, nil
}

// Config is what the engine was made with.
func (e *Engine[B, C]) Config() EngineConfig[B, C] { return e.config }

// Run works until ctx ends, and drains.
func (e *Engine[B, C]) Run(ctx context.Context) error {
	return e.config.Client.Consume(ctx, stream.GroupConfig{
		Name: e.config.Domain, Topics: []string{e.config.Topic}, Assigned: e.assigned,
		CommitEvery: e.config.Limits.PublishedOffsetEvery,
	}, e.work)
}

func (e *Engine[B, C]) work(ctx context.Context, cl *stream.Claim) error {
	c := e.config
	p := e.partition(cl.Partition)
	l := &kafkalog.ClaimLog{Claim: cl, Client: c.Client, Producer: c.Producer}
	defer l.Close()
	o := NewOwner(OwnerConfig[B, C]{
		Service: c.Service, Partition: p, Address: c.Address,
		Topic: cl.Topic, Rejected: c.Client.Topic(stream.EventsRejected),
		Fold: c.NewFold(), Options: c.Options, Log: l, Store: c.Store, Publisher: c.Producer, Foreign: c.Foreign, Revisions: c.Revisions,
		Snapshots: snapshot.NewTopic(c.Client, c.Producer, cl.Progress, 30*time.Minute, 3*time.Hour),
		Clock:     c.Clock, Logger: c.Logger, Metrics: e.metrics, Published: c.Published, Applied: c.Applied, Alive: cl.Alive,
		Appender: l, Begin: ahead.Beside,
		Cache: max(1, c.Limits.CacheRecords/int(e.partitions)), Batch: c.Limits.BatchRecords,
		LogRetention: stream.LogRetention, SnapshotRetention: stream.SnapshotRetention,
		SnapshotEvery: c.Limits.SnapshotEvery, SnapshotEvents: max(1, c.Limits.SnapshotEvents/int64(e.partitions)),
	})
	e.enter(cl.Partition, o)
	defer e.leave(cl.Partition, o)
	err := o.Run(ctx)
	switch {
	case errors.Is(err, state.ErrFenced):
		e.metrics.Fenced.Inc()
		return fmt.Errorf("%w: %w", stream.ErrRejoin, err)
	case ctx.Err() != nil:
		return nil
	default:
		e.fail(cl.Partition, o, err)
		return err
	}
}

// stop is why a partition's work failed, and at which commit.
type stop struct {
	why    error
	serial uint64
}

// fail notes that a partition does not go on. Its work begins again, may fail again at the same place, and is at rest in
// between: a commit alone shows that it goes on.
func (e *Engine[B, C]) fail(partition int32, o *Owner[B, C], why error) {
	if why == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped[partition] = stop{why: why, serial: o.ahead.Stored.Serial}
}

func (e *Engine[B, C]) assigned(partitions int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.joined, e.awaited = true, partitions
	clear(e.stopped) // others may have them now
}

func (e *Engine[B, C]) enter(partition int32, o *Owner[B, C]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owned[partition] = o
	e.awaited = max(0, e.awaited-1)
	e.share()
}

// share divides the records kept in memory among the partitions of this process.
func (e *Engine[B, C]) share() {
	for _, o := range e.owned {
		o.view.Resize(e.config.Limits.CacheRecords / len(e.owned))
	}
}

func (e *Engine[B, C]) leave(partition int32, o *Owner[B, C]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owned[partition] == o {
		delete(e.owned, partition)
		e.share()
	}
}

func (e *Engine[B, C]) owner(partition int32) *Owner[B, C] {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.owned[partition]
}

// Ready is what keeps the partitions of this process from being worked under the newest configuration.
func (e *Engine[B, C]) Ready() error {
	newest := e.config.Revisions.Newest()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.joined {
		return fmt.Errorf("domain %s: the group has assigned nothing yet", e.config.Domain)
	}
	if e.awaited > 0 {
		return fmt.Errorf("domain %s: %d partitions are about to be opened", e.config.Domain, e.awaited)
	}
	var waits []string
	for number, s := range e.stopped {
		if o := e.owned[number]; o != nil {
			if w, ours := o.view.Owned(); ours && w.Serial > s.serial {
				delete(e.stopped, number)
				continue
			}
		}
		waits = append(waits, fmt.Sprintf("partition %d stands still: %s", number, s.why))
	}
	for number, o := range e.owned {
		w, ours := o.view.Owned()
		switch {
		case e.stopped[number].why != nil: // reported already
		case !ours:
			waits = append(waits, fmt.Sprintf("partition %d is being opened", number))
		case w.Status != state.Ready:
			waits = append(waits, fmt.Sprintf("partition %d is %s at offset %d of %d", number, w.Status, w.Offset, w.PublishedOffset))
		case w.Revision.Number < newest.Number:
			waits = append(waits, fmt.Sprintf("partition %d is at revision %d of %d", number, w.Revision.Number, newest.Number))
		}
	}
	if len(waits) > 0 {
		return fmt.Errorf("domain %s: %s", e.config.Domain, strings.Join(waits, ", "))
	}
	return nil
}

// Owned counts the partitions that this process works.
func (e *Engine[B, C]) Owned() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, o := range e.owned {
		if _, ours := o.view.Owned(); ours {
			n++
		}
	}
	return n
}

// NotOwnerError names the process that may answer.
type NotOwnerError struct {
	Partition int32
	// Address of its gRPC server.
	Address string
}

func (e *NotOwnerError) Error() string {
	return fmt.Sprintf("partition %d is worked by %s", e.Partition, e.Address)
}

// Reading is a subject as committed last.
type Reading[B any] struct {
	Body     B
	Exists   bool
	Sequence int64 // last one given out
	Offset   int64 // of the first record of the log that is not in it
	// Revision it is decided by, Time the log time, Staleness the age of the commit it was read from: an idle owner
	// commits each second.
	Revision  state.Revision
	Time      time.Time
	Staleness time.Duration
}

// Partition that a key falls to.
func (e *Engine[B, C]) Partition(key string) int32 {
	return stream.PartitionOf([]byte(key), int(e.partitions))
}

// End is the offset behind the last record of a partition's log.
func (e *Engine[B, C]) End(ctx context.Context, partition int32) (int64, error) {
	_, end, err := e.config.Client.Offsets(ctx, e.config.Client.Topic(e.config.Topic), partition)
	if err != nil {
		return 0, fmt.Errorf("find the log's end: %w", err)
	}
	return end, nil
}

// Read answers from this process's partitions; *NotOwnerError where another has it, ErrUnknown while that is not known.
func (e *Engine[B, C]) Read(ctx context.Context, key string) (Reading[B], error) {
	var none Reading[B]
	number := e.Partition(key)
	if o := e.owner(number); o != nil {
		w, raw, cached, ours := o.view.Read(record.Key(key))
		if !ours || w.Status != state.Ready {
			return none, ErrUnknown
		}
		if cached {
			return e.reading(w, raw)
		}
		stored, values, err := e.config.Store.Peek(ctx, e.partition(number), []string{record.Key(key)})
		if err != nil {
			return none, fmt.Errorf("read record: %w", err)
		}
		if stored.Token == w.Token && stored.Status == state.Ready {
			return e.reading(stored, values[0])
		}
		return none, ErrUnknown
	}
	return none, e.elsewhere(ctx, number)
}

// Cached is Read where that takes no more than memory.
func (e *Engine[B, C]) Cached(key string) (r Reading[B], ok bool) {
	if o := e.owner(e.Partition(key)); o != nil {
		if w, raw, cached, ours := o.view.Read(record.Key(key)); cached && ours && w.Status == state.Ready {
			r, err := e.reading(w, raw)
			return r, err == nil
		}
	}
	return r, false
}

func (e *Engine[B, C]) reading(w state.Watermark, raw []byte) (Reading[B], error) {
	r := Reading[B]{Offset: w.Offset, Revision: w.Revision, Time: time.UnixMilli(w.LogTime).UTC(), Staleness: max(0, e.config.Clock().Sub(time.UnixMilli(w.At)))}
	if raw == nil {
		return r, nil
	}
	o, err := record.ReadOutline(raw)
	if err != nil {
		return r, fmt.Errorf("read record: %w", err)
	}
	if o.Gone {
		return r, nil
	}
	if r.Body, err = e.decode(o.Body); err != nil {
		return r, fmt.Errorf("read record: %w", err)
	}
	r.Exists, r.Sequence = true, o.Sequence
	return r, nil
}
