package foldtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

var noon = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

func drive(t testing.TB) *foldtest.Drive[count, int64] { return newDrive(t, law(0)) }

func newDrive(t testing.TB, l foldtest.Law[count, int64]) *foldtest.Drive[count, int64] {
	d := foldtest.NewDrive(t, noon, l.NewFold, l.Options, func(revision int64) int64 { return 100 * revision })
	d.Work() // the first revision stands in the log before any event
	return d
}

func usage(id, subject string, amount int64, at time.Time) *event.Event {
	return &event.Event{ID: id, Source: "test", Type: "usage.charged", Tenant: "acme", Subject: subject, Time: at,
		Data: &eventv1.UsageCharged{Net: &money.Money{CurrencyCode: "EUR", Units: amount}}}
}

// told lists the types and limits of what was published, rejections by reason.
func told(t *testing.T, records []stream.Record) string {
	t.Helper()
	var out []string
	for _, r := range records {
		if reason, ok := r.Header(event.HeaderReason); ok {
			out = append(out, string(reason))
			continue
		}
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := e.Data.(*eventv1.Safeguard)
		out = append(out, fmt.Sprintf("%s at %s limit %d", strings.TrimPrefix(e.Type, "safeguard."), e.Time.Format("15:04:05"), s.GetLimit().GetUnits()))
	}
	return strings.Join(out, ", ")
}

func TestWhatWasDueBeforeARevisionIsJudgedByTheOneBefore(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 150, d.Now)) // reached; the reminder is due in 95 s
	d.Work()
	d.Now = noon.Add(100 * time.Second)
	d.Newest = 2
	d.Work()
	if got, want := told(t, d.Told()), "reached at 12:00:00 limit 100, alert at 12:01:35 limit 100"; got != want {
		t.Fatalf("told %s; want %s", got, want)
	}
}

func TestATimerFiresAtItsDueTimeHoweverLateItIsWorked(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 150, d.Now))
	d.Work()
	d.Now = noon.Add(3 * time.Hour) // the owner was away; its clock brings the tick
	d.Work()
	if got, want := told(t, d.Told()), "reached at 12:00:00 limit 100, alert at 12:01:35 limit 100"; got != want {
		t.Fatalf("told %s; want %s", got, want)
	}
	if n, _ := d.Body("acme/44"); n.spent != 150 {
		t.Fatalf("spent %d", n.spent)
	}
	d.Now = noon.Add(6 * time.Hour)
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 0 {
		t.Fatalf("not renewed: spent %d", n.spent)
	}
}

// Timers within a minute once fired at its end, or never in a quiet partition.
func TestATimerWithinAMinuteFiresAsLogTimeReachesIt(t *testing.T) {
	const fired = "reached at 12:00:00 limit 100, alert at 12:01:35 limit 100"
	t.Run("by a tick, in a quiet partition", func(t *testing.T) {
		d := drive(t)
		d.Accept(usage("1", "44", 150, d.Now)) // the reminder is due in 95 s
		d.Work()
		d.Now = noon.Add(95*time.Second - time.Millisecond)
		d.Work()
		if got := told(t, d.Told()); got != "reached at 12:00:00 limit 100" {
			t.Fatalf("a millisecond before told %s", got)
		}
		d.Now = noon.Add(95 * time.Second)
		before := d.Watermark().Offset
		d.Work()
		if got := told(t, d.Told()); got != fired || d.Watermark().Offset != before+1 {
			t.Fatalf("told %s with %d ticks", got, d.Watermark().Offset-before)
		}
		d.Now = d.Now.Add(time.Second)
		d.Work()
		if d.Watermark().Offset != before+1 {
			t.Error("a tick for nothing")
		}
	})
	t.Run("by what others do, without a tick", func(t *testing.T) {
		d := drive(t)
		d.Accept(usage("1", "44", 150, d.Now))
		d.Now = noon.Add(95 * time.Second)
		d.Accept(usage("2", "45", 1, d.Now))
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Clock = func() time.Time { return noon } }
		d.Work()
		if got := told(t, d.Told()); got != fired {
			t.Fatalf("told %s", got)
		}
	})
	t.Run("many, some at a time, and listed again under the next", func(t *testing.T) {
		d := drive(t)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.DueStep = 7 }
		for i := range 50 {
			d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%d", i), 150, d.Now))
		}
		d.Work()
		d.Now = noon.Add(95 * time.Second)
		d.Work()
		if n := len(d.Told()); n != 100 {
			t.Errorf("told %d", n)
		}
		d.Now = noon.Truncate(6 * time.Hour).Add(6 * time.Hour)
		d.Work()
		for i := range 50 {
			if n, _ := d.Body(fmt.Sprintf("acme/44%d", i)); n.spent != 0 {
				t.Fatalf("%d is not renewed: spent %d", i, n.spent)
			}
		}
	})
}

// What is due within the minute is told before the floor passes it: a rebuild would work it in silence.
func TestTheFloorWaitsForWhatIsDueWithinTheMinute(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 150, d.Now))
	d.Now = noon.Add(95 * time.Second)
	d.Accept(usage("2", "45", 1, d.Now))
	fails := true
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		publisher := c.Publisher
		c.Publisher = publishes(func(ctx context.Context, records ...stream.Record) error {
			if _, ok := records[0].Header("ce_type"); fails && ok && strings.Contains(told(t, records), "12:01:35") {
				return errors.New("no broker")
			}
			return publisher.Produce(ctx, records...)
		})
	}
	if err := d.Run(); err == nil {
		t.Fatal("it told what it could not tell")
	}
	fails = false
	d.Restore(nil)
	d.Work()
	if got, want := told(t, d.Told()), "reached at 12:00:00 limit 100, alert at 12:01:35 limit 100"; !strings.HasSuffix(got, want) {
		t.Errorf("told %s", got)
	}
}

type publishes func(ctx context.Context, records ...stream.Record) error

func (p publishes) Produce(ctx context.Context, records ...stream.Record) error {
	return p(ctx, records...)
}

func TestNothingIsPublishedBelowTheFloor(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 150, d.Now), usage("2", "45", 150, d.Now), usage("3", "44", 13, d.Now))
	d.Work()
	before := len(d.Told())
	if before != 3 {
		t.Fatalf("told %s", told(t, d.Told()))
	}
	d.Restore(nil)
	d.Accept(usage("4", "46", 150, d.Now))
	d.Work()
	if got, want := told(t, d.Told()[before:]), "reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("after the loss told %s; want %s", got, want)
	}
	for _, key := range []string{"acme/44", "acme/45", "acme/46"} {
		if n, _ := d.Body(key); n.spent != 150 {
			t.Errorf("%s: spent %d after the rebuild", key, n.spent)
		}
	}
	if w := d.Watermark(); w.Status != state.Ready {
		t.Errorf("partition is %s", w.Status)
	}
}

func TestARebuiltPartitionIsReadyThoughNothingNewStandsInItsLog(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 150, d.Now))
	d.Work()
	d.Restore(nil)
	d.Work()
	if w := d.Watermark(); w.Status != state.Ready {
		t.Errorf("partition is %s at offset %d, floor %d", w.Status, w.Offset, w.Floor)
	}
}

func TestALostStoreComesBackFromASnapshotWhenTheLogIsCut(t *testing.T) {
	d := drive(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents = 3 }
	for i := range 50 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
		d.Now = d.Now.Add(time.Second)
	}
	d.Work()
	if d.Oldest() == 0 {
		t.Fatal("no snapshot was completed")
	}
	d.Log().Trim(d.Oldest())
	d.Restore(nil)
	d.Accept(usage("7", "44", 1, d.Now)) // one that was counted before the snapshot
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 50 || n.events != 50 {
		t.Fatalf("after the rebuild %+v; want 50 of each", n)
	}
}

func TestASnapshotEndsOnlyOnceTheFloorHasPassedWhatItRead(t *testing.T) {
	d := drive(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.SnapshotEvents = 1
		c.Log = &slowFloor{Log: c.Log, refuse: 6}
	}
	d.Accept(usage("1", "44", 150, d.Now))
	read := d.Watermark().Offset + 1
	for range 3 {
		d.Work()
	}
	ends := 0
	for _, r := range d.Written() {
		if end := r.GetEnd(); end != nil {
			if ends++; end.GetPublishedOffset() < read {
				t.Fatalf("a snapshot read at offset %d ended with floor %d", read, end.GetPublishedOffset())
			}
		}
	}
	if ends == 0 {
		t.Fatal("no snapshot ended")
	}
}

func TestAStoreThatIsEmptiedBeforeAScanLeavesNoSnapshotOfNothing(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 150, d.Now))
	d.Work()
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.SnapshotEvents = 1
		c.Store = &emptiedByScan{Store: c.Store, empty: func() { d.Restore(nil) }}
	}
	if err := d.Run(); !errors.Is(err, state.ErrFenced) {
		t.Fatalf("run: %v", err)
	}
	for _, r := range d.Written() {
		if r.GetEnd() != nil {
			t.Fatal("a snapshot without the records that the store has lost was ended")
		}
	}
}

// emptiedByScan loses everything before it is looked through for records.
type emptiedByScan struct {
	state.Store
	empty func()
}

func (s *emptiedByScan) Scan(ctx context.Context, p state.Partition, prefix, cursor string, count int) ([]string, string, error) {
	if prefix != "" {
		s.empty()
	}
	return s.Store.Scan(ctx, p, prefix, cursor, count)
}

// slowFloor is a group whose offset can't be moved for a while.
type slowFloor struct {
	fold.Log
	refuse int
}

func (s *slowFloor) Commit(ctx context.Context, offset int64) error {
	if s.refuse--; s.refuse >= 0 {
		return errors.New("coordinator is away")
	}
	return s.Log.Commit(ctx, offset)
}

func TestALogThatIsGoneIsAnIncidentUntilSomebodyAcceptsIt(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 60, d.Now), usage("2", "44", 30, d.Now))
	d.Work()
	at := d.Watermark().Offset
	d.Accept(usage("3", "44", 5, d.Now), usage("4", "44", 6, d.Now), usage("5", "44", 7, d.Now))
	d.Log().Trim(at + 2)
	if err := d.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("run: %v", err)
	}
	why := d.Incidents[fold.IncidentGap]
	if why == nil || !strings.Contains(why.Error(), fmt.Sprintf("--from %d --to %d", at, at+2)) {
		t.Fatalf("incident: %v", why)
	}
	if n, _ := d.Body("acme/44"); n.spent != 90 {
		t.Fatalf("state moved without consent: %+v", n)
	}
	d.Accept(fold.NewGap(&controlv1.Gap{Domain: "other", FromOffset: at, ToOffset: at + 2}, d.Now))
	if err := d.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("another domain's gap was taken: %v", err)
	}
	d.Accept(fold.NewGap(&controlv1.Gap{Domain: d.Partition().Domain, FromOffset: at, ToOffset: at + 2, Who: "ops", Why: "disk"}, d.Now))
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 97 {
		t.Fatalf("after the gap %+v; want 90 and the one usage that is left", n)
	}
	if len(d.Incidents) > 0 {
		t.Fatalf("incidents stand: %v", d.Incidents)
	}
}

func TestAnotherLogUnderTheSameNameIsAnIncident(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 60, d.Now), usage("2", "44", 30, d.Now))
	d.Work()
	again := drive(t) // another log, of the same length
	again.Accept(usage("8", "44", 1, d.Now), usage("9", "44", 1, d.Now))
	again.Work()
	dump := d.Dump().(memstate.Dump)
	again.Restore(dump)
	if err := again.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("run: %v", err)
	}
	if again.Incidents[fold.IncidentRecreated] == nil {
		t.Fatalf("incidents: %v", again.Incidents)
	}
	at := d.Watermark().Offset
	again.Accept(fold.NewGap(&controlv1.Gap{Domain: d.Partition().Domain, FromOffset: at, Who: "ops", Why: "topic was deleted"}, d.Now))
	again.Work()
	if n, _ := again.Body("acme/44"); n.spent != 92 {
		t.Fatalf("after the gap %+v; want the 90 of the old log and 2 of the new", n)
	}
}

func TestAHigherLevelIsLeftToANewerBinary(t *testing.T) {
	d := drive(t)
	e := &event.Event{ID: "9", Source: "test", Type: event.TypeRevision, Time: d.Now, Data: &controlv1.Revision{Revision: 9, Level: fold.Level + 1}}
	d.Accept(e, usage("1", "44", 60, d.Now))
	d.Work()
	if err := d.Incidents[fold.IncidentLevel]; err == nil || !strings.Contains(err.Error(), fmt.Sprint("level ", fold.Level+1)) {
		t.Fatalf("incident %v", err)
	}
	if _, ok := d.Body("acme/44"); ok {
		t.Fatal("went on behind a level it does not know")
	}
}

func TestAnIdleOwnerNoticesAStoreSetBackWithinASecond(t *testing.T) {
	d := drive(t)
	dump := d.Dump()
	d.Accept(usage("1", "44", 60, d.Now))
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		passed := time.Duration(0)
		c.Clock = func() time.Time {
			if passed > 0 || d.Watermark().Offset > 1 {
				passed += 200 * time.Millisecond
			}
			if passed == time.Second {
				d.Restore(dump)
			}
			return d.Now.Add(passed)
		}
	}
	if err := d.Run(); !errors.Is(err, state.ErrFenced) {
		t.Fatalf("run: %v", err)
	}
	d.Limits = nil
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 60 {
		t.Fatalf("spent %d", n.spent)
	}
}

func TestUndecodableBytesAreRejectedAndThePartitionGoesOn(t *testing.T) {
	d := drive(t)
	if err := d.Log().Append(stream.Record{Key: []byte("acme/44"), Value: []byte("\xff\xff"), Time: d.Now}); err != nil {
		t.Fatal(err)
	}
	d.Accept(usage("1", "44", 150, d.Now))
	d.Work()
	if got, want := told(t, d.Told()), "UNDECODABLE, reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("told %s; want %s", got, want)
	}
	if value := d.Told()[0].Value; string(value) != "\xff\xff" {
		t.Fatalf("rejected %q", value)
	}
}

func TestAPanicRejectsItsEventAndUndoesNothingElse(t *testing.T) {
	d := drive(t)
	d.Accept(usage("1", "44", 50, d.Now), usage("2", "44", amountPanics, d.Now), usage("3", "44", 20, d.Now))
	d.Work()
	if got, want := told(t, d.Told()), "PANIC"; got != want {
		t.Fatalf("told %s; want %s", got, want)
	}
	if n, _ := d.Body("acme/44"); n.spent != 70 || n.events != 2 {
		t.Fatalf("%+v; want the two others counted", n)
	}
	if d.Incidents[fold.IncidentPanic] == nil {
		t.Fatal("no incident")
	}
}

func TestIdsAreKnownForADayAndTheirSealsGoAfterwards(t *testing.T) {
	d := drive(t)
	for i := range 200 {
		d.Accept(usage(fmt.Sprint(i), "44", 0, d.Now))
		d.Now = d.Now.Add(time.Second)
	}
	d.Work()
	seals := func() int {
		keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "s:", "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	if seals() == 0 {
		t.Fatal("200 ids, and none are sealed")
	}
	d.Now = noon.Add(23 * time.Hour)
	for i := range 200 {
		d.Accept(usage(fmt.Sprint(i), "44", 0, noon.Add(time.Duration(i)*time.Second)))
	}
	d.Work()
	if n, _ := d.Body("acme/44"); n.events != 200 {
		t.Fatalf("counted %d events; want 200, and the repeats known", n.events)
	}
	d.Now = noon.Add(60 * time.Hour)
	d.Work()
	if n := seals(); n != 0 {
		t.Fatalf("%d seals are left after the window", n)
	}
}

func TestARenewalOfManySubjectsIsWorkedInSteps(t *testing.T) {
	d := drive(t)
	const n = 1300
	for i := range n {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%05d", i), 1, d.Now))
	}
	d.Work()
	d.Now = noon.Add(6*time.Hour + time.Second)
	d.Work()
	if got := len(d.Told()); got != n {
		t.Fatalf("%d renewals; want %d", got, n)
	}
	lists, _, err := d.Store().Scan(t.Context(), d.Partition(), "d:", "", 10)
	if err != nil || len(lists) != 1 {
		t.Fatalf("due lists %v, %v; want the next period's alone", lists, err)
	}
}

func TestWhatRetentionIsAboutToTakeIsAnIncident(t *testing.T) {
	d := drive(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.LogRetention = 24 * time.Hour
	}
	d.Accept(usage("1", "44", 60, d.Now), usage("2", "44", 1, d.Now))
	d.Now = noon.Add(13 * time.Hour)
	limits := d.Limits
	var old error
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		limits(c)
		c.Batch = 1
		c.Log = watched{c.Log, func(code string, err error) {
			if code == fold.IncidentBehind {
				old = err
			}
		}}
	}
	d.Work()
	if old == nil || !strings.Contains(old.Error(), "13h0m0s old") {
		t.Fatalf("incident: %v", old)
	}
	if len(d.Incidents) > 0 {
		t.Fatalf("incidents stand after the log was worked: %v", d.Incidents)
	}
}

func TestAPartitionWithNothingNewWritesItsSnapshotAgainBeforeRetentionTakesIt(t *testing.T) {
	d := drive(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.SnapshotEvery, c.SnapshotRetention = 15*time.Minute, 24*time.Hour
	}
	ends := func() (n int) {
		for _, r := range d.Written() {
			if r.GetEnd() != nil {
				n++
			}
		}
		return n
	}
	d.Now = noon.Add(20 * time.Minute)
	d.Work()
	if ends() != 1 {
		t.Fatalf("%d snapshots after 20 minutes", ends())
	}
	for range 5 { // reopened more often than a snapshot is due
		d.Now = d.Now.Add(time.Hour)
		d.Work()
	}
	if ends() != 1 {
		t.Fatalf("%d snapshots with nothing new", ends())
	}
	d.Now = noon.Add(7 * time.Hour)
	d.Work()
	if ends() != 2 {
		t.Fatalf("%d snapshots after a quarter of their retention", ends())
	}
}

func TestASnapshotWithoutAllItsEntriesIsNotAState(t *testing.T) {
	d := drive(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents = 3 }
	for i := range 50 {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%d", i), 1, d.Now))
	}
	d.Work()
	d.Log().Trim(d.Oldest())
	d.DropEntries()
	d.Restore(nil)
	if err := d.Run(); err == nil || !strings.Contains(err.Error(), "entries") {
		t.Fatalf("run: %v", err)
	}
	if d.Incidents[fold.IncidentRecord] == nil {
		t.Fatal("no incident")
	}
	if w := d.Watermark(); w.Status == state.Ready {
		t.Fatal("half a snapshot is taken for the state")
	}
}

func TestAnotherLogsGroupOffsetIsNoFloor(t *testing.T) {
	d := drive(t)
	for i := range 20 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
	}
	d.Work()
	at, dump := d.Watermark().Offset, d.Dump()
	again := drive(t) // the log lost its tail; the group did not
	again.Restore(dump)
	again.Committed = d.Committed
	if err := again.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("run: %v", err)
	}
	_, end := again.Log().Range()
	again.Accept(fold.NewGap(&controlv1.Gap{Domain: d.Partition().Domain, FromOffset: at, ToOffset: end, Who: "ops", Why: "power"}, d.Now))
	again.Work()
	again.Accept(usage("new", "44", 90, d.Now))
	again.Work()
	if got, want := told(t, again.Told()), "reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("told %q; want %s", got, want)
	}
}

func TestAGapThatGrewIsAcceptedAnew(t *testing.T) {
	d := drive(t)
	for i := range 10 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
	}
	d.Log().Trim(2)
	d.Accept(fold.NewGap(&controlv1.Gap{Domain: d.Partition().Domain, FromOffset: 0, ToOffset: 2, Who: "ops", Why: "disk"}, d.Now))
	d.Restore(nil)
	d.Committed = 0
	d.Work()
	d.Log().Trim(5)
	d.Restore(nil)
	if err := d.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("run: %v", err)
	}
	if d.Incidents[fold.IncidentGap] == nil {
		t.Fatal("a loss of more was accepted by the word for less")
	}
}

func TestATimerThatPanicsTakesNoOtherFiringAlong(t *testing.T) {
	for _, batch := range []int{1, 500} {
		d := drive(t)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch = batch }
		d.Accept(usage("1", unlucky, 1, d.Now))
		d.Now = noon.Add(13 * time.Hour) // two renewals; the second panics
		d.Accept(usage("2", unlucky, 1, d.Now))
		d.Work()
		if got, want := told(t, d.Told()), "renewed at 18:00:00 limit 100, PANIC"; got != want {
			t.Errorf("batches of %d: told %s; want %s", batch, got, want)
		}
	}
}

func TestASubjectThatComesBackBeginsAnewHoweverTheLogIsCut(t *testing.T) {
	var want string
	for _, batch := range []int{1, 500} {
		d := drive(t)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch = batch }
		for i := range 40 {
			d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
		}
		d.Accept(usage("a", "44", 80, d.Now), usage("b", "44", amountDeletes, d.Now), usage("c", "44", 120, d.Now))
		d.Work()
		var got []string
		for _, r := range d.Told() {
			got = append(got, fmt.Sprintf("%x", r.Value))
		}
		if want == "" {
			want = strings.Join(got, " ")
		}
		if len(got) != 2 || strings.Join(got, " ") != want {
			t.Errorf("batches of %d: told %s; want %s", batch, strings.Join(got, " "), want)
		}
		if keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "s:", "", 10); err != nil || len(keys) > 0 {
			t.Errorf("batches of %d: seals %v are left, %v", batch, keys, err)
		}
	}
}

func TestARevisionThatCantBeAppendedHoldsNothingBack(t *testing.T) {
	d := drive(t)
	d.Newest = 2
	d.Accept(usage("1", "44", 150, d.Now))
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Log = deaf{c.Log} }
	d.Work()
	if got, want := told(t, d.Told()), "reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("told %q; want %s", got, want)
	}
}

// deaf takes no control records.
type deaf struct{ fold.Log }

func (deaf) Append(context.Context, *event.Event) error { return stream.ErrTimestampAhead }

// watched looks at incidents as they are raised.
type watched struct {
	fold.Log
	raised func(code string, err error)
}

func (w watched) Incident(code string, offset int64, err error) {
	w.raised(code, err)
	w.Log.Incident(code, offset, err)
}

func TestWhatIsKeptAsideGoesWithItsRecord(t *testing.T) {
	for _, batch := range []int{1, 500} {
		d := drive(t)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch, c.Cache = batch, 1 }
		aside := func() string {
			_, values, err := d.Store().Peek(t.Context(), d.Partition(), []string{"a:acme/44"})
			if err != nil {
				t.Fatal(err)
			}
			return string(values[0])
		}
		steps := []struct {
			event *event.Event
			want  string
		}{
			{usage("none", "44", amountBlanks, d.Now), ""},
			{usage("first", "44", amountNotes, d.Now), "first"},
			{usage("other", "44", 1, d.Now), "first"},
			{usage("second", "44", amountNotes, d.Now), "second"},
			{usage("blank", "44", amountBlanks, d.Now), ""},
			{usage("third", "44", amountNotes, d.Now), "third"},
			{usage("delete", "44", amountDeletes, d.Now), ""},
			{usage("anew", "44", 1, d.Now), ""},
			{usage("fourth", "44", amountNotes, d.Now), "fourth"},
		}
		for _, step := range steps {
			d.Accept(step.event)
			d.Work()
			if got := aside(); got != step.want {
				t.Fatalf("batches of %d: after %s aside stands %q; want %q", batch, step.event.ID, got, step.want)
			}
		}
		for i := range steps { // all of it once more, in as few steps as may be
			again := *steps[i].event
			again.ID += "-again"
			d.Accept(&again)
		}
		d.Work()
		if got := aside(); got != "fourth-again" {
			t.Fatalf("batches of %d: aside stands %q", batch, got)
		}
		keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "a:", "", 10)
		if err != nil || len(keys) != 1 {
			t.Fatalf("batches of %d: aside stand %v, %v", batch, keys, err)
		}
	}
}

func TestASnapshotHoldsWhatIsKeptAside(t *testing.T) {
	d := drive(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents = 3 }
	d.Accept(usage("note", "44", amountNotes, d.Now))
	for i := range 50 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
	}
	d.Work()
	d.Log().Trim(d.Oldest())
	d.Restore(nil)
	d.Accept(usage("last", "44", 60, d.Now))
	d.Work()
	told := d.Told()
	e, err := event.Decode(told[len(told)-1].Value)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := e.Data.(*eventv1.Safeguard); !ok || s.GetLanguage() != "note" {
		t.Fatalf("after the rebuild %v", e.Data)
	}
}

func TestWhatIsKeptAsideCountsInACommit(t *testing.T) {
	d := drive(t)
	const n = 1100 // their records and what is kept aside are more than one commit takes
	for i := range n {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%05d", i), amountNotes, d.Now))
	}
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch = 1500 }
	d.Work()
	keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "a:", "", 2*n)
	if err != nil || len(keys) != n {
		t.Fatalf("aside stand %d; want %d, %v", len(keys), n, err)
	}
}

func TestMostEventsNeedNotReadWhatIsSealed(t *testing.T) {
	d := drive(t)
	read := &readSeals{}
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		read.Store, c.Store = c.Store, read
		c.Cache = 1
	}
	for i := range 900 {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%d", i%10), 0, d.Now))
		if i%10 == 9 {
			d.Work()
		}
	}
	if read.seals > 90 { // without filters, two thirds of the events read one or two
		t.Errorf("%d seals were read for 900 events", read.seals)
	}
	before := read.seals
	d.Accept(usage("5", "445", 0, d.Now.Add(-time.Hour)), usage("6", "446", 0, noon)) // another under its id, and a repeat
	d.Work()
	if n, _ := d.Body("acme/446"); read.seals == before || n.events != 90 {
		t.Errorf("%d seals were read for ids that are sealed; %d events", read.seals-before, n.events)
	}
}

// readSeals counts seals that are read.
type readSeals struct {
	state.Store
	seals int
}

func (r *readSeals) Load(ctx context.Context, p state.Partition, w state.Watermark, keys []string) ([][]byte, error) {
	for _, k := range keys {
		if strings.HasPrefix(k, "s:") {
			r.seals++
		}
	}
	return r.Store.Load(ctx, p, w, keys)
}

// What another version wrote bears other ids: it is refused with a word on what to do, and nothing is told of it.
func TestALogOfAnOlderLevelIsRefused(t *testing.T) {
	d := drive(t)
	e := &event.Event{ID: "9", Source: "test", Type: event.TypeRevision, Time: d.Now, Data: &controlv1.Revision{Revision: 9, Level: fold.Level - 1}}
	d.Accept(e, usage("1", "44", 60, d.Now))
	err := d.Run()
	if _, other := errors.AsType[*state.FormatError](err); !other || !strings.Contains(err.Error(), "begin anew") {
		t.Fatalf("run: %v", err)
	}
	if d.Incidents[fold.IncidentFormat] == nil {
		t.Fatal("no incident")
	}
	if _, ok := d.Body("acme/44"); ok {
		t.Fatal("went on in a log of other ids")
	}
}
