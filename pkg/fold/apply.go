package fold

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/duelist"
	"github.com/tollgate/tollgate/pkg/fold/internal/meter"
	"github.com/tollgate/tollgate/pkg/fold/internal/pending"
	"github.com/tollgate/tollgate/pkg/fold/internal/poison"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// entry is one record of the log, decoded.
type entry[B any] struct {
	record stream.Record
	event  *event.Event // nil where it can't be decoded
	err    error
	pass   bool   // a control record that only the engine knows, if anybody
	leaps  bool   // it moves log time by more than a day
	key    string // of the record it needs
	memo   any
	allIDs bool           // it needs all ids of that
	rules  *selected[B]   // the records of rules it needs
	inner  *stream.Record // of an event that was forwarded: as it was sent
	from   string         // and the subject it was sent to
	// identity, and what a record remembers of it.
	identity Identity
	id       record.ID
	held     *held[B] // the record it needs
	outcomes int      // that followed from it
}

// batch folds a run of log records, none of which changes the configuration, into the partition's records. It reads
// nothing and writes nothing: what it concludes is its result.
type batch[B any] struct {
	config     batchConfig
	decode     func([]byte) (B, error)
	append     func([]byte, B) []byte
	apply      func(*Subject[B], *event.Event)
	fire       func(*Subject[B], string, time.Time)
	window     func(key string) int64 // in which ids are remembered, in hours
	rules      RuleFold[B]
	rule       *Subject[B] // the record of a rule that an event is being applied to
	from       state.Watermark
	to         state.Watermark
	earlier    *poison.Tries
	memory     *memory[B] // what was loaded, and what it is worked in
	touched    []*Subject[B]
	outcomes   []stream.Record
	foreign    []Foreign
	size       int         // of the outcomes, in bytes
	rejections []rejection // for the log
	deletes    []string
	puts       []state.Entry // segments
	counts     meter.Counts
	watching   bool // steps are wanted
	steps      []Step[B]
	now        poison.Place // what is being worked, for a panic
	none       Subject[B]
	calls      bool    // commands are this fold's
	asking     *asking // the command being applied
	emitted    int     // outcomes, those included that a rebuild keeps to itself
	decisions  []pending.Decision
	lacks      []string // keys that turned out to be needed and were not loaded
	misuse     error    // what the fold did with its subject that it may not
}

type batchConfig struct {
	service   string
	partition state.Partition
	topic     string // of the log, with prefix
	rejected  string // with prefix
}

// rejection is for the log.
type rejection struct {
	offset int64
	reason string
	// incident is what is reported to a person, empty where nothing is.
	incident string
}

// errNotLoaded ends a batch that lacks something.
var errNotLoaded = errors.New("not loaded")

// misused notes the first thing a fold did with its subject that it may not do. Its event is rejected as after a panic.
func (b *batch[B]) misused(format string, args ...any) {
	if b.misuse == nil {
		b.misuse = fmt.Errorf(format, args...)
	}
}

// guard runs one call into the fold. Where the batch turns out to lack something, whatever the fold made of that, a
// panic too, counts for nothing.
func (b *batch[B]) guard(call func()) (err error) {
	defer func() {
		v := recover()
		switch {
		case len(b.lacks) > 0:
			err = errNotLoaded
		case v != nil:
			err = &poison.Error{Place: b.now, Value: v}
		case b.misuse != nil:
			err = &poison.Error{Place: b.now, Value: b.misuse}
		}
	}()
	call()
	return nil
}

func (b *batch[B]) touch(s *Subject[B]) {
	if s == &b.none {
		b.misused("a subject without a record can't be changed")
		return
	}
	if !s.state.dirty {
		s.state.dirty = true
		b.touched = append(b.touched, s)
	}
}

// moment sets what an event or a timer gives its subject.
func (b *batch[B]) moment(s *Subject[B], at int64, identity Identity, r *stream.Record) {
	s.Time = time.UnixMilli(at).UTC()
	s.EventTime, s.FutureTimestamp = time.Time{}, false
	s.Identity, s.record = identity, r
	s.Topic, s.Partition, s.Offset = b.config.topic, b.config.partition.Number, r.Offset
	s.Revision = b.to.Revision.Number
	s.Memo, s.Forwarded = nil, ""
	s.Results, s.RulesLeft = nil, 0
	s.id = 0
	s.state.effect, s.state.waits, s.state.sentOn = false, false, false
}

// advance moves log time, which never goes back.
func (b *batch[B]) advance(to int64) {
	b.to.LogTime = max(b.to.LogTime, to)
	if b.to.DueMinute == 0 {
		b.to.DueMinute = duelist.Reached(b.to.LogTime) // nothing was listed before
	}
}

const futureLimit = 5 * time.Minute

// event applies one log record that is not a control record.
func (b *batch[B]) event(en *entry[B]) error {
	r := &en.record
	b.advance(r.Time.UnixMilli())
	b.now = poison.Place{Offset: r.Offset}
	b.counts.Events++
	if en.err != nil {
		b.reject(r, Identity{}, reason.Undecodable, en.err.Error(), b.logTime())
		return nil //nolint:nilerr // the rejection has it
	}
	if b.isCall(en) {
		return b.command(en)
	}
	if en.rules != nil {
		if err := b.rulesOf(en); err != nil {
			return err
		}
	}
	return b.subjectOf(en)
}

// subjectOf applies an event to its subject's record, or, where it needs none, to none.
func (b *batch[B]) subjectOf(en *entry[B]) error {
	r := &en.record
	s := &b.none
	if en.key == "" {
		if b.none = (Subject[B]{batch: b}); en.rules != nil && en.rules.later {
			return nil
		}
	} else {
		var err error
		if s, err = b.open(en.held); err != nil {
			return err
		}
		if r.Offset <= s.header.Applied || en.rules != nil && en.rules.later {
			return nil
		}
		if err := b.due(s, b.to.LogTime); err != nil {
			return err
		}
	}
	b.now = poison.Place{Offset: r.Offset}
	identity := en.identity
	r = en.source()
	b.place(s, en, identity)
	if why, ok := b.earlier.At(b.now); ok {
		b.reject(r, identity, reason.Panic, why, b.logTime())
		return nil
	}
	same, reused := s.repeated(en)
	rejected := false
	if en.rules != nil {
		rejected, reused = b.results(s, en), reused || en.rules.reused
	}
	switch {
	case same:
		b.counts.Duplicates++
		return nil
	case reused && rejected:
		return nil
	case reused:
		b.reject(r, identity, reason.IDReused, "another event with this id and source was counted before: give each event an id of its own", b.logTime())
		return nil
	case en.key == "":
		return b.watched(s, en.event, "", func() { b.apply(s, en.event) })
	}
	if s.Time.Sub(s.EventTime) > time.Duration(b.window(s.Key))*time.Hour {
		b.counts.TooLate++
	}
	if s.FutureTimestamp {
		b.counts.FutureTimestamp++
	}
	if err := b.watched(s, en.event, "", func() { b.apply(s, en.event) }); err != nil {
		return err
	}
	if s.state.effect {
		b.counted(s, en)
	}
	return nil
}

// repeated reports whether the record has counted an event, or another one under its id. The event that created it is
// known for as long as the record stands.
func (s *Subject[B]) repeated(en *entry[B]) (same, other bool) {
	if !s.Exists {
		return false, false
	}
	if found, ok := s.find(en.id); ok {
		return found == en.id, found != en.id
	}
	return s.header.CreatedBy(en.identity), false
}

// counted notes that an event changed a record.
func (b *batch[B]) counted(s *Subject[B], en *entry[B]) {
	s.header.Applied = en.record.Offset
	b.settle(s)
	switch hour := b.to.LogTime / record.HourMillis; {
	case s.state.sentOn:
		if !s.SentOn() {
			b.remember(s, en.id.SentOn(), hour)
		}
	case !s.state.waits:
		b.remember(s, en.id, hour)
	}
}

// settle leaves nothing to later events of the batch of a record that is none: those of another batch would not find it
// either.
func (b *batch[B]) settle(s *Subject[B]) {
	if !s.Exists {
		s.forget()
	}
}

// place sets what an event gives its subject.
func (b *batch[B]) place(s *Subject[B], en *entry[B], identity Identity) {
	b.moment(s, b.to.LogTime, identity, en.source())
	s.Memo, s.Forwarded = en.memo, en.from
	if en.from == "" {
		s.id = en.id
	}
	s.EventTime = en.event.Time
	if s.EventTime.After(s.Time) {
		s.FutureTimestamp = s.EventTime.Sub(s.Time) > futureLimit
		s.EventTime = s.Time
	}
}

// emit adds an outcome, unless it was published before the state was rebuilt.
func (b *batch[B]) emit(r stream.Record) {
	b.emitted++
	if b.from.Status == state.Rebuilding {
		return
	}
	b.outcomes = append(b.outcomes, r)
	b.size += sizeOf(r)
}

// A batch ends behind the event whose outcomes bring it to one of these.
const (
	batchOutcomes = 5000
	batchBytes    = 8 << 20
)

func (b *batch[B]) full() bool {
	return len(b.outcomes)+len(b.foreign) >= batchOutcomes || b.size >= batchBytes
}

// maxOutcome is what a topic takes of an outcome, without its frame. Folds stay far below it; one that does not would
// make a record that Kafka refuses for ever.
const maxOutcome = 2<<20 - 64<<10

func sizeOf(r stream.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

func (b *batch[B]) logTime() time.Time { return time.UnixMilli(b.to.LogTime).UTC() }

// reject sends a log record on as it came, with the reason in headers.
func (b *batch[B]) reject(from *stream.Record, identity Identity, reason, detail string, at time.Time) {
	if b.counts.Rejected == nil {
		b.counts.Rejected = make(map[string]int)
	}
	b.counts.Rejected[reason]++
	if b.from.Status != state.Rebuilding {
		b.rejections = append(b.rejections, rejection{offset: from.Offset, reason: reason})
	}
	r := *from
	r.Topic, r.Partition = b.config.topic, b.config.partition.Number
	b.emit(event.Rejected(b.config.rejected, r, identity, reason, detail, at))
}

// needsCommit reports whether anything but the offset and the log time moved, or a caller waits for the answer that nothing
// did.
func (b *batch[B]) needsCommit(c state.Commit) bool {
	return len(b.outcomes)+len(b.foreign)+len(b.decisions)+len(c.Puts)+len(c.Appends)+len(c.Deletes) > 0 ||
		b.to.DueMinute != b.from.DueMinute || b.to.DuePosition != b.from.DuePosition || b.from.Status != state.Ready
}

// finish encodes what changed.
func (b *batch[B]) finish() (state.Commit, error) {
	c := state.Commit{Puts: b.puts, Deletes: b.deletes}
	lists, minutes := map[int64][]byte{}, []int64(nil)
	for _, s := range b.touched {
		key := record.Key(s.Key)
		if !s.Exists {
			if s.state.stored {
				c.Deletes = append(c.Deletes, key)
			}
			if s.state.sideStored {
				c.Deletes = append(c.Deletes, record.SideKey(s.Key))
			}
			continue
		}
		switch {
		case s.header.Side && s.state.sideDirty:
			c.Puts = append(c.Puts, state.Entry{Key: record.SideKey(s.Key), Value: s.side})
		case !s.header.Side && s.state.sideStored:
			c.Deletes = append(c.Deletes, record.SideKey(s.Key))
		}
		if at := s.list(b.to.DueMinute); at != 0 {
			minute := duelist.MinuteOf(at)
			if _, ok := lists[minute]; !ok {
				minutes = append(minutes, minute)
			}
			lists[minute] = duelist.Append(lists[minute], s.Key, at)
		}
		s.header.Epoch = b.to.Epoch
		c.Puts = append(c.Puts, state.Entry{Key: key, Value: b.memory.record(&s.header, s.Body, b.append)})
	}
	for _, m := range minutes {
		c.Appends = append(c.Appends, state.Entry{Key: duelist.Key(m), Value: lists[m]})
	}
	return c, c.Check()
}
