package foldtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Law says what a model of one partition is made of.
type Law[B, C any] struct {
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
	// Incidents are the codes that the fold itself may raise.
	Incidents []string
}

// Check runs one random history and compares what it published, byte for byte, with an undisturbed run over the same
// log. The seed replays it.
func (l Law[B, C]) Check(t testing.TB, seed uint64, b Bench) {
	t.Helper()
	w := &world[B, C]{law: l, t: t, bench: b, random: rand.New(rand.NewPCG(seed, 1)), now: epoch, faults: true}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d: replay with -run '%s' -seed=%d", seed, t.Name(), seed)
		}
	}()
	w.history()
	w.end()
	w.settle()
	got := w.published()
	judged := make(map[int64]Judgement)
	reference := w.reference(judged)
	want := reference.published()
	compare(t, seed, want, got)
	l.compareTables(t, seed, want, got)
	compareState(t, seed, l.NewFold(), reference.bench, b)
	if l.Calls != nil {
		w.checkCalls(seed, judged)
	}
	l.replays(t, seed, w, got)
}

// epoch is when histories begin: far enough in the past for a real broker to take every stamp of them.
var epoch = time.Date(2025, 3, 29, 22, 0, 0, 0, time.UTC)

// Bench is where a history runs: in memory, or on real servers.
type Bench interface {
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
}

// Journal is one partition of a topic.
type Journal interface {
	Append(records ...stream.Record) error
	// Read returns records from an offset on, up to n.
	Read(from int64, n int) ([]stream.Record, error)
	Range() (start, end int64)
	Trim(start int64)
}

// world is one history in the making. One goroutine runs at a time: an owner runs from one call into the world to the
// next, then stands still until the history lets it go on, fail, or die.
type world[B, C any] struct {
	law    Law[B, C]
	t      testing.TB
	bench  Bench
	random *rand.Rand
	faults bool

	now        time.Time
	revision   int64
	committed  int64
	generation int
	drawn      []drawn
	dumps      []any
	called     []drawn
	tries      []*try
	adrift     []stream.Record // calls that are still on their way

	current *actor
	zombies []*actor
	idle    int  // fetches in a row that found nothing
	quiet   bool // owners append nothing: the log is as it is
	peers   peers
}

// actor is an owner and the goroutine it runs in.
type actor struct {
	generation int
	committed  int64
	arrive     chan string
	resume     chan verdict
	done       chan error
	dead       bool
	ended      bool

	owner    caller
	next     *try // about to be appended
	standing *try // before the log
	// commits are those that were answered: offsets before and after.
	commits [][2]int64
}

// caller is an owner, for calls.
type caller interface {
	Call(ctx context.Context, e *event.Event) (fold.Answer, error)
}

type verdict int

const (
	goOn       verdict = iota
	failBefore         // an error, and nothing happened
	failAfter          // an error, and it happened: a lost answer
	dieBefore          // killed before the call
	dieAfter           // killed after it
)

var (
	errKilled = errors.New("killed")
	errFault  = errors.New("no answer")
)

// call is a call out of an owner into the world.
func (a *actor) call(what string, effect func() error) error {
	if a.dead {
		return errKilled
	}
	a.arrive <- what
	switch <-a.resume {
	case failBefore:
		return errFault
	case failAfter:
		return errors.Join(effect(), errFault)
	case dieBefore:
		a.dead = true
		return errKilled
	case dieAfter:
		a.dead = true
		return errors.Join(effect(), errKilled)
	default:
		return effect()
	}
}

// turn lets an actor run to its next call, or its end.
func (a *actor) turn(v verdict) {
	if a.ended {
		return
	}
	a.resume <- v
	a.wait()
}

func (a *actor) wait() {
	select {
	case <-a.arrive:
	case err := <-a.done:
		_ = err // why it ended is its own affair: another opens the partition
		a.ended = true
	}
}

// start lets a new owner open the partition, as after a rebalance.
func (w *world[B, C]) start() {
	w.generation++
	a := &actor{generation: w.generation, committed: w.committed, arrive: make(chan string), resume: make(chan verdict), done: make(chan error, 1)}
	if a.committed == 0 {
		a.committed = -1
	}
	p := &port[B, C]{world: w, actor: a}
	o := fold.NewOwner(fold.OwnerConfig[B, C]{
		Service: "law", Partition: w.bench.Partition(), Address: fmt.Sprintf("owner-%d:1", w.generation), Topic: "log", Rejected: "rejected",
		Fold: w.law.NewFold(), Options: w.law.Options, Log: portLog[B, C]{p}, Appender: p, Store: portStore[B, C]{p}, Publisher: p, Revisions: p, Snapshots: portSnapshots[B, C]{p, w.bench.Snapshots()},
		Clock: func() time.Time { return w.now }, Logger: zap.NewNop(),
		Metrics: fold.NewMetrics("law", "law", prometheus.NewRegistry()),
		Cache:   1 + w.random.IntN(8), Batch: 1 + w.random.IntN(12), DueStep: 1 + w.random.IntN(3), FloorEvery: time.Duration(w.random.IntN(3)) * time.Second,
		SnapshotEvery: time.Hour, SnapshotEvents: int64(20 + w.random.IntN(100)),
	})
	a.owner = o
	w.current = a
	go func() { a.done <- o.Run(w.t.Context()) }()
	a.wait()
}

// history makes the choices.
func (w *world[B, C]) history() {
	w.start()
	for range w.law.Steps {
		w.step()
	}
}

// step makes one choice.
func (w *world[B, C]) step() {
	if w.current.ended {
		w.start()
	}
	if w.law.Calls != nil && w.peers == nil && w.callStep() {
		return
	}
	switch n := w.random.IntN(1000); {
	case n < 700:
		w.current.turn(w.verdict())
	case n < 880:
		w.append(1 + w.random.IntN(10))
	case n < 910:
		w.now = w.now.Add(time.Duration(w.random.IntN(120_000)) * time.Millisecond)
	case n < 920:
		if later := w.now.Add(time.Duration(w.random.IntN(8*3600)) * time.Second); w.peers == nil || later.Sub(epoch) < (fold.WindowHours-4)*time.Hour {
			w.now = later
		}
	case n < 935:
		w.revision++
	case n < 950:
		w.dumps = append(w.dumps, w.bench.Dump())
	case n < 952: // set back to a moment ago, under the same owner
		dump := w.bench.Dump()
		for range 1 + w.random.IntN(6) {
			w.current.turn(goOn)
		}
		w.bench.Restore(dump)
	case n < 955 && len(w.dumps) > 0:
		w.bench.Restore(w.dumps[w.random.IntN(len(w.dumps))])
	case n < 958:
		w.bench.Restore(nil)
	case n < 970:
		w.current.turn(dieBefore)
	case n < 980: // stalls, and somebody else takes over
		w.zombies = append(w.zombies, w.current)
		w.start()
	case n < 998:
		if len(w.zombies) > 0 {
			z := w.zombies[w.random.IntN(len(w.zombies))]
			for range w.random.IntN(8) {
				z.turn(w.verdict())
			}
		}
	default:
		w.bench.Log().Trim(w.bench.Oldest())
	}
}

func (w *world[B, C]) verdict() verdict {
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
func (w *world[B, C]) append(n int) {
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
			e = w.law.Draw(w.random, recent, stamp)
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
func (w *world[B, C]) recent() []*event.Event {
	var recent []*event.Event
	for i := len(w.drawn) - 1; i >= 0 && w.now.Sub(w.drawn[i].at) < (fold.WindowHours-2)*time.Hour; i-- {
		recent = append(recent, w.drawn[i].event)
	}
	return recent
}

// end closes the log with a tick. All that is due by then is worked, within a minute too.
func (w *world[B, C]) end() {
	w.endCalls()
	w.quiet = true
	r, err := fold.NewTick("law", w.now.Add(2*time.Minute)).Record("log")
	if err != nil {
		w.t.Fatalf("encode tick: %v", err)
	}
	r.Key = nil
	if err := w.bench.Log().Append(r); err != nil {
		w.t.Fatalf("append: %v", err)
	}
}

// settle runs zombies to their end, then the owner until nothing is left.
func (w *world[B, C]) settle() {
	w.bury()
	w.idle = 0
	for range 100_000 {
		if w.idle >= idleTurns {
			w.stop()
			return
		}
		w.goOn()
	}
	w.t.Fatal("the owner never came to the end of the log")
}

// idleTurns at the end of the log show that an owner has nothing left to do.
const idleTurns = 12

// bury runs zombies as far as they come.
func (w *world[B, C]) bury() {
	for _, z := range w.zombies {
		for range 300 {
			z.turn(goOn)
		}
	}
	for _, z := range w.zombies {
		for !z.ended {
			z.turn(dieBefore)
		}
	}
	w.zombies = nil
}

func (w *world[B, C]) goOn() {
	if w.current.ended {
		w.start()
	}
	w.current.turn(goOn)
}

func (w *world[B, C]) stop() {
	for !w.current.ended {
		w.current.turn(dieBefore)
	}
}

// reference runs one owner over the same log, undisturbed.
func (w *world[B, C]) reference(judged map[int64]Judgement) *world[B, C] {
	memory := NewMemory()
	memory.log = w.bench.Log()
	law := w.law
	if law.Calls != nil {
		law.NewFold = func() fold.Fold[B, C] {
			return law.Calls.Witness(func(j Judgement) { judged[j.Offset] = j })
		}
	}
	r := &world[B, C]{law: law, t: w.t, bench: memory, random: rand.New(rand.NewPCG(1, 1)), quiet: true, now: epoch.AddDate(10, 0, 0)}
	if start, _ := w.bench.Log().Range(); start > 0 {
		memory.log = untrimmed(w.t, w.bench.Log())
	}
	r.start()
	r.settle()
	return r
}

func (w *world[B, C]) published() []stream.Record {
	start, end := w.bench.Outcomes().Range()
	var all []stream.Record
	for start < end {
		records, err := w.bench.Outcomes().Read(start, 1000)
		if err != nil || len(records) == 0 {
			w.t.Fatalf("read outcomes: %d records, %v", len(records), err)
		}
		all = append(all, records...)
		start = records[len(records)-1].Offset + 1
	}
	return all
}

// place is where order is promised: one key of one topic.
type place struct{ topic, key string }

// firsts keeps the first appearance of each outcome, and complains when a repeat differs.
func firsts(t testing.TB, seed uint64, records []stream.Record) map[place][]stream.Record {
	seen := make(map[string]stream.Record)
	out := make(map[place][]stream.Record)
	for _, r := range records {
		id := idOf(r)
		first, ok := seen[id]
		if !ok {
			seen[id] = r
			at := place{topicOf(r), string(r.Key)}
			out[at] = append(out[at], r)
			continue
		}
		if !same(first, r) {
			t.Errorf("seed %d: outcome %s was told twice, differently:\n%s\n%s", seed, id, show(first), show(r))
		}
	}
	return out
}

const topicHeader = "law-topic"

// topicOf is the topic an outcome was meant for: a bench may keep all of them in one journal.
func topicOf(r stream.Record) string {
	topic, _ := r.Header(topicHeader)
	return string(topic)
}

func idOf(r stream.Record) string {
	if id, ok := r.Header(event.HeaderRejectedID); ok {
		return "rejected " + string(id)
	}
	id, _ := r.Header(event.HeaderID)
	return string(id)
}

func same(a, b stream.Record) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.Time.Equal(b.Time) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y stream.Header) bool { return x.Key == y.Key && bytes.Equal(x.Value, y.Value) })
}

func show(r stream.Record) string {
	e, err := event.Decode(r.Value)
	if err != nil {
		return fmt.Sprintf("%s %x", r.Time, r.Value)
	}
	reason, _ := r.Header(event.HeaderReason)
	return fmt.Sprintf("%s %s %s %s %s %v", r.Time.Format(time.RFC3339Nano), e.Type, e.ID, e.Subject, reason, e.Data)
}

func compare(t testing.TB, seed uint64, want, got []stream.Record) {
	t.Helper()
	expected, actual := firsts(t, seed, want), firsts(t, seed, got)
	for at, list := range expected {
		for i, r := range list {
			if i >= len(actual[at]) {
				t.Errorf("seed %d: %v: lost from the %dth of %d on: %s", seed, at, i, len(list), show(r))
				return
			}
			if !same(r, actual[at][i]) || idOf(r) != idOf(actual[at][i]) {
				t.Errorf("seed %d: %v: the %dth is not that of the undisturbed run:\nwant %s\ngot  %s", seed, at, i, show(r), show(actual[at][i]))
				return
			}
		}
	}
	for at, list := range actual {
		if n := len(expected[at]); len(list) > n {
			t.Errorf("seed %d: %v: told and never meant: %s", seed, at, show(list[n]))
			return
		}
	}
}

// compareTables keeps a table by sequence, as a consumer does.
func (l Law[B, C]) compareTables(t testing.TB, seed uint64, want, got []stream.Record) {
	t.Helper()
	table := func(records []stream.Record) map[string]int64 {
		last := make(map[string]int64)
		for _, r := range records {
			if subject, sequence, ok := l.Sequence(r); ok && sequence > last[subject] {
				last[subject] = sequence
			}
		}
		return last
	}
	expected, actual := table(want), table(got)
	if len(expected) != len(actual) {
		t.Errorf("seed %d: table of %d subjects, want %d", seed, len(actual), len(expected))
	}
	for subject, sequence := range expected {
		if actual[subject] != sequence {
			t.Errorf("seed %d: %s is at sequence %d, want %d", seed, subject, actual[subject], sequence)
		}
	}
}

// compareState compares the bodies that both runs ended with, and what is kept beside them.
func compareState[B, C any](t testing.TB, seed uint64, f fold.Fold[B, C], want, got Bench) {
	t.Helper()
	expected, actual := bodies(t, f, want), bodies(t, f, got)
	for key, body := range expected {
		if !bytes.Equal(body, actual[key]) {
			t.Errorf("seed %d: record %s ended as %x, want %x", seed, key, actual[key], body)
		}
	}
	if len(expected) != len(actual) {
		t.Errorf("seed %d: %d records, want %d", seed, len(actual), len(expected))
	}
	expected, actual = values(t, want, "a:"), values(t, got, "a:")
	if !maps.EqualFunc(expected, actual, bytes.Equal) {
		t.Errorf("seed %d: aside stand %q, want %q", seed, actual, expected)
	}
}

func bodies[B, C any](t testing.TB, f fold.Fold[B, C], b Bench) map[string][]byte {
	t.Helper()
	out := values(t, b, "r:")
	for key, v := range out {
		body, err := fold.BodyOf(v)
		if err != nil {
			t.Fatalf("record %s: %v", key, err)
		}
		decoded, err := f.Decode(body)
		if err != nil {
			t.Fatalf("record %s: %v", key, err)
		}
		out[key] = f.Append(nil, decoded)
	}
	return out
}

// values are all of a partition whose keys begin with a prefix.
func values(t testing.TB, b Bench, prefix string) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	s, p := b.Store(), b.Partition()
	ctx := context.WithoutCancel(t.Context())
	for cursor := ""; ; {
		keys, next, err := s.Scan(ctx, p, prefix, cursor, 100)
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		_, values, err := s.Peek(ctx, p, keys)
		if err != nil {
			t.Fatalf("peek: %v", err)
		}
		for i, v := range values {
			if !fold.Gone(v) {
				out[keys[i]] = v
			}
		}
		if cursor = next; cursor == "" {
			return out
		}
	}
}
