package foldtest

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
)

// peers are the logs of all partitions of a topic, where there are several.
type peers []Journal

// PartitionIn is the log of n that a key belongs to.
func PartitionIn(key string, n int) int { return int(key[len(key)-1]) % n }

// logOf is the log that a record belongs to.
func (w *history[B, C]) logOf(r stream.Record) Journal {
	if len(w.peers) == 0 {
		return w.backend.Log()
	}
	return w.peers[PartitionIn(string(r.Key), len(w.peers))]
}

// RunAmong runs one random history of several partitions whose folds send records to each other's logs, as outcomes
// on the topic "log". Each must have published what an undisturbed run over the log it ended with would have. All of it
// happens within the window in which ids are remembered: what is published again after a loss of the store counts from
// its log as a repeat, and one from before the window is another event.
func (l Simulation[B, C]) RunAmong(t testing.TB, seed uint64, backends ...Backend) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 2))
	var logs peers
	for _, b := range backends {
		logs = append(logs, b.Log())
	}
	histories := make([]*history[B, C], len(backends))
	for i, b := range backends {
		histories[i] = &history[B, C]{simulation: l, t: t, backend: b, random: random, now: epoch, faults: true, peers: logs}
		histories[i].start()
	}
	for range l.Steps * len(backends) {
		w := histories[random.IntN(len(histories))]
		w.step()
		for _, other := range histories { // one time, one configuration, one producer
			other.now, other.revision, other.drawn = w.now, w.revision, w.drawn
		}
	}
	for _, w := range histories {
		w.quiet = true
		w.bury()
	}
	// What is on its way arrives before the logs are closed.
	settleAll(t, histories)
	for _, w := range histories {
		for _, other := range histories {
			if other.now.After(w.now) {
				w.now = other.now
			}
		}
		w.end()
	}
	settleAll(t, histories)
	for i, w := range histories {
		w.stop()
		reference := w.reference(nil)
		want, got := reference.published(), w.published()
		l.compare(t, seed, want, got)
		l.compareTables(t, seed, want, got)
		compareState(t, seed, l.NewFold(), reference.backend, backends[i])
		l.replays(t, seed, w, got)
	}
}

// settleAll lets owners go on, in turns, until none has anything to do.
func settleAll[B, C any](t testing.TB, histories []*history[B, C]) {
	t.Helper()
	for _, w := range histories {
		w.idle = 0
	}
	for range 100_000 {
		busy := false
		for _, w := range histories {
			if w.idle < idleTurns {
				busy = true
			}
			w.goOn()
		}
		if !busy {
			return
		}
	}
	t.Fatal("the owners never came to the end of their logs")
}

// Published are the outcomes that stand on a backend, repeats included, in their order.
func Published(t testing.TB, b Backend) []stream.Record {
	t.Helper()
	w := &history[struct{}, struct{}]{t: t, backend: b}
	return w.published()
}

// Firsts are those, each once.
func Firsts(t testing.TB, b Backend) []stream.Record {
	t.Helper()
	seen := make(map[string]bool)
	return slices.DeleteFunc(Published(t, b), func(r stream.Record) bool {
		again := seen[idOf(r)]
		seen[idOf(r)] = true
		return again
	})
}

// Accepted are the events of a log, trimmed or not, without control records.
func Accepted(t testing.TB, b Backend) (events []*event.Event) {
	t.Helper()
	log := b.Log()
	start, end := log.Range()
	if start > 0 {
		log = untrimmed(t, log)
		start = 0
	}
	for start < end {
		records, err := log.Read(start, 1000)
		if err != nil || len(records) == 0 {
			t.Fatalf("read log: %d records, %v", len(records), err)
		}
		for _, r := range records {
			if e, err := event.Decode(r.Value); err == nil && !event.IsControl(e.Type) {
				events = append(events, e)
			}
		}
		start = records[len(records)-1].Offset + 1
	}
	return events
}

// Bodies are those of all records of a backend's partition, by subject.
func Bodies[B, C any](t testing.TB, f fold.Fold[B, C], b Backend) map[string]B {
	t.Helper()
	out := make(map[string]B)
	for key, raw := range bodies(t, f, b) {
		body, err := f.Decode(raw)
		if err != nil {
			t.Fatalf("record %s: %v", key, err)
		}
		out[key[len("r:"):]] = body
	}
	return out
}
