// Package health decides from the results of its attempts what happens to an endpoint: when its circuit opens, how long it is
// held, when it is suspended, how many requests it gets at once. It is pure; times are ms of one clock that never goes
// back, and may be negative.
package health

import (
	"math"
	"time"
)

// Never is the time of what has not happened.
const Never int64 = math.MinInt64

// Kind is what an attempt showed of its endpoint.
type Kind uint8

const (
	// Success: the receiver has the delivery.
	Success Kind = iota
	// Failure shows nothing about the receiver's load.
	Failure
	// Busy: an error of the receiver's own, such as a status of 5xx.
	Busy
	// Throttled: the receiver asks for fewer requests.
	Throttled
	// Slow: no answer in time.
	Slow
	// Gone: the receiver wants no request any more.
	Gone
	// Reached: the receiver works, and refused one delivery alone. It ends a row of failures and is no success.
	Reached
)

// Works reports a result that shows a receiver that works.
func (k Kind) Works() bool { return k == Success || k == Reached }

// Result is the result of one attempt.
type Result struct {
	Kind Kind
	// At is when it ended; Hold is for how long the receiver asked for no request.
	At   int64
	Hold time.Duration
	// Activation is the one that was known when its request was made.
	Activation int64
	// Probe: it was the one request of an open circuit.
	Probe bool
	// Quiet: its delivery is about an event of Tollgate itself, whose failures cause no event.
	Quiet    bool
	Delivery string
	Status   int
	Error    string
}

// Reason is why an endpoint is suspended.
type Reason uint8

const (
	// NotSuspended is the zero Reason.
	NotSuspended Reason = iota
	// Failing: no success for SuspendAfter, and at least SuspendFailures failed attempts.
	Failing
	// GoneReason: the receiver answered that it wants no request any more.
	GoneReason
)

// String is the reason in reports and events.
func (r Reason) String() string { return [...]string{"", "failing", "gone"}[r] }

const (
	// circuitFailures is how many failures in a row open the circuit; firstProbe and lastProbe are the waits before its
	// probes.
	circuitFailures = 10
	firstProbe      = time.Second
	lastProbe       = 10 * time.Minute
	// holdMargin makes up for whole milliseconds, in ms: of a result's time, of its record's, and of both clocks.
	holdMargin = 3
	// SuspendAfter and SuspendFailures: an endpoint is suspended once both are reached.
	SuspendAfter    = 24 * time.Hour
	SuspendFailures = 50
)

// noticeSteps are the parts of the way to suspension, in percent, of which a notice is sent.
var noticeSteps = [...]uint8{100, 90, 70, 50}

// Endpoint is what is kept of an endpoint.
type Endpoint struct {
	Name string
	// Activation is the one that everything here is of: counting begins again with each.
	Activation int64
	// Fingerprint is of the configuration last applied.
	Fingerprint uint64

	// Failures are failed attempts in a row, since the activation at most; First is the delivery of the first of them.
	Failures     int64
	FailingSince int64
	First        string
	LastSuccess  int64
	LastStatus   int
	LastError    string
	// Counted are the failures that count for suspension, since CountedSince. They are fewer than Failures where older
	// ones were found in the log after the store was lost: nobody knows which activation those were of.
	Counted      int64
	CountedSince int64
	// Notice is the last part of the way to suspension, in percent, of which a notice was sent.
	Notice uint8

	// Open: one request at a time is made, the next at NextProbe; Probes counts those that failed.
	Open      bool
	Probes    uint8
	NextProbe int64
	// HoldUntil is until when the receiver asked for no request.
	HoldUntil int64

	Suspended      Reason
	SuspendedSince int64
	// Stops are the times in which nothing was sent on purpose: suspended, paused, outside of the schedule.
	Stops Stops
	// ProbeAfter: the stop that lasts is more than a closed schedule: it resumes with a probe.
	ProbeAfter bool

	Exhausted Exhausted
	Behind    Behind
	Contained Contained
}

// Contained is which attempts of the log a record has the results of: those below End, and the next Ahead that its writer
// publishes, which were made and not published when it was written.
type Contained struct {
	Writer uint32
	Ahead  int
	End    int64
}

// Has reports whether the result of the attempt at an offset, by an owner, is contained. It is asked about all of them in their
// order.
func (c *Contained) Has(offset int64, by uint32) bool {
	if offset < c.End {
		return true
	}
	if c.Ahead == 0 || by != c.Writer {
		return false
	}
	c.Ahead--
	return true
}

// Behind is the part of an endpoint's deliveries that was passed over and is read again later. Those below Offset are
// settled, or references of them are kept; those from Offset to the position of the partition are neither.
type Behind struct {
	// Is: there is such a part.
	Is bool
	// Offset is where reading goes on; Before is the hash of the record before it, 0 where that is not known.
	Offset int64
	Before uint64
	// Count is how many were passed over and are not read yet; after a crash those of the last second may be missing.
	Count int64
	// Since is the time of a record at or before Offset, in ms of the wall clock.
	Since int64
}

// Exhausted are dead deliveries of which no event was published yet.
type Exhausted struct {
	// PublishedAt is when the last event was published.
	PublishedAt int64
	Count       int64
	First       string
	Last        Last
}

// Last is the last of some deliveries, and how its last attempt ended.
type Last struct {
	Delivery, Notification, Reason string
	Attempts                       int
	EventType, Subject, Topic      string
	Partition                      int32
	Offset                         int64
	Status                         int
	Error                          string
}

// New is an endpoint of which nothing is known.
func New(name string, activation int64) Endpoint {
	return Endpoint{
		Name: name, Activation: activation,
		FailingSince: Never, LastSuccess: Never, CountedSince: Never, NextProbe: Never, HoldUntil: Never, SuspendedSince: Never,
		Exhausted: Exhausted{PublishedAt: Never},
	}
}

// Change is what a result changed beside the counts.
type Change struct {
	// Notice is the part of the way to suspension that was reached, in percent, 0 for none.
	Notice uint8
	// Suspended: by this result. State: something changed that others wait to hear of.
	Suspended, State bool
}

// Apply takes a result over. Of a request that was made under an activation that ended, only the hold counts.
func (e *Endpoint) Apply(r Result) Change {
	if r.Activation != e.Activation {
		return Change{State: e.hold(r)}
	}
	e.LastStatus, e.LastError = r.Status, r.Error
	if r.Kind.Works() {
		return e.succeed(r)
	}
	c := Change{State: e.Failures == 0}
	if e.Failures == 0 {
		e.FailingSince, e.First = r.At, r.Delivery
	}
	if e.Counted == 0 {
		e.CountedSince = r.At
	}
	e.Failures++
	e.Counted++
	c.State = e.hold(r) || c.State
	c.State = e.circuit(r) || c.State
	if e.Suspended != NotSuspended {
		return c
	}
	if r.Kind == Gone {
		e.suspend(GoneReason, r.At)
		return Change{Suspended: !r.Quiet, State: true}
	}
	way := e.Way(r.At)
	for _, step := range noticeSteps {
		if !r.Quiet && way >= step && e.Notice < step {
			e.Notice, c.Notice = step, step
			break
		}
	}
	if way >= 100 {
		e.suspend(Failing, r.At)
		c.Suspended, c.State = !r.Quiet, true
	}
	return c
}

func (e *Endpoint) succeed(r Result) Change {
	c := Change{State: e.Failures > 0 || e.Open}
	if r.Kind == Success {
		e.LastSuccess = r.At
	}
	e.LastError = ""
	e.Failures, e.FailingSince, e.First = 0, Never, ""
	e.Counted, e.CountedSince, e.Notice = 0, Never, 0
	e.Close()
	return c
}

// hold keeps how long the receiver asked for no request; true where that is longer than before.
func (e *Endpoint) hold(r Result) bool {
	until := r.At + r.Hold.Milliseconds() + holdMargin
	if r.Hold <= 0 || until <= e.HoldUntil {
		return false
	}
	e.HoldUntil = until
	return true
}

// circuit opens the circuit, or sets the time of the next probe; true where it opened.
func (e *Endpoint) circuit(r Result) bool {
	opens := !e.Open && e.Failures >= circuitFailures
	if opens {
		e.Open, e.Probes = true, 0
	}
	if opens || e.Open && r.Probe {
		e.NextProbe = r.At + min(firstProbe<<e.Probes, lastProbe).Milliseconds()
		e.Probes = min(e.Probes+1, 16)
	}
	return opens
}

// Close closes the circuit.
func (e *Endpoint) Close() { e.Open, e.Probes, e.NextProbe = false, 0, Never }

// Probe opens the circuit for a probe at once: after an endpoint was paused or suspended.
func (e *Endpoint) Probe(now int64) { e.Open, e.Probes, e.NextProbe = true, 0, now }

// Way is how far an endpoint is on its way to suspension, in percent: the lesser of the hours without a success and of the
// failed attempts. Hours in which it was stopped don't count.
func (e *Endpoint) Way(now int64) uint8 {
	if e.Counted == 0 {
		return 0
	}
	without := now - e.CountedSince - e.Stops.Within(e.CountedSince, now)
	return uint8(max(0, min(100, without*100/SuspendAfter.Milliseconds(), e.Counted*100/SuspendFailures)))
}

func (e *Endpoint) suspend(why Reason, now int64) { e.Suspended, e.SuspendedSince = why, now }

// Activate begins a new activation: counting begins again, and the first request is a probe where there were failures. It
// returns why the endpoint was suspended.
func (e *Endpoint) Activate(activation, now int64) (was Reason) {
	was = e.Suspended
	failed := e.Failures > 0
	e.Activation = activation
	e.Suspended, e.SuspendedSince = NotSuspended, Never
	e.Failures, e.FailingSince, e.First = 0, Never, ""
	e.Counted, e.CountedSince, e.Notice = 0, Never, 0
	if failed || was != NotSuspended {
		e.Probe(now)
	}
	return was
}

// Rebuilt ends the reading of results from the log after the store was lost. How long the endpoint was stopped is not in the
// log, so failures don't suspend it, and counting for suspension begins again; a probe shows how it is. One that is gone stays
// suspended.
func (e *Endpoint) Rebuilt(now int64) {
	e.Counted, e.CountedSince, e.Notice = 0, Never, 0
	if e.Suspended == Failing {
		e.Suspended, e.SuspendedSince = NotSuspended, Never
		e.Probe(now)
	}
}

// Empty reports that nothing is to be kept: an endpoint without a record is the same. Waits reports whether deliveries
// wait for it.
func (e *Endpoint) Empty(now int64, waits bool) bool {
	return e.Failures == 0 && !e.Open && e.HoldUntil <= now && e.Suspended == NotSuspended &&
		!e.Behind.Is && e.Exhausted.Count == 0 && (len(e.Stops) == 0 || !waits)
}
