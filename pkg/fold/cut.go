package fold

import (
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/poison"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
)

// cutFor is how long records are decoded and selected for one batch: dear filters make it a short one, which leaves no
// trace in what follows from the log.
const cutFor = 200 * time.Millisecond

// cut takes at most n records for one batch: up to the next record that stands alone, which changes the configuration
// or moves log time by more than a day, and never across the published offset.
func (o *Owner[B, C]) cut(n int) (run []entry[B], control *entry[B]) {
	n = min(len(o.pending), n)
	run = slices.Grow(o.run[:0], n)
	o.run = run
	begin := o.config.Clock()
	last := o.w.LogTime
	rules := 0 // selected so far
	for i := range o.pending[:n] {
		if i > 0 && i%aliveEvery == 0 {
			o.alive(i)
			if o.config.Clock().Sub(begin) > cutFor {
				break
			}
		}
		if o.w.Status == state.Rebuilding && o.pending[i].Offset >= o.w.PublishedOffset {
			break
		}
		run = append(run, entry[B]{record: o.pending[i]})
		en := &run[i]
		if en.leaps = o.leaps(&en.record, last); en.leaps {
			if i == 0 {
				control = en
			}
			return run[:i], control
		}
		last = max(last, en.record.Time.UnixMilli())
		en.event, en.err = event.Decode(en.record.Value)
		if en.err != nil {
			continue
		}
		if trace, ok := en.record.Header(event.HeaderTrace); ok && event.ValidTrace(string(trace)) {
			en.event.Trace = string(trace) // outcomes go on with it
		}
		if en.event.Type == event.TypeRevision {
			if i == 0 {
				control = en
			}
			return run[:i], control
		}
		if o.meant(en); !en.pass && en.err == nil {
			if en.inner == nil { // of one that was forwarded it is as it was sent
				en.identity = en.event.Identity()
			}
			en.id = record.MakeID(en.identity, en.event.Content())
			if o.selectKey(en); en.rules != nil {
				if rules += len(en.rules.names); rules > 2*state.MaxKeys { // more than one commit takes, mostly
					return run, nil
				}
			}
		}
	}
	return run, nil
}

// meant finds out whether a record is for the fold.
func (o *Owner[B, C]) meant(en *entry[B]) {
	if !event.IsControl(en.event.Type) {
		return
	}
	takes := &o.config.Options
	switch {
	case takes.Transfers && (en.event.Type == event.TypeTransfer || en.event.Type == event.TypeTransferSettled):
	case takes.Transfers && en.event.Type == event.TypeForward:
		en.unwrap()
	case takes.Commands && event.IsCommand(en.event.Type):
	default:
		en.pass = true
	}
}

// selectKey asks the fold which record an event needs; a panic shows again, and is dealt with, when the event is
// applied.
func (o *Owner[B, C]) selectKey(en *entry[B]) {
	defer func() {
		if v := recover(); v != nil {
			o.notePanic(poison.Place{Offset: en.record.Offset}, fmt.Errorf("%v", v))
		}
	}()
	s := o.config.Fold.Select(en.event)
	en.key, en.memo, en.allIDs = s.Key, s.Memo, s.AllIDs
	if len(s.Rules) > 0 {
		if err := o.selectRules(en, s.Rules); err != nil {
			o.notePanic(poison.Place{Offset: en.record.Offset}, err)
		}
	}
}
