package model

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Step is one record of a history: an event or call, or a configuration from there on.
type Step struct {
	At       time.Time
	Event    *event.Event
	Snapshot *configv1.Snapshot
}

// Mix is what a history is made of.
type Mix struct {
	// Options that classes may offer.
	Options []eventv1.Safeguard_Option
	// Calls are changes and charges, Classes changes of the class, Moves changes of the number.
	Calls, Classes, Moves bool
	// Grace lets usage wait for an activation; without it the tenant wants none.
	Grace bool
	// Imports are activations that bring options as they are in another system.
	Imports bool
	// Calm leaves out what the catalog may change underway.
	Calm bool
	Old  bool
	// Numbers is how many subscribers there are.
	Numbers int
}

const tenant = "acme"

// history is one in the making. It keeps a partition of its own, so as to aim just below, at, and just above
// what makes a difference.
type history struct {
	mix       Mix
	rand      *rand.Rand
	partition *Partition
	now       time.Time
	steps     []Step
	serial    int
	seed      uint64
	classes   map[string]*configv1.ClassOfService
	policy    *configv1.SubscriberPolicy
	sent      []sent // may be sent again
}

type sent struct {
	at    time.Time
	event *event.Event
}

// Zones of histories: some have midnights that do not exist, or exist twice.
var zones = []string{"", "UTC", "Europe/Berlin", "Africa/Cairo", "America/Havana", "America/Santiago", "Asia/Tokyo", "Atlantic/Azores", "Australia/Lord_Howe", "Asia/Beirut"}

// Beginnings of histories: shortly before clocks change, at ends of months and of a February.
var beginnings = []string{
	"2026-03-28T22:00:00Z", "2026-10-24T21:30:00Z", "2026-02-27T23:00:00Z", "2028-02-28T22:00:00Z", "2026-04-23T20:00:00Z",
	"2026-09-05T20:00:00Z", "2026-12-31T22:30:00Z", "2026-03-07T20:00:00Z", "2026-10-31T12:00:00Z", "2026-06-30T23:59:00Z",
}

// Random is a history of so many steps. The same seed gives the same.
func Random(seed uint64, mix Mix, steps int) []Step {
	h := &history{mix: mix, rand: rand.New(rand.NewPCG(seed, 7)), partition: New(), seed: seed, classes: map[string]*configv1.ClassOfService{}}
	h.now, _ = time.Parse(time.RFC3339, pick(h, beginnings))
	h.now = h.now.Add(time.Duration(h.rand.IntN(3600_000)) * time.Millisecond)
	h.configure(true)
	for len(h.steps) < steps {
		h.step()
	}
	h.pass(time.Duration(h.rand.IntN(40*24)) * time.Hour)
	h.tick()
	return h.steps
}

func pick[T any](h *history, from []T) T { return from[h.rand.IntN(len(from))] }

func (h *history) chance(percent int) bool { return h.rand.IntN(100) < percent }

func (h *history) add(s Step) {
	h.steps = append(h.steps, s)
	if s.Snapshot != nil {
		h.partition.Configure(s.At, s.Snapshot)
	} else {
		h.partition.Happen(s.At, s.Event)
		h.sent = append(h.sent, sent{s.At, s.Event})
	}
	h.partition.Take()
}

func (h *history) number() string { return fmt.Sprintf("44770090000%d", 1+h.rand.IntN(h.mix.Numbers)) }

func (h *history) event(subject, kind string, data proto.Message) *event.Event {
	h.serial++
	return &event.Event{
		ID: fmt.Sprintf("e-%d-%d", h.seed, h.serial), Source: "crm", Type: kind, Tenant: tenant, Subject: subject, Time: h.now, Data: data,
	}
}

// stamp is when a record is accepted: writers' clocks differ a little.
func (h *history) stamp() time.Time {
	if h.chance(10) {
		return h.now.Add(-time.Duration(h.rand.IntN(1500)) * time.Millisecond)
	}
	return h.now
}

func (h *history) tick() {
	// To a full minute and two: what is due within a minute may be worked earlier or later.
	h.now = h.now.Truncate(time.Minute).Add(2 * time.Minute)
	h.add(Step{At: h.now, Event: &event.Event{
		ID: "tick", Source: "tollgate/safeguard", Type: event.TypeTick, Time: h.now, Data: &controlv1.Tick{Time: timestamppb.New(h.now)},
	}})
}

func (h *history) pass(d time.Duration) { h.now = h.now.Add(d) }

// wait lets some time pass: mostly little, sometimes up to about the end of a period.
func (h *history) wait() {
	switch n := h.rand.IntN(100); {
	case n < 60:
		h.pass(time.Duration(h.rand.IntN(60_000)) * time.Millisecond)
	case n < 75:
		h.pass(time.Duration(h.rand.IntN(5*3600)) * time.Second)
	case n < 80:
		h.pass(time.Duration(h.rand.IntN(20*24)) * time.Hour)
	case n < 92:
		views, _, _ := h.partition.Look(tenant, h.number())
		to := pick(h, views[:]).End.Add(pick(h, []time.Duration{-time.Hour, -time.Millisecond, 0, time.Millisecond, time.Minute, time.Hour}))
		if to.After(h.now) {
			h.now = to
		}
	}
}

func (h *history) step() {
	h.wait()
	number := h.number()
	views, _, alive := h.partition.Look(tenant, number)
	switch n := h.rand.IntN(1000); {
	case n < 60 && !h.mix.Calm:
		h.configure(false)
	case n < 80:
		h.tick()
	case n < 150 && len(h.sent) > 0:
		h.again()
	case !alive && h.chance(60):
		h.activate(number)
	case n < 165:
		h.activate(number)
	case n < 190:
		h.send(number, "subscriber.terminated", &eventv1.SubscriberTerminated{})
	case n < 200:
		h.send(number, pick(h, []string{"subscriber.suspended", "subscriber.resumed"}), &eventv1.SubscriberStatusChanged{})
	case n < 240 && h.mix.Classes:
		h.send(number, "subscriber.cos_changed", &eventv1.SubscriberClassOfServiceChanged{ClassOfService: h.class()})
	case n < 260 && h.mix.Moves:
		if to := h.number(); to != number {
			h.send(number, "subscriber.msisdn_changed", &eventv1.SubscriberMsisdnChanged{NewMsisdn: to})
		}
	case n < 420 && h.mix.Calls:
		h.change(number, views)
	case n < 520 && h.mix.Calls:
		h.charge(number, views[Payment-1])
	default:
		h.use(number, views)
	}
}

// send is an event of now, or, rarely, of a while ago.
func (h *history) send(number, kind string, data proto.Message) {
	e := h.event(number, kind, data)
	switch n := h.rand.IntN(100); {
	case n < 8:
		e.Time = h.now.Add(-time.Duration(h.rand.IntN(3*3600)) * time.Second)
	case n < 11:
		e.Time = h.now.Add(time.Duration(h.rand.IntN(600)) * time.Second)
	}
	h.add(Step{At: h.stamp(), Event: e})
}

// again sends something a second time, or another thing under its id. Ids are remembered for the window at least, and
// for an unknown time longer: what is older than that is not sent again, nor are calls of more than a day.
func (h *history) again() {
	s := pick(h, h.sent[max(0, len(h.sent)-30):])
	age := h.now.Sub(s.at)
	if event.IsControl(s.event.Type) && !event.IsCommand(s.event.Type) || age > h.partition.window(tenant)-2*time.Hour || event.IsCommand(s.event.Type) && age > callsWindow-2*time.Hour {
		return
	}
	e := *s.event
	if !event.IsCommand(e.Type) && h.chance(20) { // another event: producers may number theirs per subscriber
		e.Subject = h.number()
	}
	if u, ok := e.Data.(*eventv1.UsageCharged); ok && h.chance(20) {
		other := proto.CloneOf(u)
		other.Quantity++
		e.Data = other
	}
	if c, ok := e.Data.(*controlv1.ChargeCommand); ok && h.chance(30) {
		other := proto.CloneOf(c)
		other.Description += "!"
		e.Data = other
	}
	h.steps = append(h.steps, Step{At: h.stamp(), Event: &e})
	h.partition.Happen(h.now, &e)
	h.partition.Take()
}

func (h *history) activate(number string) {
	d := &eventv1.SubscriberActivated{ClassOfService: h.class(), Imsi: "234150999999999", Language: "en"}
	if h.chance(2) {
		d.ClassOfService = "none"
	}
	if h.mix.Imports && h.chance(40) {
		h.imports(d)
	}
	h.send(number, "subscriber.activated", d)
}

func (h *history) imports(d *eventv1.SubscriberActivated) {
	c := h.classes[d.GetClassOfService()]
	for _, o := range h.mix.Options {
		var r *rule
		if c != nil {
			r = ruleOf(c, o)
		}
		if r == nil || h.chance(50) {
			continue
		}
		i := &eventv1.InitialOption{Option: o}
		if h.chance(50) {
			i.State = pick(h, r.states)
		}
		if h.chance(50) {
			i.RenewalDay = int32(1 + h.rand.IntN(28))
		}
		if h.chance(70) {
			i.Spent = Money(h.rand.Int64N(60*Unit), r.currency)
		}
		if o == Overspend {
			if i.GetState() == Active || h.chance(50) {
				i.CurrentLimit = Money(h.limit(), r.currency)
			}
			if h.chance(30) {
				i.NextLimit = Money(h.limit(), r.currency)
			}
		}
		d.Options = append(d.Options, i)
	}
}

var classNames = []string{"gold", "silver", "plain"}

func (h *history) class() string { return pick(h, classNames) }
