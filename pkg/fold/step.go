package fold

import (
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/applied"
	"github.com/tollgate/tollgate/pkg/fold/internal/poison"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Step is one event, call or timer of a replay that changed its subject or published something of it.
type Step[B any] struct {
	// Key of the record: of a rule's, as Subject.Rule takes it apart; "" where an event selected rules and not its subject's record.
	Key string
	// Existed and Exists are whether there was a record before and is one after.
	Existed, Exists bool
	Before, After   B
	// Event, where it was one; as its fold saw it. Else the timer and its due time.
	Event *event.Event
	Timer string
	Due   time.Time
	// Offset of the event's record, -1 for a timer. Time is the log time at the event, or the timer's due time;
	// EventTime the event's own, not after it.
	Offset          int64
	Time, EventTime time.Time
	Revision        int64
	// Outcomes are what would have been published, rejections included.
	Outcomes []stream.Record
}

// watched is guard, and makes a step of what changed.
func (b *batch[B]) watched(s *Subject[B], e *event.Event, timer string, call func()) error {
	if !b.watching || s == &b.none && s.Results == nil {
		return b.guard(call)
	}
	step := Step[B]{Key: s.Key, Existed: s.Exists, Event: e, Timer: timer, Offset: s.Offset, Time: s.Time, EventTime: s.EventTime, Revision: s.Revision}
	if e == nil {
		step.Due = s.Time
	}
	var err error
	if s.Exists { // a fold may keep parts of a body; what is shown is a copy
		if step.Before, err = b.decode(b.append(nil, s.Body)); err != nil {
			return fmt.Errorf("copy body: %w", err)
		}
	}
	n, foreign := len(b.outcomes), len(b.foreign)
	if err := b.guard(call); err != nil {
		return err
	}
	if !s.state.effect && len(b.outcomes) == n && len(b.foreign) == foreign {
		return nil
	}
	if step.Exists = s.Exists; s.Exists {
		if step.After, err = b.decode(b.append(nil, s.Body)); err != nil {
			return fmt.Errorf("copy body: %w", err)
		}
	}
	step.Outcomes = slices.Clone(b.outcomes[n:])
	for _, f := range b.foreign[foreign:] {
		step.Outcomes = append(step.Outcomes, f.Record)
	}
	b.steps = append(b.steps, step)
	return nil
}

// Applied is an event that was applied.
type Applied = applied.Event

// showApplied hands on the events of a batch that came under a traceparent.
func (o *Owner[B, C]) showApplied(run []entry[B], begun time.Time) {
	a := Applied{Topic: o.place.topic, Partition: o.place.partition.Number, Begun: begun, Published: o.config.Clock()}
	for i := range run {
		if en := &run[i]; en.event != nil && en.event.Trace != "" && !en.pass {
			a.Event, a.Offset, a.Forwarded, a.Outcomes = en.event, en.record.Offset, en.inner != nil, en.outcomes
			o.config.Applied(a)
		}
	}
}

// WorkDue works what was due of a stored record by the log time that the owner stands at, and was not worked when it
// was stored: for a replay that is compared with a store. It is not known where the record was changed later. side is
// the side record, nil where there is none.
func (o *Owner[B, C]) WorkDue(subject string, stored, side []byte) (body B, exists, known bool, err error) {
	b := o.newBatch(newMemory[B](o.memory.timers))
	b.earlier = &poison.Tries{}
	b.memory.beside[record.SideKey(subject)] = side // segments of ids change no body
	s, err := b.open(&held[B]{key: subject, raw: stored})
	if err != nil {
		return body, false, false, err
	}
	if s.header.Applied >= o.w.Offset {
		return body, false, false, nil
	}
	if err := b.due(s, o.w.LogTime); err != nil {
		return body, false, false, err
	}
	return s.Body, s.Exists, true, nil
}
