package delivery

import (
	"time"

	"github.com/tollgate/tollgate/pkg/delivery/schedule"
)

// orderingKeyHorizon is how long the head of an ordering key is tried while its endpoint accepts others.
const orderingKeyHorizon = time.Hour

// Circumstances are what a decision depends on beside the attempt.
type Circumstances struct {
	// Backoff is the channel's.
	Backoff Backoff
	// MaxAge is how old a delivery may become, by aged: the time that the log confirms.
	MaxAge time.Duration
	Aged   time.Time
	// Stopped is how long its endpoint was stopped since the delivery was planned: the horizon stood still.
	Stopped time.Duration
	// Tried is the time since its first attempt began, without stops.
	Tried time.Duration
	// holdsOthers: it is the head of an ordering key, and its endpoint accepted another since its first attempt.
	HoldsOthers bool
	// Schedule is when requests may be made, nil for always.
	Schedule *schedule.Schedule
}

// Decide returns what follows from attempt number n of d. A delivery is dead after the last attempt of the backoff, but not
// before their waits passed: attempts that a changed endpoint brought forward do not use up attempts. One that its endpoint
// refuses, while it accepts others, gives way to those behind it after orderingKeyHorizon. An attempt that is Uncounted uses
// none up: it is repeated after the first wait, while the delivery is not too old.
func Decide(d *Delivery, n int, o *Outcome, c Circumstances) Decision {
	switch o.Result {
	case Accepted:
		return Decision{Settlement: Delivered}
	case Refused:
		return Decision{Settlement: Dead, Reason: "refused"}
	}
	if v := Outdated(d, o.Finished, c.Aged, c.MaxAge); v.Settlement != Unsettled {
		return v
	}
	after := c.Backoff.Wait(d.ID, n)
	if o.Uncounted {
		after = c.Backoff.Wait(d.ID, 1)
	} else if n >= c.Backoff.Attempts() {
		ran := o.Finished.Sub(Begins(d)) - c.Stopped
		if ran >= c.Backoff.Least() {
			return Decision{Settlement: Dead, Reason: "exhausted"}
		}
		after = min(after, Horizon-ran)
	}
	if c.HoldsOthers && !o.Uncounted {
		left := orderingKeyHorizon - c.Tried
		if left <= 0 {
			return Decision{Settlement: Dead, Reason: "ordering_key_horizon"}
		}
		after = min(after, left)
	}
	after = min(max(after, o.RetryAfter), c.MaxAge-c.Aged.Sub(d.PlannedAt))
	next := o.Finished.Add(after)
	if c.Schedule != nil && !c.Schedule.Open(next) {
		if opens := c.Schedule.Change(next); !opens.IsZero() {
			next = opens
		}
	}
	if !d.ExpiresAt.IsZero() && d.ExpiresAt.Before(next) {
		next = d.ExpiresAt
	}
	return Decision{Next: next, Wait: next.Sub(o.Finished)}
}

// Outdated is the settlement of a delivery that is not sent any more at a time: it expired, or is too old by the time that
// the log confirms.
func Outdated(d *Delivery, now, aged time.Time, maxAge time.Duration) Decision {
	switch {
	case !d.ExpiresAt.IsZero() && !now.Before(d.ExpiresAt):
		return Decision{Settlement: Expired, Reason: "expired"}
	case !aged.Before(d.PlannedAt.Add(maxAge)):
		return Decision{Settlement: Dead, Reason: "too_old"}
	}
	return Decision{}
}

// Begins is when the horizon begins.
func Begins(d *Delivery) time.Time {
	if d.NotBefore.After(d.PlannedAt) {
		return d.NotBefore
	}
	return d.PlannedAt
}
