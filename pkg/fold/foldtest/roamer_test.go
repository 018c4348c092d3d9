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
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// roamer counts subscribers that change their numbers. The numbers of one subscriber differ in their last digit; it
// appears by usage of its first.
type roamer struct{ limit int64 }

type roaming struct {
	spent int64
	// counted events; they never become fewer.
	counted int64
	// to is set in the tombstone that stays under a number that was left.
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
			s.Reject("UNKNOWN", "no subscriber has this number")
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
			f.publish(s, "safeguard.alert", e.ID)
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
			s.Reject("UNKNOWN", "no subscriber has this number")
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
		f.publish(s, "safeguard.activated", e.ID)
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
	f.publish(s, "safeguard.renewed", "")
	s.Schedule("renew", due.Add(period))
}

func (f *roamer) publish(s *fold.Subject[roaming], kind, cause string) {
	sequence, previous := s.NextSequence()
	e := &event.Event{
		ID: event.Derive(s.Identity, kind).String(), Source: "tollgate/simulation", Type: kind, Tenant: "acme", Subject: s.Key[len("acme/"):],
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

func roamers(steps int) foldtest.Simulation[roaming, int64] {
	counting := counting(steps)
	return foldtest.Simulation[roaming, int64]{
		Steps:         steps,
		NewFold:       func() fold.Fold[roaming, int64] { return &roamer{} },
		Options:       roams,
		Configuration: counting.Configuration,
		Sequence:      counting.Sequence,
		Draw: func(r *rand.Rand, _ []*event.Event, now time.Time) *event.Event {
			who := r.IntN(4)
			number := func() string { return fmt.Sprintf("4477%d%d", who, r.IntN(4)) }
			e := &event.Event{
				Source: "simulation", Type: "usage.charged", Tenant: "acme", Subject: number(), Time: now.Add(-time.Duration(r.IntN(90)) * time.Second),
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
func checkRoamers(t *testing.T, l foldtest.Simulation[roaming, int64], seed uint64, backends ...foldtest.Backend) {
	t.Helper()
	l.RunAmong(t, seed, backends...)
	accepted := make(map[string]bool)
	published := make(map[string][]byte)
	refused := make(map[string]bool)
	var counted, moves int64
	last := make(map[string]int64)
	for _, b := range backends {
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
					t.Errorf("seed %d: %s has sequence %d after %d, behind %d", seed, e.Subject, data.GetSequence(), data.GetPreviousSequence(), last[e.Subject])
				}
				last[e.Subject] = data.GetSequence()
				if e.Type == "safeguard.activated" {
					moves++
				}
				if e.Type != "safeguard.alert" {
					continue
				}
				if other, ok := published[e.Correlation]; ok && !bytes.Equal(other, r.Value) {
					t.Errorf("seed %d: %s was counted twice", seed, e.Correlation)
				}
				published[e.Correlation] = r.Value
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
		if published[id] == nil && !refused[id] {
			t.Errorf("seed %d: %s was neither counted nor refused", seed, id)
		}
	}
	moved.Add(moves)
	if counted != int64(len(published)) {
		t.Errorf("seed %d: records hold %d counted events; %d were published", seed, counted, len(published))
	}
}

// firstNumber is the last digit of the number that a subscriber begins with.
const firstNumber = '1'

// moved counts transfers that arrived, over all histories.
var moved atomic.Int64
