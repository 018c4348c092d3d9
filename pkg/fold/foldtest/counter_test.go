package foldtest_test

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// The counter's calls are charges and changes.
func init() { event.RegisterControl(&controlv1.ChargeCommand{}, &controlv1.ChangeCommand{}) }

// counter is a small safeguard: it counts, publishes what is crossed, renews by a timer and reminds by another. It is bad
// on purpose at some amounts.
type counter struct {
	limit int64
	topic string // of outcomes; "safeguards" where it is empty
	// observe, where set, receives what became of calls.
	observe func(foldtest.Decision)
}

type count struct {
	spent    int64
	events   int64
	revision int64
}

const (
	amountRejected = 13
	amountPanics   = 666
	amountNotes    = 5 // keeps the event's id in the side record
	amountBlanks   = 6 // keeps no side record
	amountForgets  = 7 // cancels the reminder
	amountReminds  = 8 // at once: the reminder is due by the event's own time
	amountDeletes  = 777
	period         = 6 * time.Hour
	unlucky        = "441313" // its renewal at midnight panics
)

// counts are the options of its engine.
var counts = fold.Options[int64]{Commands: true, Timers: []string{"renew", "remind"}}

func (c *counter) Configure(limit int64) error {
	c.limit = limit
	return nil
}

func (c *counter) Decode(b []byte) (count, error) {
	if len(b) != 24 {
		return count{}, errors.New("count is not 24 bytes")
	}
	return count{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), int64(binary.BigEndian.Uint64(b[16:]))}, nil
}

func (c *counter) Append(dst []byte, n count) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(n.spent))
	dst = binary.BigEndian.AppendUint64(dst, uint64(n.events))
	return binary.BigEndian.AppendUint64(dst, uint64(n.revision))
}

func (c *counter) Select(e *event.Event) fold.Selection {
	return fold.Selection{Key: e.Key(), Memo: len(e.ID)}
}

func (c *counter) Apply(s *fold.Subject[count], e *event.Event) {
	if s.Memo != len(e.ID) {
		panic("memo is another event's")
	}
	if charge, ok := e.Data.(*controlv1.ChargeCommand); ok {
		c.charge(s, charge.GetAmount().GetUnits())
		return
	}
	amount := e.Data.(*eventv1.UsageCharged).GetNet().GetUnits()
	n := s.Body
	if amount == amountRejected {
		s.Reject("UNLUCKY", fmt.Sprintf("after %d events", n.events))
		return
	}
	if s.Revision == 0 {
		s.Reject("NO_CONFIGURATION", "no revision yet")
		return
	}
	if !s.Exists {
		s.Schedule("renew", s.Time.Truncate(period).Add(period))
	}
	if amount == amountDeletes {
		s.Delete()
		return
	}
	before := n.spent
	n.spent += amount
	// A refund of a call does something only where that was counted.
	id := e.Data.(*eventv1.UsageCharged).GetCorrects().GetId()
	if _, ok := s.Counted(event.Reference(e.Tenant, "shop", id)); ok {
		n.spent -= 2
		n.events += 100
	}
	n.events++
	n.revision = s.Revision
	s.Save(n)
	if amount == amountPanics {
		c.publish(s, "safeguard.alert")
		panic("unlucky beyond measure")
	}
	switch amount {
	case amountNotes:
		s.KeepSideRecord([]byte(e.ID))
	case amountBlanks:
		s.KeepSideRecord(nil)
	case amountForgets:
		s.Cancel("remind")
	case amountReminds:
		s.Schedule("remind", s.Time)
	}
	if before < c.limit && n.spent >= c.limit {
		c.publish(s, "safeguard.reached")
		s.Schedule("remind", s.Time.Add(95*time.Second))
	}
	if s.FutureTimestamp {
		c.publish(s, "safeguard.late")
	}
}

// charge counts what stays below the limit.
func (c *counter) charge(s *fold.Subject[count], amount int64) {
	n := s.Body
	switch {
	case s.Repeated:
		c.answer(s, spentThen(s.Kept()), nil)
	case !s.Exists:
		c.answer(s, 0, errNoSubject)
	case n.spent+amount > 2*c.limit && amount != amountPanics:
		c.answer(s, 0, errLimit)
	default:
		n.spent += amount
		n.events++
		s.Save(n)
		c.publish(s, "safeguard.alert")
		if amount == amountPanics {
			panic("unlucky beyond measure")
		}
		c.answer(s, n.spent, nil)
	}
}

func (c *counter) answer(s *fold.Subject[count], spent int64, err error) {
	j := foldtest.Decision{Offset: s.Offset, Key: s.Key, Identity: s.Identity, Time: s.Time, Repeated: s.Repeated, Err: err}
	if err != nil {
		s.Refuse(err)
	} else {
		s.Accept(spent, spentNow(spent))
		j.Value = spent
	}
	if c.observe != nil {
		c.observe(j)
	}
}

// spentNow is what is kept of an answer, spentThen what it answered.
func spentNow(spent int64) []byte { return strconv.AppendInt(nil, spent, 10) }

func spentThen(kept []byte) int64 {
	spent, err := strconv.ParseInt(string(kept), 10, 64)
	must(err)
	return spent
}

var (
	errNoSubject = errors.New("no such subject")
	errLimit     = errors.New("limit would be passed")
)

func (c *counter) Fire(s *fold.Subject[count], name string, due time.Time) {
	n := s.Body
	switch name {
	case "renew":
		if s.Key == "acme/"+unlucky && due.Hour() == 0 {
			panic("unlucky timer")
		}
		n.spent, n.revision = 0, s.Revision
		s.Save(n)
		c.publish(s, "safeguard.renewed")
		s.Schedule("renew", due.Add(period))
	case "remind":
		c.publish(s, "safeguard.alert")
		if n.events%3 == 0 {
			s.Schedule("remind", due.Add(20*time.Second))
		}
		n.events++
		n.revision = s.Revision
		s.Save(n)
	}
}

func (c *counter) publish(s *fold.Subject[count], kind string) {
	sequence, previous := s.NextSequence()
	e := &event.Event{
		// Of a reminder that fires at once there may be several at one time.
		ID: event.Derive(s.Identity, kind, s.Creator().String(), strconv.FormatInt(s.Body.events, 10)).String(), Source: "tollgate/simulation", Type: kind, Tenant: "acme", Subject: s.Key[len("acme/"):],
		Time: s.Time, ReceivedAt: s.Time,
		Data: &eventv1.Safeguard{
			Sequence: sequence, PreviousSequence: previous, Spent: &money.Money{Units: s.Body.spent}, Limit: &money.Money{Units: c.limit},
			PeriodStart: timestamppb.New(s.Time), Language: string(s.SideRecord()),
		},
	}
	r, err := e.Record(cmp.Or(c.topic, "safeguards"))
	if err != nil {
		panic(err)
	}
	s.Emit(r)
}

// tally of the calls in all histories.
var tally foldtest.Tally

func counting(steps int) foldtest.Simulation[count, int64] {
	return foldtest.Simulation[count, int64]{
		Calls: &foldtest.Calls[count, int64]{
			Draw: drawCall, Tally: &tally,
			Observe: func(observe func(foldtest.Decision)) fold.Fold[count, int64] { return &counter{observe: observe} },
		},
		Steps:         steps,
		NewFold:       func() fold.Fold[count, int64] { return &counter{} },
		Options:       counts,
		Configuration: func(revision int64) int64 { return 20 + 10*(revision%5) },
		Draw:          draw,
		Sequence: func(r stream.Record) (string, int64, bool) {
			e, err := event.Decode(r.Value)
			if err != nil {
				return "", 0, false
			}
			d, ok := e.Data.(*eventv1.Safeguard)
			if !ok {
				return "", 0, false
			}
			return e.Subject, d.GetSequence(), true
		},
	}
}

func draw(r *rand.Rand, recent []*event.Event, now time.Time) *event.Event {
	amount := int64(1 + r.IntN(12))
	switch r.IntN(40) {
	case 0:
		amount = amountRejected
	case 1:
		amount = amountPanics
	}
	at := now
	switch r.IntN(10) {
	case 0:
		at = now.Add(-time.Duration(r.IntN(40)) * time.Hour)
	case 1:
		at = now.Add(time.Duration(r.IntN(600)) * time.Second)
	}
	id := ""
	subject := fmt.Sprintf("4477%02d", r.IntN(1+r.IntN(6)))
	if len(recent) > 0 && r.IntN(25) == 0 { // an id used again for something else
		other := recent[r.IntN(len(recent))]
		id, subject = other.ID, other.Subject
	}
	refunds := &eventv1.Correction{}
	if r.IntN(10) == 0 {
		refunds.Id = fmt.Sprintf("c-%d", r.IntN(20))
	}
	return &event.Event{
		ID: id, Source: "simulation", Type: "usage.charged", Tenant: "acme", Subject: subject, Time: at,
		Data: &eventv1.UsageCharged{Net: &money.Money{CurrencyCode: "EUR", Units: amount}, Corrects: refunds},
	}
}

// drawCall asks for something new, or again for what was asked before.
func drawCall(r *rand.Rand, recent []*event.Event) *event.Event {
	subject := fmt.Sprintf("4477%02d", r.IntN(1+r.IntN(3)))
	e := charge("", subject, int64(1+r.IntN(8)))
	switch n := r.IntN(20); {
	case n == 0:
		e = charge("", subject, amountPanics)
	case n < 10 && len(recent) > 0:
		again := *recent[r.IntN(min(len(recent), 6))]
		e = &again
		if n == 1 {
			e.Data = &controlv1.ChargeCommand{Amount: &money.Money{CurrencyCode: "EUR", Units: 1}, Description: "another"}
		}
	}
	return e
}
