package model

import (
	"time"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// View is an option as it must look from outside.
type View struct {
	Offered      bool
	State        eventv1.Safeguard_State
	Spent, Limit int64
	Limited      bool
	Next         int64
	HasNext      bool
	Currency     string
	Blocked      bool
	Eligible     []eventv1.Safeguard_State
	Day          int
	Start, End   time.Time
}

// Look returns the options of a number; alive is false where it has no subscriber.
func (w *Partition) Look(tenant, number string) (views [3]View, sequence int64, alive bool) {
	p := w.people[tenant+"/"+number]
	if p == nil {
		return views, 0, false
	}
	t := &turn{partition: w, person: p}
	for i, o := range p.options {
		if o == nil {
			continue
		}
		r, _ := t.rule(o.which)
		views[i] = View{
			Offered: o.offered, State: o.state, Spent: o.spent, Limit: o.limit, Limited: o.limited, Next: o.next, HasNext: o.hasNext,
			Currency: o.currency, Blocked: o.blocked, Eligible: eligible(o, r), Day: o.day, Start: o.start, End: o.end,
		}
	}
	return views, p.sequence, p.alive
}

// AsShown is how the options of a number must be shown: as the next event or call would find them, by the class as it is
// now. known is false where the class is gone: options are as they were last, and whether they block is not shown.
func (w *Partition) AsShown(tenant, number string) (views [3]View, known bool) {
	p := w.people[tenant+"/"+number]
	if p == nil || !p.alive {
		return views, false
	}
	before, outcomes := p.clone(), len(w.outcomes)
	t := &turn{partition: w, person: p, at: w.now}
	_, known = t.rule(Data)
	t.adoptAll(becauseCatalog)
	views, _, _ = w.Look(tenant, number)
	*p, w.outcomes = *before, w.outcomes[:outcomes]
	return views, known
}

// Owed are events that were sent on to another number and have not come back under it, and the other way round.
func (w *Partition) Owed() int {
	n := 0
	for _, f := range w.forwards {
		if f.owed != f.came {
			n++
		}
	}
	return n
}

// Table is what a network element knows that reads reached and released alone: it keeps the last sequence per
// subscriber and ignores what is not above it.
type Table map[string]*Entry

// Entry is what it knows of one number.
type Entry struct {
	Sequence int64
	Blocked  [3]bool
	// Missed counts events whose previous sequence is not the last one seen.
	Missed int
}

// Apply takes one event of the topic, whatever its kind: each moves the sequence.
func (t Table) Apply(subject, kind string, d *eventv1.Safeguard) {
	e := t[subject]
	if e == nil {
		e = &Entry{}
		t[subject] = e
	}
	if d.GetSequence() <= e.Sequence {
		return
	}
	if d.GetPreviousSequence() != e.Sequence {
		e.Missed++
	}
	e.Sequence = d.GetSequence()
	switch kind {
	case "reached":
		e.Blocked[d.GetOption()-1] = true
	case "released":
		e.Blocked[d.GetOption()-1] = false
	}
}
