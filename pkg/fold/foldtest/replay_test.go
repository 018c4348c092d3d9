package foldtest_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

func TestReplay_EndsWithStateOfItsOffset(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents, c.Batch = 20, 7 }
	type moment struct {
		until  int64
		bodies map[string]count
	}
	var moments []moment
	for stage := range 12 {
		for i := range 15 {
			d.Accept(usage(fmt.Sprintf("%d-%d", stage, i), fmt.Sprintf("44%d", i%4), 5, d.Now))
			d.Now = d.Now.Add(3 * time.Minute)
		}
		d.Work()
		m := moment{d.Watermark().Offset, make(map[string]count)}
		for i := range 4 {
			key := fmt.Sprintf("acme/44%d", i)
			m.bodies[key], _ = d.Body(key)
		}
		moments = append(moments, m)
	}
	begins := make(map[int64]bool)
	for _, m := range moments {
		for _, near := range []bool{false, true} {
			r, err := d.Replay(replay.Config[count, int64]{Until: m.until, Near: near})
			if err != nil {
				t.Fatal(err)
			}
			if got := maps.Collect(r.All()); !maps.Equal(got, m.bodies) {
				t.Errorf("up to %d from %d: %v; want %v", m.until, r.From, got, m.bodies)
			}
			if r.Partial() != (r.From > 0) || !near && r.From > 0 {
				t.Errorf("up to %d, near %t: from %d, partial %t", m.until, near, r.From, r.Partial())
			}
			begins[r.From] = true
		}
	}
	if len(begins) < 4 {
		t.Errorf("replays began at %v; want snapshots among them", begins)
	}
}

func TestReplay_FromSnapshotEqualsFromBeginning(t *testing.T) {
	t.Parallel()
	// Worked in one go, a snapshot's records are of a later state than its beginning.
	if replaysAlike(t, 10)+replaysAlike(t, 150) == 0 {
		t.Fatal("no outcomes behind a snapshot")
	}
}

// replaysAlike replays a log that was worked every so many events up to each of its offsets, and counts the outcomes
// that were published behind a snapshot.
func replaysAlike(t *testing.T, every int) (compared int) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents, c.Batch = 20, 7 }
	for i := range 150 {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%d", i%4), 30, d.Now))
		if d.Now = d.Now.Add(3 * time.Minute); (i+1)%every == 0 {
			d.Work()
		}
	}
	for until := range d.Watermark().Offset + 1 {
		steps := make(map[bool]map[string][]stream.Record)
		replay := func(near bool) (int64, map[string]count) {
			steps[near] = make(map[string][]stream.Record)
			r, err := d.Replay(replay.Config[count, int64]{Until: until, Near: near, Visit: func(s fold.Step[count]) {
				steps[near][fmt.Sprint(s.Key, s.Offset, s.Timer, s.Due)] = s.Outcomes
			}})
			if err != nil {
				t.Fatal(err)
			}
			return r.From, maps.Collect(r.All())
		}
		_, far := replay(false)
		from, near := replay(true)
		if !maps.Equal(far, near) {
			t.Fatalf("up to %d from %d: %v; want %v", until, from, near, far)
		}
		for step, outcomes := range steps[true] {
			if len(outcomes) != len(steps[false][step]) {
				t.Fatalf("up to %d from %d: %s publishes %d; want %d", until, from, step, len(outcomes), len(steps[false][step]))
			}
			if from > 0 {
				compared += len(outcomes)
			}
		}
	}
	return compared
}

func TestReplay_OfTrimmedLogIsPartial(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents = 3 }
	for i := range 50 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
	}
	d.Work()
	until := d.Watermark().Offset
	d.Log().Trim(d.Oldest())
	r, err := d.Replay(replay.Config[count, int64]{Until: until})
	if err != nil || !r.Partial() || r.From == 0 {
		t.Fatalf("replay %+v, %v", r, err)
	}
	if n, _ := r.Body("acme/44"); n.spent != 50 {
		t.Errorf("spent %d", n.spent)
	}
	d.Log().Trim(until) // neither the beginning nor a snapshot that goes on
	if _, err := d.Replay(replay.Config[count, int64]{Until: until - 1}); err == nil {
		t.Error("a log that does not hold the offset was folded")
	}
	d.Log().Trim(d.Oldest() + 1)
	d.DropSnapshots()
	d.Accept(usage("more", "44", 1, d.Now))
	if _, err := d.Replay(replay.Config[count, int64]{Until: until + 1}); err == nil || !strings.Contains(err.Error(), "neither the log nor a snapshot") {
		t.Errorf("replay: %v", err)
	}
}

func TestReplay_OneSubjectHasStepsWithBodies(t *testing.T) {
	d := partition(t)
	for i := range 30 {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%d", i%3), 40, d.Now))
		d.Now = d.Now.Add(time.Second)
	}
	d.Accept(usage("0", "440", 40, noon), usage("no", "440", amountRejected, d.Now))
	d.Now = noon.Add(6*time.Hour + time.Second)
	d.Work()
	var lines []string
	_, err := d.Replay(replay.Config[count, int64]{Until: d.Watermark().Offset, Subject: "acme/440", Visit: func(s fold.Step[count]) {
		what := s.Timer
		if s.Event != nil {
			what = s.Event.ID
		}
		var published []string
		for _, r := range s.Outcomes {
			if reason, ok := r.Header(event.HeaderReason); ok {
				published = append(published, string(reason))
			} else if e, err := event.Decode(r.Value); err == nil {
				published = append(published, strings.TrimPrefix(e.Type, "safeguard."))
			}
		}
		lines = append(lines, fmt.Sprintf("%s %d->%d %s", what, s.Before.spent, s.After.spent, strings.Join(published, "+")))
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"0 0->40 ", "3 40->80 ", "6 80->120 reached", "9 120->160 ", "12 160->200 ", "15 200->240 ", "18 240->280 ", "21 280->320 ", "24 320->360 ", "27 360->400 ",
		"no 400->400 UNLUCKY", "remind 400->400 alert", "renew 400->0 renewed",
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("steps:\n%s", got)
	}
}

func TestReplay_StoredRecordIsComparedAsOfItsEnd(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 60, d.Now), usage("2", "45", 60, d.Now), usage("3", "46", 60, d.Now))
	d.Work()
	r, err := d.Replay(replay.Config[count, int64]{Until: d.Watermark().Offset})
	if err != nil {
		t.Fatal(err)
	}
	d.Accept(usage("4", "45", 1, d.Now)) // changed since
	d.Work()
	stood := func(number string) (count, bool) {
		_, values, err := d.Store().Peek(t.Context(), d.Partition(), []string{"r:acme/" + number})
		if err != nil {
			t.Fatal(err)
		}
		n, _, known, err := r.Stood("acme/"+number, values[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		return n, known
	}
	if n, known := stood("44"); !known || n.spent != 60 {
		t.Errorf("44: %v, known %t", n, known)
	}
	if _, known := stood("45"); known {
		t.Error("45 was changed since, and is taken for what it was")
	}
}

func TestReplay_WritesNothing(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 150, d.Now))
	d.Work()
	at, n := d.Watermark(), len(d.Published())
	_, end := d.Log().Range()
	d.Now = noon.Add(20 * time.Hour) // much is due by now, and nothing by the log's time
	if _, err := d.Replay(replay.Config[count, int64]{Until: at.Offset}); err != nil {
		t.Fatal(err)
	}
	if _, now := d.Log().Range(); now != end || len(d.Published()) != n || d.Watermark().Serial != at.Serial {
		t.Error("a replay wrote something")
	}
}

func TestReplay_OfEngineEqualsStore(t *testing.T) {
	t.Parallel()
	const partitions, subjects = 2, 20
	f := newFleet(t, partitions)
	limits := fold.DefaultLimits()
	limits.SnapshotEvents, limits.BatchRecords = 1000, 100
	one := f.join("one:1", limits)
	f.ready(one)
	var events []*event.Event
	for i := range 3000 {
		events = append(events, usage(fmt.Sprint(i%2900), fmt.Sprintf("44%02d", i%2900%subjects), int64(i%2900%9), noon))
	}
	f.accept(events...)
	for i := range subjects { // answered after the commit of all before it in its partition
		if _, err := call(t, charge(fmt.Sprint("c", i), fmt.Sprintf("44%02d", i), 5), one); err != nil {
			t.Fatal(err)
		}
	}
	one.stop()
	compared, steps := 0, 0
	for number := range int32(partitions) {
		p := state.Partition{Domain: "simulation", Number: number, Count: partitions}
		w, _, err := f.store.Peek(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for cursor := ""; ; {
			found, next, err := f.store.Scan(t.Context(), p, "r:", cursor, 100)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, found...)
			if cursor = next; cursor == "" {
				break
			}
		}
		_, values, err := f.store.Peek(t.Context(), p, keys)
		if err != nil {
			t.Fatal(err)
		}
		stored := make(map[string][]byte)
		for i, key := range keys {
			stored[key[len("r:"):]] = values[i]
		}
		compare := func(c replay.Config[count, int64]) {
			t.Helper()
			c.Until = w.Offset
			c.Visit = func(fold.Step[count]) { steps++ }
			r, err := replay.OfEngine(t.Context(), one.Engine, number, c)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for subject, body := range r.All() {
				n++
				stood, exists, known, err := r.Stood(subject, stored[subject], nil)
				if err != nil || !exists || !known || stood != body || body.spent == 0 {
					t.Errorf("%s, from %d: folded again as %v; stored is %v, known %t, %v", subject, r.From, body, stood, known, err)
				}
			}
			if compared += n; c.Subject == "" && n != len(stored) {
				t.Errorf("%d records are folded again, %d are stored", n, len(stored))
			}
		}
		compare(replay.Config[count, int64]{})
		compare(replay.Config[count, int64]{Near: true})
		for subject := range stored {
			compare(replay.Config[count, int64]{Subject: subject})
		}
	}
	if compared != 3*subjects || steps < 2*(2900+subjects) {
		t.Errorf("%d records were compared, in %d steps", compared, steps)
	}
}
