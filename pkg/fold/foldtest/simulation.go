package foldtest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/internal/control"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Simulation is what a model of one partition is made of.
type Simulation[B, C any] struct {
	// NewFold makes a fold, as an engine does.
	NewFold func() fold.Fold[B, C]
	// Options are those of its engine.
	Options fold.Options[C]
	// Draw makes the next event, which needs no id; recent are those before it, now the time at which it is accepted.
	Draw func(r *rand.Rand, recent []*event.Event, now time.Time) *event.Event
	// Configuration of a revision.
	Configuration func(revision int64) C
	// Calls, where set, are made among the events.
	Calls *Calls[B, C]
	// Steps is how many choices a history has.
	Steps int
	// Sequence reads subject, sequence and content of an outcome that a table is kept of; ok is false for other
	// records.
	Sequence func(r stream.Record) (subject string, sequence int64, ok bool)
	// Unordered are topics on which outcomes of one key have no order among them; Loose, where set, reports it of an outcome of
	// another topic.
	Unordered map[string]bool
	Loose     func(r stream.Record) bool
	// Leap is the longest step of time, below a day; 8 h where it is 0.
	Leap time.Duration
	// Model, where set, is shown each finished history by itself: its whole log, what was published first, and the
	// bodies that it ended with.
	Model func(t testing.TB, seed uint64, log []stream.Record, published []stream.Record, bodies map[string][]byte)
	// Incidents are the codes that the fold itself may raise.
	Incidents []string
}

// Run makes one random history and compares what it published, byte for byte, with an undisturbed run over the same
// log. The seed replays it.
func (l Simulation[B, C]) Run(t testing.TB, seed uint64, b Backend) {
	t.Helper()
	w := &history[B, C]{simulation: l, t: t, backend: b, random: rand.New(rand.NewPCG(seed, 1)), now: epoch, faults: true}
	w.choose()
	w.end()
	w.settle()
	got := w.published()
	decided := make(map[int64]Decision)
	reference := w.reference(decided)
	want := reference.published()
	l.compare(t, seed, want, got)
	l.compareTables(t, seed, want, got)
	compareState(t, seed, l.NewFold(), reference.backend, b)
	if l.Calls != nil {
		w.checkCalls(seed, decided)
	}
	if l.Model != nil {
		l.Model(t, seed, wholeOf(t, reference.backend.Log()), want, bodies(t, l.NewFold(), reference.backend))
	}
	l.replays(t, seed, w, got)
}

// epoch is when histories begin: far enough in the past for a real broker to take every stamp of them.
var epoch = time.Date(2025, 3, 29, 22, 0, 0, 0, time.UTC)

// Backend is where a history runs: in memory, or on real servers.
type Backend interface {
	Partition() state.Partition
	Store() state.Store
	// Dump copies the store, Restore sets it back; nil empties it.
	Dump() any
	Restore(dump any)
	// Log and Outcomes are append-only.
	Log() Journal
	Outcomes() Journal
	Snapshots() fold.Snapshots
	// Oldest is the offset the log may be cut to without losing what the newest complete snapshot needs; 0 where it
	// can't be cut.
	Oldest() int64
	// ScanStep is how many keys a step of a scan looks at, at least: others may have theirs in the store.
	ScanStep() int
}

// Journal is one partition of a topic.
type Journal interface {
	Append(records ...stream.Record) error
	// Read returns records from an offset on, up to n.
	Read(from int64, n int) ([]stream.Record, error)
	Range() (start, end int64)
	Trim(start int64)
}

// history is one history in the making. One goroutine runs at a time: an owner runs from one call into the history to the
// next, then stands still until the history lets it go on, fail, or die.
type history[B, C any] struct {
	simulation Simulation[B, C]
	t          testing.TB
	backend    Backend
	random     *rand.Rand
	faults     bool

	now        time.Time
	revision   int64
	committed  int64
	generation int
	drawn      []drawn
	dumps      []any
	called     []drawn
	tries      []*try
	adrift     []stream.Record // calls that are still on their way

	current *runningOwner
	zombies []*runningOwner
	flights []*flight[B, C]
	idle    int  // fetches in a row that found nothing
	quiet   bool // owners append nothing: the log is as it is
	peers   peers
}

const (
	goOn       injection = iota
	failBefore           // an error, and nothing happened
	failAfter            // an error, and it happened: a lost answer
	dieBefore            // killed before the call
	dieAfter             // killed after it
)

var (
	errKilled = errors.New("killed")
	errFault  = errors.New("no answer")
)

// choose makes the choices.
func (w *history[B, C]) choose() {
	w.start()
	for range w.simulation.Steps {
		w.step()
	}
}

// step makes one choice.
func (w *history[B, C]) step() {
	if w.current.ended {
		w.start()
	}
	w.reachOne()
	w.commitOne()
	if w.simulation.Calls != nil && w.peers == nil && w.callStep() {
		return
	}
	switch n := w.random.IntN(1000); {
	case n < 700:
		w.current.turn(w.inject())
	case n < 880:
		w.append(1 + w.random.IntN(10))
	case n < 910:
		w.now = w.now.Add(time.Duration(w.random.IntN(120_000)) * time.Millisecond)
	case n < 920:
		if later := w.now.Add(time.Duration(w.random.IntN(int(cmp.Or(w.simulation.Leap, 8*time.Hour)/time.Second))) * time.Second); w.peers == nil || later.Sub(epoch) < (fold.WindowHours-4)*time.Hour {
			w.now = later
		}
	case n < 935:
		w.revision++
	case n < 950:
		w.dumps = append(w.dumps, w.backend.Dump())
	case n < 952: // set back to a moment ago, under the same owner
		dump := w.backend.Dump()
		for range 1 + w.random.IntN(6) {
			w.current.turn(goOn)
		}
		w.backend.Restore(dump)
	case n < 955 && len(w.dumps) > 0:
		w.backend.Restore(w.dumps[w.random.IntN(len(w.dumps))])
	case n < 958:
		w.backend.Restore(nil)
	case n < 970:
		w.current.turn(dieBefore)
	case n < 980: // stalls, and another owner takes over
		w.zombies = append(w.zombies, w.current)
		w.start()
	case n < 998:
		if len(w.zombies) > 0 {
			z := w.zombies[w.random.IntN(len(w.zombies))]
			for range w.random.IntN(8) {
				z.turn(w.inject())
			}
		}
	default:
		w.backend.Log().Trim(w.backend.Oldest())
	}
}

func (w *history[B, C]) inject() injection {
	switch w.random.IntN(60) {
	case 0:
		return failBefore
	case 1:
		return failAfter
	case 2:
		return dieAfter
	default:
		return goOn
	}
}

// append accepts events: new ones, and earlier ones again.
func (w *history[B, C]) append(n int) {
	records := make([]stream.Record, 0, n)
	for range n {
		w.now = w.now.Add(time.Duration(w.random.IntN(2000)) * time.Millisecond)
		// Several writers stamp; their clocks differ a little.
		stamp := w.now.Add(-time.Duration(w.random.IntN(1500)) * time.Millisecond).Truncate(time.Millisecond)
		var e *event.Event
		recent := w.recent()
		if len(recent) > 0 && w.random.IntN(8) == 0 {
			again := *recent[w.random.IntN(len(recent))]
			e = &again
		} else {
			e = w.simulation.Draw(w.random, recent, stamp)
			if e.ID == "" {
				e.ID = fmt.Sprintf("e-%d", len(w.drawn))
			}
			w.drawn = append(w.drawn, drawn{e, w.now})
		}
		again := *e
		again.ReceivedAt = stamp
		r, err := again.Record("log")
		if err != nil {
			w.t.Fatalf("encode event: %v", err)
		}
		records = append(records, r)
	}
	for _, r := range records {
		if err := w.logOf(r).Append(r); err != nil {
			w.t.Fatalf("append: %v", err)
		}
	}
}

// drawn is an event and when it was accepted first.
type drawn struct {
	event *event.Event
	at    time.Time
}

// recent are the events of the last hours: a repeat from before the window in which ids are remembered is another
// event, by contract.
func (w *history[B, C]) recent() []*event.Event {
	var recent []*event.Event
	for i := len(w.drawn) - 1; i >= 0 && w.now.Sub(w.drawn[i].at) < (fold.WindowHours-2)*time.Hour; i-- {
		recent = append(recent, w.drawn[i].event)
	}
	return recent
}

// end closes the log with a tick. All that is due by then is worked, within a minute too.
func (w *history[B, C]) end() {
	w.endCalls()
	w.quiet = true
	r, err := control.NewTick("simulation", w.now.Add(2*time.Minute)).Record("log")
	if err != nil {
		w.t.Fatalf("encode tick: %v", err)
	}
	r.Key = nil
	if err := w.backend.Log().Append(r); err != nil {
		w.t.Fatalf("append: %v", err)
	}
}

// reference runs one owner over the same log, undisturbed.
func (w *history[B, C]) reference(decided map[int64]Decision) *history[B, C] {
	memory := NewMemory()
	memory.log = w.backend.Log()
	sim := w.simulation
	if sim.Calls != nil {
		sim.NewFold = func() fold.Fold[B, C] {
			return sim.Calls.Observe(func(j Decision) { decided[j.Offset] = j })
		}
	}
	r := &history[B, C]{simulation: sim, t: w.t, backend: memory, random: rand.New(rand.NewPCG(1, 1)), quiet: true, now: epoch.AddDate(10, 0, 0)}
	if start, _ := w.backend.Log().Range(); start > 0 {
		memory.log = untrimmed(w.t, w.backend.Log())
	}
	r.start()
	r.settle()
	return r
}

func (w *history[B, C]) published() []stream.Record { return wholeOf(w.t, w.backend.Outcomes()) }

// wholeOf are all records of a journal.
func wholeOf(t testing.TB, j Journal) []stream.Record {
	start, end := j.Range()
	var all []stream.Record
	for start < end {
		records, err := j.Read(start, 1000)
		if err != nil || len(records) == 0 {
			t.Fatalf("read journal: %d records, %v", len(records), err)
		}
		all = append(all, records...)
		start = records[len(records)-1].Offset + 1
	}
	return all
}
