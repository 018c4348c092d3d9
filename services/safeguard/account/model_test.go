package account

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// On random histories the service publishes what an independent reading of the rules expects.
func TestSimulation_OutcomesAreThoseOfTheModel(t *testing.T) {
	mixes := map[string]model.Mix{
		"events": {Options: model.Options[:], Classes: true, Numbers: 2},
		"moves":  {Options: model.Options[:], Calls: true, Classes: true, Moves: true, Grace: true, Imports: true, Numbers: 3},
		"calls":  {Options: model.Options[:], Calls: true, Classes: true, Numbers: 2},
	}
	for name, mix := range mixes {
		t.Run(name, func(t *testing.T) {
			simulation.Run(t, modelHistories, func(t *testing.T, seed uint64) {
				steps := model.Random(seed, mix, 120)
				if len(against(t, steps, seed)) == 0 {
					return
				}
				steps = shrink(steps, func(s []model.Step) bool { return len(against(t, s, seed)) > 0 })
				t.Fatalf("seed %d:\n%s\nit takes:\n%s", seed, strings.Join(against(t, steps, seed), "\n"), describeSteps(steps))
			})
		})
	}
}

// against works a history with the engine and the model side by side. Whenever both have come to rest it compares what was
// published, every option, and what a network element knows that reads reached and released alone, with the model.
func against(t *testing.T, steps []model.Step, seed uint64) (wrong []string) {
	p := newPartition(t)
	random := rand.New(rand.NewPCG(seed, 3))
	p.fetch = 1 + random.IntN(60)
	b := &beside{t: t, p: p, model: model.New(), snapshots: map[int64]*configv1.Snapshot{}, table: model.Table{}, ids: map[string]string{}}
	for _, s := range steps {
		e := s.Event
		if s.Snapshot != nil {
			p.revision++
			s.Snapshot.Revision, s.Snapshot.ApplyRevision = p.revision, p.revision
			b.snapshots[p.revision] = s.Snapshot
			decoded := configclient.Decode(s.Snapshot)
			if violations := decoded.Unreadable(); len(violations) > 0 {
				t.Fatal(violations)
			}
			p.catalogs[p.revision] = Compile(decoded, p.catalogs[p.revision-1])
			e = &event.Event{
				ID: "revision", Source: "tollgate/safeguard", Type: event.TypeRevision, Time: s.At,
				Data: &controlv1.Revision{Revision: p.revision, Level: fold.Level},
			}
		}
		p.now = s.At
		p.append(e)
		switch {
		case e.Type == "subscriber.msisdn_changed" || random.IntN(20) == 0:
			b.works()
		case e.Type == event.TypeTick:
			if wrong = b.rests(); len(wrong) > 0 {
				return wrong
			}
		}
	}
	return b.rests()
}

// beside is a partition with the model beside it.
type beside struct {
	t         *testing.T
	p         *partition
	model     *model.Partition
	snapshots map[int64]*configv1.Snapshot
	table     model.Table
	folded    int // of the log, by the model
	published []model.Outcome
	ids       map[string]string // content of what was published, by id
	expected  []model.Outcome
}

// works lets the engine come to the log's end and collects what is published. What one number hands to another is in the log
// already, and is put there once more: a repeat may come at any later time.
func (b *beside) works() {
	for again := true; again; {
		b.p.works()
		again = false
		for _, r := range b.p.out {
			if r.Topic == "events" {
				r.Partition, r.Offset = 0, int64(len(b.p.Records))
				b.p.Records = append(b.p.Records, r)
				again = true
				continue
			}
			h, d, err := model.ReadOutcome(r)
			if err != nil {
				b.t.Fatal(err)
			}
			b.published = append(b.published, h)
			if e, _ := event.Decode(r.Value); d != nil {
				if known, ok := b.ids[e.ID]; ok && known != string(r.Value) {
					b.t.Errorf("id %s was published for two contents, the later: %v", e.ID, d)
				}
				b.ids[e.ID] = string(r.Value)
			}
			if d != nil {
				b.table.Apply(h.Subject, h.Kind, d)
			}
		}
		b.p.out = nil
	}
}

// rests compares once everything that is due was worked.
func (b *beside) rests() (wrong []string) {
	b.works()
	for ; b.folded < len(b.p.Records); b.folded++ {
		r := b.p.Records[b.folded]
		e, err := event.Decode(r.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		if d, ok := e.Data.(*controlv1.Revision); ok {
			b.model.Configure(r.Time, b.snapshots[d.GetRevision()])
			continue
		}
		b.model.Happen(r.Time, e)
	}
	b.model.Pass(b.model.Now())
	b.expected = append(b.expected, b.model.Take()...)
	for _, w := range model.Compare(b.expected, b.published) {
		wrong = append(wrong, w.String())
	}
	if len(wrong) > 0 {
		return wrong
	}
	if n := b.model.Owed(); n != 0 {
		return []string{fmt.Sprintf("%d events were not sent on to another number as often as they should be", n)}
	}
	for n := range 4 {
		wrong = append(wrong, b.compare(fmt.Sprintf("44770090000%d", n))...)
	}
	return wrong
}

// compare compares one number's record, and what is known of it outside, with the model.
func (b *beside) compare(number string) (wrong []string) {
	views, _, alive := b.model.Look("acme", number)
	sub, found := b.p.recordOf(number)
	if living := found && sub.Alive(); living != alive {
		return []string{fmt.Sprintf("%s is active: %t, want %t", number, living, alive)}
	}
	known := b.table[number]
	if known == nil {
		known = &model.Entry{}
	}
	for i, want := range views {
		if known.Blocked[i] != (alive && want.Blocked) {
			wrong = append(wrong, fmt.Sprintf("%s option %d is blocked outside: %t, want %t", number, i, known.Blocked[i], want.Blocked))
		}
		if !alive {
			continue
		}
		d := sub.Options[i]
		got := model.View{
			Offered: d.Offered(), State: StateOnWire(d.State), Spent: int64(d.Count.Spent), Limit: int64(d.Limit), Limited: d.Limited,
			Next: int64(d.Next), HasNext: d.HasNext, Currency: d.Currency, Blocked: d.Blocked, Day: int(d.RenewalDay), Start: d.Period.Start, End: d.Period.End,
		}
		want.Eligible = nil // see below
		if !want.HasNext {
			want.Next = 0
		}
		if d.State == spend.Unset { // the class never offered it in this period
			got = model.View{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			wrong = append(wrong, fmt.Sprintf("%s option %d:\n%s", number, i, diff))
		}
	}
	if !alive {
		return wrong
	}
	v := View{Tenant: "acme", MSISDN: number, Exists: true, Subscriber: sub, LogTime: b.model.Now(), Now: b.model.Now()}
	v.Under(b.p.catalogs[b.p.revision])
	if err := v.Present(); err != nil {
		b.t.Fatal(err)
	}
	views, _ = b.model.AsShown("acme", number)
	for _, w := range model.Shown(v.Options(), views) {
		wrong = append(wrong, number+": "+w)
	}
	return wrong
}

// shrink leaves out what is not needed for a history to go wrong.
func shrink(steps []model.Step, wrong func([]model.Step) bool) []model.Step {
	for size := len(steps) / 2; size > 0; size /= 2 {
		for from := 1; from+size < len(steps); { // the first is the configuration, the last a tick
			without := append(append([]model.Step{}, steps[:from]...), steps[from+size:]...)
			if wrong(without) {
				steps = without
			} else {
				from += size
			}
		}
	}
	return steps
}

// describeSteps is a history, a line each.
func describeSteps(steps []model.Step) string {
	var b strings.Builder
	for _, s := range steps {
		if s.Snapshot != nil {
			fmt.Fprintf(&b, "%s configured %v\n", s.At.Format("2006-01-02T15:04:05.000"), s.Snapshot)
			continue
		}
		fmt.Fprintf(&b, "%s %s %s of %s at %s: %v\n", s.At.Format("2006-01-02T15:04:05.000"), s.Event.ID, s.Event.Type, s.Event.Subject, s.Event.Time.Format("2006-01-02T15:04:05.000"), s.Event.Data)
	}
	return b.String()
}
