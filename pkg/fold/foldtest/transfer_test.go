package foldtest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// roamer counts subscribers that change their numbers. A number's last digit tells those of one subscriber apart; it
// appears by usage of its first.
type roamer struct{ limit int64 }

type roaming struct {
	spent int64
	// counted events; they never become fewer.
	counted int64
	// to is set in the mark that stays under a number that was given up.
	to string
}

// roams are the options of its engine.
var roams = fold.Options[int64]{Commands: true, Transfers: true}

func (f *roamer) Configure(limit int64) error {
	f.limit = limit
	return nil
}

func (f *roamer) Decode(b []byte) (roaming, error) {
	if len(b) < 16 {
		return roaming{}, errors.New("record is cut short")
	}
	return roaming{spent: int64(binary.BigEndian.Uint64(b)), counted: int64(binary.BigEndian.Uint64(b[8:])), to: string(b[16:])}, nil
}

func (f *roamer) Append(b []byte, n roaming) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(n.spent))
	b = binary.BigEndian.AppendUint64(b, uint64(n.counted))
	return append(b, n.to...)
}

func (f *roamer) Select(e *event.Event) fold.Selection { return fold.Selection{Key: e.Key()} }

func (f *roamer) Apply(s *fold.Subject[roaming], e *event.Event) {
	n := s.Body
	switch data := e.Data.(type) {
	case *eventv1.UsageCharged:
		switch {
		case n.to != "":
			must(s.Forward("log", e, n.to))
		case data.GetNet().GetUnits() == amountRejected:
			s.Reject("UNLUCKY", "refused wherever it is")
		case !s.Exists && e.Subject[len(e.Subject)-1] != firstNumber:
			s.Reject("UNKNOWN", "nobody has this number")
		default:
			if !s.Exists {
				s.Schedule("renew", s.Time.Truncate(period).Add(period))
			}
			n.counted++
			n.spent += data.GetNet().GetUnits()
			s.Save(n)
			if data.GetNet().GetUnits() == amountNotes {
				s.KeepSideRecord([]byte("noted at " + e.ID))
			}
			f.tell(s, "safeguard.alert", e.ID)
		}
	case *controlv1.ChargeCommand:
		switch {
		case s.Repeated:
			s.Accept(spentThen(s.Kept()), nil)
		case !s.Exists || n.to != "":
			s.Refuse(errNoSubject)
		default:
			n.spent += data.GetAmount().GetUnits()
			s.Save(n)
			s.Accept(n.spent, spentNow(n.spent))
		}
	case *eventv1.SubscriberMsisdnChanged:
		if !s.Exists || n.to != "" || data.GetNewMsisdn() == e.Subject {
			s.Reject("UNKNOWN", "nobody has this number")
			return
		}
		must(s.Transfer("log", e, data.GetNewMsisdn()))
		s.Cancel("renew")
		s.KeepSideRecord(nil)
		s.Save(roaming{to: data.GetNewMsisdn()})
	case *controlv1.Transfer:
		if s.Exists && n.to == "" {
			s.Reject("ACTIVE", "the number is taken")
			return
		}
		if err := s.Import(data); err != nil {
			s.Reject("BROKEN", err.Error())
			return
		}
		f.tell(s, "safeguard.activated", e.ID)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (f *roamer) Fire(s *fold.Subject[roaming], _ string, due time.Time) {
	n := s.Body
	n.spent = 0
	s.Save(n)
	f.tell(s, "safeguard.renewed", "")
	s.Schedule("renew", due.Add(period))
}

func (f *roamer) tell(s *fold.Subject[roaming], kind, cause string) {
	sequence, previous := s.NextSequence()
	e := &event.Event{
		ID: event.Derive(s.Identity, kind).String(), Source: "tollgate/law", Type: kind, Tenant: "acme", Subject: s.Key[len("acme/"):],
		Time: s.Time, ReceivedAt: s.Time, Correlation: cause,
		Data: &eventv1.Safeguard{
			Sequence: sequence, PreviousSequence: previous, Spent: &money.Money{Units: s.Body.spent}, Limit: &money.Money{Units: f.limit},
			PeriodStart: timestamppb.New(s.Time), Language: string(s.SideRecord()), Reason: s.Forwarded,
		},
	}
	r, err := e.Record("safeguards")
	must(err)
	s.Emit(r)
}

func roamers(steps int) foldtest.Law[roaming, int64] {
	counting := law(steps)
	return foldtest.Law[roaming, int64]{
		Steps:         steps,
		NewFold:       func() fold.Fold[roaming, int64] { return &roamer{} },
		Options:       roams,
		Configuration: counting.Configuration,
		Sequence:      counting.Sequence,
		Draw: func(r *rand.Rand, _ []*event.Event, now time.Time) *event.Event {
			who := r.IntN(4)
			number := func() string { return fmt.Sprintf("4477%d%d", who, r.IntN(4)) }
			e := &event.Event{
				Source: "law", Type: "usage.charged", Tenant: "acme", Subject: number(), Time: now.Add(-time.Duration(r.IntN(90)) * time.Second),
				Data: &eventv1.UsageCharged{Net: &money.Money{CurrencyCode: "EUR", Units: int64(1 + r.IntN(12))}},
			}
			if r.IntN(12) == 0 {
				e.Type, e.Data = "subscriber.msisdn_changed", &eventv1.SubscriberMsisdnChanged{NewMsisdn: number()}
			}
			return e
		},
	}
}

// checkRoamers runs a history and takes stock: each usage that was accepted was counted once, wherever, or refused; who
// was counted is somewhere, once.
func checkRoamers(t *testing.T, l foldtest.Law[roaming, int64], seed uint64, benches ...foldtest.Bench) {
	t.Helper()
	l.CheckAmong(t, seed, benches...)
	accepted := make(map[string]bool)
	told := make(map[string][]byte)
	refused := make(map[string]bool)
	var counted, moves int64
	last := make(map[string]int64)
	for _, b := range benches {
		for _, e := range foldtest.Accepted(t, b) {
			if e.Type == "usage.charged" {
				accepted[e.ID] = true
			}
		}
		for _, r := range foldtest.Firsts(t, b) {
			e, err := event.Decode(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			reason, rejected := r.Header(event.HeaderReason)
			switch data := e.Data.(type) {
			case *eventv1.Safeguard:
				if data.GetSequence() <= last[e.Subject] || data.GetPreviousSequence() < last[e.Subject] {
					t.Errorf("seed %d: %s is told %d after %d, behind %d", seed, e.Subject, data.GetSequence(), data.GetPreviousSequence(), last[e.Subject])
				}
				last[e.Subject] = data.GetSequence()
				if e.Type == "safeguard.activated" {
					moves++
				}
				if e.Type != "safeguard.alert" {
					continue
				}
				if other, ok := told[e.Correlation]; ok && !bytes.Equal(other, r.Value) {
					t.Errorf("seed %d: %s was counted twice", seed, e.Correlation)
				}
				told[e.Correlation] = r.Value
			case *eventv1.UsageCharged:
				if rejected {
					refused[e.ID] = true
				}
			case *controlv1.Transfer:
				if rejected {
					t.Errorf("seed %d: a transfer was rejected as %s", seed, reason)
				}
			}
		}
		for _, n := range foldtest.Bodies(t, l.NewFold(), b) {
			counted += n.counted
		}
	}
	for id := range accepted {
		if told[id] == nil && !refused[id] {
			t.Errorf("seed %d: %s was neither counted nor refused", seed, id)
		}
	}
	moved.Add(moves)
	if counted != int64(len(told)) {
		t.Errorf("seed %d: records hold %d counted events; %d were told", seed, counted, len(told))
	}
}

func TestLawOfTransfers(t *testing.T) {
	for lane := range uint64(2) {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			for s := 1 + lane; s <= max(*seeds/8, 1); s += 2 {
				if *seed != 0 {
					s = *seed
				}
				checkRoamers(t, roamers(stepsInMemory), s, foldtest.NewMemory(), foldtest.NewMemory())
				checkRoamers(t, roamers(stepsInMemory), s, foldtest.NewMemory())
				if t.Failed() || *seed != 0 {
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		t.Logf("%d moves", moved.Load())
		if moved.Load() == 0 && *seed == 0 {
			t.Error("nobody moved")
		}
	})
}

func TestLawOfTransfersOnServers(t *testing.T) {
	brokers, kafka := streamtest.RealKafka(t)
	address, redis := statetest.RealRedis(t)
	if !kafka || !redis {
		brokers, address = streamtest.Embedded(t), statetest.Redises(t)[0].Address
	}
	histories := 5
	if kafka && redis {
		histories = movesHistoriesServers
	}
	servers := foldtest.NewServers(t, brokers, statetest.Redis{Name: "redis", Address: address, Real: redis && kafka}, 2*histories)
	for i := range histories {
		s := uint64(i) + 2_000_000
		if *seed != 0 && s != *seed {
			continue
		}
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			t.Parallel()
			checkRoamers(t, roamers(stepsOnServers), s, servers.Bench(t, 2*i), servers.Bench(t, 2*i+1))
		})
	}
}

// firstNumber is the last digit of the number that a subscriber begins with.
const firstNumber = '1'

// moved counts transfers that arrived, over all histories.
var moved atomic.Int64

func driveRoamers(t testing.TB) *foldtest.Drive[roaming, int64] {
	l := roamers(0)
	d := foldtest.NewDrive(t, noon, l.NewFold, l.Options, func(revision int64) int64 { return 100 * revision })
	d.Work()
	return d
}

func moves(id, from, to string, at time.Time) *event.Event {
	return &event.Event{ID: id, Source: "test", Type: "subscriber.msisdn_changed", Tenant: "acme", Subject: from, Time: at,
		Data: &eventv1.SubscriberMsisdnChanged{NewMsisdn: to}}
}

// transfers are the system.transfer records in a log.
func transfers(t testing.TB, d *foldtest.Drive[roaming, int64]) (out []stream.Record) {
	t.Helper()
	_, end := d.Log().Range()
	all, err := d.Log().Read(0, int(end))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if e, err := event.Decode(r.Value); err == nil && e.Type == event.TypeTransfer {
			out = append(out, r)
		}
	}
	return out
}

func TestAMovedRecordKnowsWhatItCountedUnderItsOldNumber(t *testing.T) {
	d := driveRoamers(t)
	const n = 1200 // more ids than a subject keeps
	for i := range n {
		d.Accept(usage(fmt.Sprint(i), "441", 1, d.Now))
	}
	d.Accept(moves("move", "441", "442", d.Now))
	d.Work()
	found := transfers(t, d)
	if len(found) != 1 {
		t.Fatalf("%d transfers", len(found))
	}
	if size := len(found[0].Value); size > 16<<10 {
		t.Errorf("a record with all ids it may have takes %d bytes on its way", size)
	}
	before, _ := d.Body("acme/442")
	if before.counted != n {
		t.Fatalf("arrived with %d counted events", before.counted)
	}
	for i := n - 900; i < n; i++ { // late repeats, to either number
		// The mark knows its own; under the new number the same id is another event's.
		d.Accept(usage(fmt.Sprint(i), "441", 1, noon), usage(fmt.Sprint(i), "442", 1, noon))
	}
	d.Accept(usage("late", "441", 1, d.Now), usage("new", "442", 1, d.Now))
	d.Accept(usage("late", "441", 1, d.Now))
	d.Work()
	if got, _ := d.Body("acme/442"); got.counted != n+900+2 {
		t.Errorf("counted %d; want those under the new number, the one that came late and the new one", got.counted-before.counted)
	}
	if mark, ok := d.Body("acme/441"); !ok || mark.to != "442" {
		t.Errorf("under the old number stands %+v", mark)
	}
}

func TestATransferOnceMoreDoesNothingHoweverLate(t *testing.T) {
	d := driveRoamers(t)
	d.Accept(usage("1", "441", 50, d.Now), moves("move", "441", "442", d.Now))
	d.Work()
	found := transfers(t, d)
	d.Accept(usage("2", "442", 5, d.Now))
	for _, away := range []time.Duration{time.Minute, 30 * time.Hour, 80 * time.Hour} {
		d.Now = noon.Add(away)
		again := found[0]
		again.Time = d.Now
		if err := d.Log().Append(again); err != nil {
			t.Fatal(err)
		}
		before := len(d.Told())
		d.Accept(usage("after "+away.String(), "451", 1, d.Now))
		d.Work()
		if got, _ := d.Body("acme/442"); got.counted != 2 {
			t.Errorf("after %s: %+v", away, got)
		}
		for _, r := range d.Told()[before:] {
			if reason, ok := r.Header(event.HeaderReason); ok {
				t.Errorf("after %s it was rejected as %s", away, reason)
			}
		}
	}
	d.Accept(moves("on", "442", "443", d.Now)) // it has gone on; a mark stands here
	again := found[0]
	again.Time = d.Now
	if err := d.Log().Append(again); err != nil {
		t.Fatal(err)
	}
	d.Work()
	if mark, _ := d.Body("acme/442"); mark.to != "443" {
		t.Errorf("it came back: %+v", mark)
	}
	d.Accept(moves("back", "443", "442", d.Now))
	d.Work()
	d.Accept(moves("on again", "442", "443", d.Now)) // a second transfer to 442 has come and gone on
	d.Work()
	d.Now = d.Now.Add(30 * time.Hour)
	again.Time = d.Now
	if err := d.Log().Append(again); err != nil {
		t.Fatal(err)
	}
	d.Work()
	if mark, _ := d.Body("acme/442"); mark.to != "443" {
		t.Errorf("it came back behind a second one: %+v", mark)
	}
}

func TestAKeyGoesOnWhoeverMovesThere(t *testing.T) {
	elsewhere := driveRoamers(t) // a partition whose log's time stands still
	elsewhere.Accept(usage("b", "451", 30, noon), moves("b moves", "451", "441", noon))
	elsewhere.Work()
	d := driveRoamers(t)
	for i := range 40 {
		d.Accept(usage(fmt.Sprint(i), "441", 1, d.Now))
	}
	d.Now = noon.Add(7 * time.Hour) // its renewal at 18:00 has fired
	for i := range 40 {
		d.Accept(usage(fmt.Sprint("later ", i), "441", 1, d.Now))
	}
	d.Accept(moves("a moves", "441", "442", d.Now))
	d.Work()
	if err := d.Log().Append(transfers(t, elsewhere)...); err != nil {
		t.Fatal(err)
	}
	d.Accept(usage("touches", "441", 1, d.Now))
	d.Work()
	last, ids, renewed := int64(0), make(map[string]bool), 0
	for _, r := range d.Told() {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		data, ok := e.Data.(*eventv1.Safeguard)
		if !ok || e.Subject != "441" {
			continue
		}
		if data.GetSequence() <= last || data.GetPreviousSequence() != last {
			t.Errorf("%s is told %d behind %d; the one before was %d", e.Type, data.GetSequence(), data.GetPreviousSequence(), last)
		}
		last = data.GetSequence()
		if ids[e.ID] {
			t.Errorf("%s at %s has the id of another", e.Type, e.Time)
		}
		ids[e.ID] = true
		if e.Type == "safeguard.renewed" {
			renewed++
		}
	}
	if renewed != 2 {
		t.Errorf("%d renewals under the number; want one of each that had it", renewed)
	}
}

func TestATransferThatIsNoRecordIsRejectedAndChangesNothing(t *testing.T) {
	d := driveRoamers(t)
	for i := range 70 {
		d.Accept(usage(fmt.Sprint(i), "441", 1, d.Now))
	}
	d.Accept(moves("move", "441", "442", d.Now))
	d.Work()
	whole, err := event.Decode(transfers(t, d)[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	good := whole.Data.(*controlv1.Transfer)
	for name, broken := range map[string]*controlv1.Transfer{
		"no record":      {},
		"cut short":      {Record: good.GetRecord()[:20], IdSegments: good.GetIdSegments()},
		"a seal too few": {Record: good.GetRecord(), IdSegments: good.GetIdSegments()[:1]},
		"a seal broken":  {Record: good.GetRecord(), IdSegments: [][]byte{good.GetIdSegments()[0], []byte("\xff\xff")}},
	} {
		before := len(d.Told())
		d.Accept(&event.Event{ID: name, Source: "test", Type: event.TypeTransfer, Tenant: "acme", Subject: "445", Time: d.Now, Data: broken})
		d.Work()
		if got := told(t, d.Told()[before:]); got != "BROKEN" {
			t.Errorf("%s: told %s", name, got)
		}
		if _, ok := d.Body("acme/445"); ok {
			t.Errorf("%s: a record stands", name)
		}
	}
}

func TestAForwardedEventIsRejectedAsItWasSent(t *testing.T) {
	d := driveRoamers(t)
	d.Accept(usage("1", "441", 1, d.Now), moves("a", "441", "442", d.Now))
	late := usage("late", "441", amountRejected, noon.Add(-time.Hour))
	d.Accept(late)
	d.Work()
	all := d.Told()
	last := all[len(all)-1]
	e, err := event.Decode(last.Value)
	if err != nil {
		t.Fatal(err)
	}
	if reason, _ := last.Header(event.HeaderReason); string(reason) != "UNLUCKY" || e.Type != late.Type || e.Subject != "441" || e.ID != "late" || string(last.Key) != "acme/441" {
		t.Fatalf("%s %s %s of %s under %s", reason, e.Type, e.ID, e.Subject, last.Key)
	}
}

func TestAFoldWhoseRecordsDoNotMoveMeetsNoTransfers(t *testing.T) {
	d := drive(t)
	d.Accept(
		&event.Event{ID: "t", Source: "test", Type: event.TypeTransfer, Tenant: "acme", Subject: "44", Time: d.Now, Data: &controlv1.Transfer{}},
		&event.Event{ID: "f", Source: "test", Type: event.TypeForward, Tenant: "acme", Subject: "44", Time: d.Now, Data: &controlv1.Forward{}},
		usage("1", "44", 150, d.Now))
	d.Work()
	if got, want := told(t, d.Told()), "reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("told %s; want %s", got, want)
	}
}
