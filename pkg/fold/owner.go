package fold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/view"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Log is one partition of a log as its owner uses it.
type Log interface {
	// Range says where the log begins and ends now.
	Range(ctx context.Context) (start, end int64, err error)
	// Fetch reads from an offset: what is there, at once; at the log's end it waits, as long as it is told to at most,
	// or until wake is closed, and an empty batch tells so. *stream.OutOfRangeError where the log does not hold the
	// offset.
	Fetch(ctx context.Context, from int64, wait time.Duration, wake <-chan struct{}) (stream.Batch, error)
	// At reads one record, where it is still there.
	At(ctx context.Context, offset int64) (stream.Record, bool, error)
	// Append adds a control record at the end.
	Append(ctx context.Context, e *event.Event) error
	// Committed is the group's offset at assignment, -1 where there is none.
	Committed() int64
	// Commit moves the group's offset: the floor.
	Commit(ctx context.Context, offset int64) error
	// Wait returns when wake is closed, and after a second at most; stream.ErrRevoked when the partition is lost.
	Wait(ctx context.Context, wake <-chan struct{}) error
	// Progress tells a watchdog that the owner is at work.
	Progress()
	// Incident and Settle tell people.
	Incident(code string, offset int64, err error)
	// Report notes what a person should know of one record, behind which the partition goes on.
	Report(code string, offset int64, err error)
	Settle(code string)
}

// Publisher is where outcomes go.
type Publisher interface {
	// Produce returns once all are acknowledged by all replicas.
	Produce(ctx context.Context, records ...stream.Record) error
}

// Level is the version of the logic that this binary applies. A partition at a higher one is left to newer binaries.
//
// Level 2: an event's identity has its subject in it. A log of level 1 is not read: what follows from it would bear
// other ids than what was published.
const Level = 2

// Codes of incidents: states that need a person.
const (
	IncidentGap       = "STATE_GAP"        // part of the log is gone that the state needs
	IncidentRecreated = "LOG_RECREATED"    // the log is not the one the state is of
	IncidentLevel     = "LEVEL_TOO_HIGH"   // written by a newer binary
	IncidentFormat    = "FORMAT_UNKNOWN"   // written by another version, and not to be read by this one
	IncidentPanic     = "APPLY_PANIC"      // a record or timer made the fold panic
	IncidentRecord    = "RECORD_UNUSABLE"  // a record can't be decoded or does not fit
	IncidentBehind    = "LOG_ENDANGERED"   // what is not applied yet is older than half the log's retention
	IncidentSnapshot  = "SNAPSHOT_OLD"     // the last snapshot is older than half their retention
	IncidentRevision  = "REVISION_MISSING" // a revision that the log names can't be had
	IncidentTime      = "LOG_TIME_AHEAD"   // a record is stamped far ahead of the log and of the clock
)

// OwnerConfig is what an owner works with.
type OwnerConfig[B, C any] struct {
	// Service names it in control records it appends: "safeguard".
	Service   string
	Partition state.Partition
	// Address of its gRPC server.
	Address string
	// Topic of the log, and where rejected records go, both with prefix.
	Topic, Rejected string

	Fold      Fold[B, C]
	Options   Options[C]
	Log       Log
	Store     state.Store
	Publisher Publisher
	Revisions state.Revisions[C]
	Snapshots Snapshots
	Clock     func() time.Time
	Logger    *zap.Logger
	Metrics   *Metrics
	// Appender is where Call puts calls, where Options.Commands is set. At most CallsWaiting wait at once, 1,000 where
	// it is 0.
	Appender     Appender
	CallsWaiting int
	// Published, where set, is told of outcomes once they are acknowledged, and again of those that are repeated: for
	// metrics and logs, never for state.
	Published func(outcomes []stream.Record)
	// Alive, where set, tells a watchdog within a batch that the owner is at work.
	Alive func()

	// Cache is how many records are kept in memory.
	Cache int
	// Batch is how many log records one commit holds at most.
	Batch int
	// DueStep is how many subjects of a due list are worked between events; 500 where it is 0.
	DueStep int
	// FloorEvery is how often a busy owner moves the group's offset.
	FloorEvery time.Duration
	// Visit, where set, receives each step once its batch is committed: in a replay.
	Visit func(Step[B])
	// A snapshot is begun after SnapshotEvery, or after SnapshotEvents records; none is where SnapshotEvery is 0.
	SnapshotEvery  time.Duration
	SnapshotEvents int64
	// LogRetention and SnapshotRetention are how long the topics keep what a rebuild needs; half of it gone is an
	// incident. 0: not watched.
	LogRetention, SnapshotRetention time.Duration
}

// Owner works one partition, from opening it until it is fenced, revoked or fails. Whatever goes wrong, everything in
// memory is dropped and somebody opens the partition again: the watermark tells where it stands.
type Owner[B, C any] struct {
	config OwnerConfig[B, C]
	place  batchConfig
	view   *view.View // what readers see
	desk   desk       // where calls wait
	// configuration is the one in force.
	configuration C

	// w is where the partition stands; stored, the watermark as committed last, lies behind it by records from which
	// nothing followed.
	w, stored state.Watermark
	pending   []stream.Record
	run       []entry[B] // of the batch being worked
	memory    *memory[B]
	marks     marks
	due       dueWork
	snap      *snapshotting

	storedAt    time.Time // when the watermark was committed last
	committed   int64     // group's offset
	settled     int64     // what was due by the log time there, and all below it, has been told
	committedAt time.Time
	tickedAt    time.Time
	appended    int64 // number of the newest revision appended since opening
	changed     <-chan struct{}
	announceAt  time.Time // not tried again before
	halted      halted
	snapshotAt  time.Time // not tried again before
	next        time.Time // stamp of the first record that is not applied; zero at the log's end
	fit         int       // how many records of the log fitted into a commit lately
}

// NewOwner prepares one. It does nothing before Run, and serves one Run.
func NewOwner[B, C any](c OwnerConfig[B, C]) *Owner[B, C] {
	c.DueStep = cmp.Or(c.DueStep, 500)
	c.CallsWaiting = cmp.Or(c.CallsWaiting, callsWaiting)
	return &Owner[B, C]{
		config: c,
		place:  batchConfig{service: c.Service, partition: c.Partition, topic: c.Topic, rejected: c.Rejected},
		view:   view.NewView(c.Cache), memory: newMemory[B](c.Options.Timers),
	}
}

// idleCommit is how long an owner may leave its watermark alone: a rewound store is noticed within it.
const idleCommit = time.Second

// Run opens the partition and works it. It returns nil only when the log says that the partition is revoked, ErrFenced
// when somebody else has it, and otherwise what went wrong on our side.
func (o *Owner[B, C]) Run(ctx context.Context) error {
	defer o.leave()
	if err := o.config.Options.Validate(); err != nil {
		return fmt.Errorf("check options of domain %s: %w", o.place.partition.Domain, err)
	}
	if err := o.open(ctx); err != nil {
		return fmt.Errorf("open partition: %w", err)
	}
	for {
		err := o.cycle(ctx)
		if errors.Is(err, stream.ErrRevoked) {
			o.leave()
			return o.floor(ctx, true)
		}
		if err != nil {
			return err
		}
	}
}

// Watermark is where the partition stands: for use once Run has ended.
func (o *Owner[B, C]) Watermark() state.Watermark { return o.w }

// leave ends what is answered out of the partition.
func (o *Owner[B, C]) leave() {
	o.view.Leave()
	o.desk.leave()
	o.config.Revisions.InForce(o.place.partition, state.Revision{})
}

// open takes the partition and brings its state to where the log can go on.
func (o *Owner[B, C]) open(ctx context.Context) error {
	w, err := o.config.Store.Open(ctx, o.place.partition, o.config.Address)
	if _, other := errors.AsType[*state.FormatError](err); other {
		o.config.Log.Incident(IncidentFormat, 0, err)
	}
	if err != nil {
		return err
	}
	o.config.Log.Settle(IncidentFormat)
	o.w, o.stored = w, w
	o.committed = max(o.config.Log.Committed(), 0)
	if w.Level > Level {
		err := fmt.Errorf("state is at level %d, this binary knows %d: run a newer one", w.Level, Level)
		o.config.Log.Incident(IncidentLevel, w.Offset, err)
		return err
	}
	o.config.Log.Settle(IncidentLevel)
	o.config.Log.Settle(stream.IncidentOutOfRange) // recovery judges it itself
	if err := o.recover(ctx); err != nil {
		return err
	}
	if err := o.reconfigure(ctx); err != nil {
		return err
	}
	o.fit = o.config.Batch
	o.view.Enter(o.w)
	o.config.Logger.Info("partition opened", zap.String("domain", o.place.partition.Domain), zap.Int32("partition", o.place.partition.Number),
		zap.Int64("offset", o.w.Offset), zap.Int64("floor", o.w.Floor), zap.Stringer("status", o.w.Status), zap.Int64("revision", o.w.Revision.Number))
	return nil
}

// cycle is one turn: some of what is due, some of what stands in the log.
func (o *Owner[B, C]) cycle(ctx context.Context) error {
	if err := o.upkeep(ctx); err != nil {
		return err
	}
	due, err := o.nextDue(ctx)
	if err != nil {
		return err
	}
	if o.w.Status == state.Rebuilding && o.w.Offset >= o.w.Floor && !due.any() {
		// Before the log is asked for more: perhaps there is none for hours.
		return o.commitAs(ctx, func(w *state.Watermark) { w.Status = state.Ready })
	}
	if len(o.pending) == 0 {
		// A snapshot on its way goes on between fetches; it does not wait for records.
		wait := time.Duration(0)
		if !due.any() && (o.snap == nil || o.snap.scanned) {
			wait = o.untilTick()
		}
		b, err := o.config.Log.Fetch(ctx, o.w.Offset, wait, o.changed)
		if err != nil {
			return err
		}
		o.pending = b.Records
		o.next = time.Time{}
		if len(o.pending) > 0 {
			o.next = o.pending[0].Time
		}
		if len(o.pending) == 0 && !due.any() {
			if b.Next > o.w.Offset { // offsets without records
				return o.commitEmpty(ctx, b.Next)
			}
			return o.idle(ctx)
		}
	}
	if o.w.Status == state.Rebuilding && !due.any() && o.pending[0].Offset >= o.w.Floor { // offsets without records lie in between
		return o.commitEmpty(ctx, o.w.Floor)
	}
	run, control := o.cut(max(1, o.fit-len(due.subjects)))
	if len(run) == 0 && control != nil && !due.any() {
		return o.control(ctx, control)
	}
	return o.batch(ctx, due, run)
}

func (o *Owner[B, C]) mark(what poisoned, why error) {
	if o.marks.poison == nil {
		o.marks.poison = make(map[poisoned]string)
	}
	o.marks.poison[what] = why.Error()
	o.config.Log.Report(IncidentPanic, what.offset, why)
}

// batch applies, publishes and commits one run of records.
func (o *Owner[B, C]) batch(ctx context.Context, due dueChunk, run []entry[B]) error {
	var more []string
	for {
		if err := o.load(ctx, due.subjects, run, more); err != nil {
			return err
		}
		b, n, c, err := o.apply(due, run)
		if errors.Is(err, errNotLoaded) {
			more = append(more, b.lacks...)
			continue
		}
		var p *panicked
		if errors.As(err, &p) {
			o.mark(p.what, p)
			continue
		}
		if errors.Is(err, state.ErrTooLarge) && len(run)+len(due.subjects) > 1 {
			run, due = run[:len(run)/2], due.half()
			o.fit = max(1, len(run))
			continue
		}
		if err != nil {
			o.config.Log.Incident(IncidentRecord, o.w.Offset, err)
			return err
		}
		if n < len(run) {
			o.fit = max(1, n) // what is behind was selected in vain
		} else {
			o.fit = min(o.config.Batch, o.fit+max(1, o.fit/8))
		}
		return o.conclude(ctx, due, n, b, c)
	}
}

// apply is the pure part: no I/O, no clock. A panic outside of the fold's Apply and Fire, in its codec, is no record's
// fault: the partition waits. It ends after n records where their outcomes are as many as a batch may have.
func (o *Owner[B, C]) apply(due dueChunk, run []entry[B]) (b *batch[B], n int, c state.Commit, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("apply batch: panic: %v", v)
		}
	}()
	b = o.newBatch(o.memory)
	if err := b.dueList(due); err != nil {
		return b, 0, c, err
	}
	for n < len(run) && !b.full() {
		en := &run[n]
		n++
		o.alive(n)
		b.to.Offset = en.record.Offset
		switch {
		case en.pass:
			b.advance(en.record.Time.UnixMilli())
		default:
			if err := b.event(en); err != nil {
				return b, 0, c, err
			}
		}
		b.to.Offset = en.record.Offset + 1
	}
	if n > 0 {
		b.to.LastHash = run[n-1].record.Hash()
	}
	if len(b.lacks) > 0 {
		return b, 0, c, errNotLoaded
	}
	c, err = b.finish()
	return b, n, c, err
}

// aliveEvery is how many records are worked between two words to the watchdog; each is bounded by itself.
const aliveEvery = 16

func (o *Owner[B, C]) alive(n int) {
	if n%aliveEvery == 0 && o.config.Alive != nil {
		o.config.Alive()
	}
}

func (o *Owner[B, C]) newBatch(m *memory[B]) *batch[B] {
	return &batch[B]{
		config: o.place,
		decode: o.config.Fold.Decode, append: o.config.Fold.Append, apply: o.config.Fold.Apply, fire: o.config.Fold.Fire,
		from: o.w, to: o.w,
		window:   o.windowHours,
		memory:   m,
		marks:    &o.marks,
		calls:    o.config.Options.Commands,
		watching: o.config.Visit != nil,
	}
}

func (o *Owner[B, C]) windowHours(key string) int64 {
	return o.config.Options.windowHours(o.configuration, key)
}

// conclude publishes what a batch said and commits what it changed.
func (o *Owner[B, C]) conclude(ctx context.Context, due dueChunk, n int, b *batch[B], c state.Commit) error {
	if len(b.outcomes) > 0 {
		begin := o.config.Clock()
		if err := o.config.Publisher.Produce(ctx, b.outcomes...); err != nil {
			return fmt.Errorf("publish outcomes: %w", err)
		}
		o.config.Metrics.published(len(b.outcomes), o.config.Clock().Sub(begin))
		if o.config.Published != nil {
			o.config.Published(b.outcomes)
		}
	}
	if b.needsCommit(c) || elapsed(o.config.Clock(), o.storedAt, passOver) {
		if err := o.commit(ctx, b.to, c); err != nil {
			return err
		}
		o.snap.noteDeleted(c.Deletes, b.to.Offset-1)
	} else {
		o.w = b.to
	}
	// Not before the commit: it alone proves that the partition is still ours, and that the verdict stands whatever
	// dies from here on.
	o.desk.answer(b.verdicts)
	for i := range b.steps {
		o.config.Visit(b.steps[i])
	}
	o.pending = o.pending[n:]
	o.due.concluded(due, c.Appends)
	if !o.due.outstanding(&b.from) { // nearly always more is due by now
		o.settled = b.from.Offset
	}
	o.marks = marks{}
	o.config.Metrics.batch(n, b.counts)
	for _, r := range b.rejections {
		o.config.Logger.Info("event rejected", zap.String("topic", o.place.topic), zap.Int32("partition", o.place.partition.Number),
			zap.Int64("offset", r.offset), zap.String("reason", r.reason))
		if r.incident != "" {
			o.config.Log.Report(r.reason, r.offset, errors.New(r.incident))
		}
	}
	return nil
}

// passOver is how long records from which nothing follows may go without a commit: a service that is told of one event
// in a thousand does not write for the others.
const passOver = 100 * time.Millisecond

// commit replaces the watermark; afterwards readers see the new state.
func (o *Owner[B, C]) commit(ctx context.Context, to state.Watermark, c state.Commit) error {
	begin := o.config.Clock()
	to.At = begin.UnixMilli()
	to.Serial = o.stored.Serial + 1
	if err := o.config.Store.Commit(ctx, o.place.partition, o.stored, to, c); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	o.w, o.stored, o.storedAt = to, to, begin
	o.config.Log.Progress()
	o.view.Commit(to, c)
	o.config.Metrics.committed(o.config.Clock().Sub(begin))
	return nil
}

func (o *Owner[B, C]) commitAs(ctx context.Context, change func(*state.Watermark)) error {
	to := o.w
	change(&to)
	return o.commit(ctx, to, state.Commit{})
}

// commitEmpty passes over offsets that hold no records.
func (o *Owner[B, C]) commitEmpty(ctx context.Context, next int64) error {
	return o.commitAs(ctx, func(w *state.Watermark) { w.Offset, w.LastHash = next, 0 })
}
