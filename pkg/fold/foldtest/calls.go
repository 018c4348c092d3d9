package foldtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Calls are what a history has of them.
type Calls[B, C any] struct {
	// Draw makes the next call, which needs no id; recent are those before it, of which it may be one again, as it was
	// or with other content.
	Draw func(r *rand.Rand, recent []*event.Event) *event.Event
	// Observe makes a fold like NewFold that reports of each command what it answered.
	Observe func(observe func(Decision)) fold.Fold[B, C]
	// Describe writes an answer down, for comparison; by fmt.Sprint where it is not set.
	Describe func(value any, err error) string
	// Tally counts answers over all histories.
	Tally *Tally
}

func (c *Calls[B, C]) describe(value any, err error) string {
	if c.Describe == nil {
		return fmt.Sprint(value, err)
	}
	return c.Describe(value, err)
}

// Decision is what a fold made of one command.
type Decision struct {
	Offset   int64
	Key      string
	Identity fold.Identity
	Time     time.Time
	Repeated bool
	// Unlisted: accepted, and not in the list of calls.
	Unlisted bool
	Value    any // accepted with it
	Err      error
}

// Tally counts the answers of callers: a simulation in which nothing happens passes.
type Tally struct {
	Accepted, Repeated, Refused, Reused, Panics, Moved, Unknown, NotReady, Superseded atomic.Int64
}

// try is one call on its way through one owner.
type try struct {
	owner  *runningOwner
	event  *event.Event
	at     time.Time          // when it was made
	arrive chan stream.Record // the record stands before the log
	resume chan landing
	landed chan struct{}
	done   chan struct{}

	number string // of the record; "" while none was made
	answer fold.Answer
	err    error
}

// landing is what becomes of a record that was sent.
type landing int

const (
	landed     landing = iota
	lost               // it never arrives, and there is no answer
	unanswered         // it stands in the log, and there is no answer
	doubled            // it was sent again for want of an answer, and arrived twice
	delayed            // the first is still on its way when the second is acknowledged
	drifting           // the same, and no second: it arrives some time, or never
)

// callStep makes one choice in eight: a call, at an owner or a zombie, or what becomes of those under way.
func (w *history[B, C]) callStep() bool {
	switch n := w.random.IntN(1000); {
	case n < 40:
		// Owners rarely live long here, and some calls are to be answered.
		settled := w.random.IntN(2) == 0
		for range 12 {
			if settled && !w.current.ended {
				w.current.turn(goOn)
			}
		}
		w.call(w.current)
		if t := w.current.pending; t != nil && settled {
			w.land(t, landed)
			for range 16 {
				w.current.turn(goOn)
			}
		}
	case n < 45 && len(w.zombies) > 0:
		w.call(w.zombies[w.random.IntN(len(w.zombies))])
	case n < 115:
		w.landAny()
	case n < 125:
		w.drift()
	default:
		return false
	}
	return true
}

// call makes one at an owner, and lets it come to where its record stands before the log. Each comes a little later
// than the one before.
func (w *history[B, C]) call(a *runningOwner) {
	if a.ended || a.pending != nil {
		return
	}
	w.now = w.now.Add(time.Millisecond)
	e := w.simulation.Calls.Draw(w.random, w.recentCalls())
	if e.ID == "" {
		e.ID = fmt.Sprintf("c-%d", len(w.called))
		w.called = append(w.called, drawn{e, w.now})
	}
	t := &try{
		owner: a, event: e, at: w.now, arrive: make(chan stream.Record), resume: make(chan landing),
		landed: make(chan struct{}), done: make(chan struct{}),
	}
	w.tries = append(w.tries, t)
	a.next = t
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
	go func() {
		defer close(t.done)
		defer cancel()
		t.answer, t.err = a.owner.Call(ctx, e)
	}()
	select {
	case r := <-t.arrive:
		number, _ := r.Header(callNumber)
		t.number = string(number)
		a.pending = t
	case <-t.done:
	}
}

// callNumber is the header that distinguishes tries.
const callNumber = "tollgate-call"

// recentCalls are those that a repeat may be of: see recent.
func (w *history[B, C]) recentCalls() []*event.Event {
	var recent []*event.Event
	for i := len(w.called) - 1; i >= 0 && w.now.Sub(w.called[i].at) < (fold.WindowHours-2)*time.Hour; i-- {
		recent = append(recent, w.called[i].event)
	}
	return recent
}

// land lets a record that stands before the log go on.
func (w *history[B, C]) land(t *try, l landing) {
	t.owner.pending = nil
	if w.tooLate(t.at) {
		l = lost
	}
	t.resume <- l
	<-t.landed
}

// tooLate reports that a record would arrive when calls that were made with it may be forgotten: a producer gives up long before.
func (w *history[B, C]) tooLate(made time.Time) bool { return w.now.Sub(made) >= 2*time.Hour }

// landAny does so with one of the pending ones, if there are any.
func (w *history[B, C]) landAny() {
	var waiting []*try
	for _, t := range w.tries {
		if t.owner.pending == t {
			waiting = append(waiting, t)
		}
	}
	if len(waiting) == 0 {
		return
	}
	t := waiting[w.random.IntN(len(waiting))]
	l := landed
	if w.random.IntN(4) == 0 {
		l = landing(w.random.IntN(int(drifting) + 1))
	}
	w.land(t, l)
}

// drift lets a record that was long given up arrive.
func (w *history[B, C]) drift() {
	if n := len(w.adrift); n > 0 {
		i := w.random.IntN(n)
		if !w.tooLate(w.adrift[i].Time) {
			w.appendCall(w.adrift[i])
		}
		w.adrift = append(w.adrift[:i:i], w.adrift[i+1:]...)
	}
}

func (w *history[B, C]) appendCall(r stream.Record) {
	if err := w.backend.Log().Append(r); err != nil {
		w.t.Errorf("append call: %v", err)
	}
}

// AppendCalls stands still before the log until the history lets it land.
func (p *faulty[B, C]) AppendCalls(_ context.Context, records ...stream.Record) []stream.ProduceResult {
	t := p.runningOwner.next
	if len(records) != 1 {
		p.history.t.Errorf("%d records were appended at once, and one call was made", len(records))
	}
	r := records[0]
	t.arrive <- r
	defer func() { t.landed <- struct{}{} }()
	results := []stream.ProduceResult{{}}
	switch <-t.resume {
	case landed:
		p.history.appendCall(r)
	case lost:
		results[0].Err = stream.ErrUnknown
	case unanswered:
		p.history.appendCall(r)
		results[0].Err = stream.ErrUnknown
	case doubled:
		p.history.appendCall(r)
		p.history.appendCall(r)
	case delayed:
		p.history.adrift = append(p.history.adrift, r)
		p.history.appendCall(r)
	case drifting:
		p.history.adrift = append(p.history.adrift, r)
		results[0].Err = stream.ErrUnknown
	}
	return results
}

// endCalls brings home what is still on its way, before the log is closed.
func (w *history[B, C]) endCalls() {
	for _, t := range w.tries {
		if t.owner.pending == t {
			w.land(t, landing(w.random.IntN(int(drifting)+1)))
		}
	}
	for len(w.adrift) > 0 {
		w.drift()
	}
}

// checkCalls compares the answers of callers with what an undisturbed run over the same log made of their records.
func (w *history[B, C]) checkCalls(seed uint64, decided map[int64]Decision) {
	w.t.Helper()
	type record struct {
		identity fold.Identity
		number   string
	}
	copies := make(map[record][]int64)
	w.eachCall(func(offset int64, e *event.Event, number string) {
		r := record{e.Identity(), number}
		copies[r] = append(copies[r], offset)
	})
	for _, t := range w.tries {
		<-t.done // every owner has ended, so every call has
		at := copies[record{t.event.Identity(), t.number}]
		if t.number == "" {
			at = nil
		}
		if why := w.violation(t, at, decided); why != "" {
			w.t.Errorf("seed %d: call %s of %s under number %s, at offsets %v: %s (answer %+v, %v)", seed, t.event.ID, t.event.Subject, t.number, at, why, t.answer, t.err)
		}
	}
	w.checkList(seed, decided)
}

// violation is what is wrong with the answer to one try.
func (w *history[B, C]) violation(t *try, at []int64, decided map[int64]Decision) string {
	tally := w.simulation.Calls.Tally
	var decisions []Decision
	for _, offset := range at {
		if j, ok := decided[offset]; ok {
			decisions = append(decisions, j)
		}
	}
	tally.Superseded.Add(int64(max(0, len(at)-1)))
	if len(decisions) > 1 {
		return "its copies were decided more than once"
	}
	same := func(value any, err error) bool {
		return w.simulation.Calls.describe(value, err) == w.simulation.Calls.describe(t.answer.Value, t.err)
	}
	final := false // a decision, after which nothing else may be true
	switch {
	case t.err == nil:
		final = true
		if t.answer.Repeated {
			tally.Repeated.Add(1)
		} else {
			tally.Accepted.Add(1)
		}
		if len(decisions) == 0 || decisions[0].Err != nil || !same(decisions[0].Value, nil) || decisions[0].Repeated != t.answer.Repeated {
			return fmt.Sprintf("accepted, and the undisturbed run decided %+v", decisions)
		}
	case fault.ReasonOf(t.err) == "OUTCOME_UNKNOWN":
		if errors.Is(t.err, fold.ErrMoved) {
			tally.Moved.Add(1)
			if len(at) == 0 {
				return "moved, and its record does not stand in the log"
			}
		} else {
			tally.Unknown.Add(1)
		}
	case errors.Is(t.err, fold.ErrUnknown):
		tally.NotReady.Add(1)
		if len(at) > 0 {
			return "its record stands in the log, and the answer was that none does"
		}
	default:
		final = true
		switch fault.ReasonOf(t.err) {
		case "ID_REUSED":
			tally.Reused.Add(1)
		case "PANIC":
			tally.Panics.Add(1)
		default:
			tally.Refused.Add(1)
			if len(decisions) == 0 || !same(nil, decisions[0].Err) {
				return fmt.Sprintf("refused, and the undisturbed run decided %+v", decisions)
			}
		}
		if len(decisions) > 0 && decisions[0].Err == nil {
			return "it was counted all the same"
		}
	}
	if final && !t.owner.held(at) {
		return "answered by an owner that did not commit it"
	}
	return ""
}

// held reports whether an owner has itself committed the first of a call's copies.
func (a *runningOwner) held(at []int64) bool {
	for _, c := range a.commits {
		if len(at) > 0 && c[0] <= at[0] && at[0] < c[1] {
			return true
		}
	}
	return false
}

// checkList keeps the list of accepted calls as it is promised: the newest 16 of a subject, of 24 hours.
func (w *history[B, C]) checkList(seed uint64, decided map[int64]Decision) {
	type made struct {
		identity fold.Identity
		at       time.Time
	}
	lists := make(map[string][]made)
	w.eachCall(func(offset int64, _ *event.Event, _ string) {
		j, ok := decided[offset]
		if !ok || j.Err != nil && !j.Repeated || j.Unlisted && !j.Repeated {
			return
		}
		list := lists[j.Key]
		found := false
		for _, m := range list[max(0, len(list)-16):] {
			found = found || m.identity == j.Identity && j.Time.Sub(m.at) < 24*time.Hour
		}
		if found != j.Repeated {
			w.t.Errorf("seed %d: call at offset %d was counted before: %v, and it was decided as repeated: %v", seed, offset, found, j.Repeated)
		}
		if !found {
			lists[j.Key] = append(list, made{j.Identity, j.Time})
		}
	})
}

// eachCall walks the commands of the log, those included that were cut off.
func (w *history[B, C]) eachCall(visit func(offset int64, e *event.Event, number string)) {
	log := w.backend.Log()
	start, end := log.Range()
	if start > 0 {
		log = untrimmed(w.t, log)
		start = 0
	}
	for start < end {
		records, err := log.Read(start, 1000)
		if err != nil || len(records) == 0 {
			w.t.Fatalf("read log: %d records, %v", len(records), err)
		}
		for _, r := range records {
			start = r.Offset + 1
			e, err := event.Decode(r.Value)
			if err != nil || !event.IsCommand(e.Type) {
				continue
			}
			number, _ := r.Header(callNumber)
			visit(r.Offset, e, string(number))
		}
	}
}
