package delivery

import (
	"time"

	"github.com/tollgate/tollgate/pkg/delivery/schedule"
)

// orderingKeyHorizon is how long the head of an ordering key is tried while its endpoint accepts others.
const orderingKeyHorizon = time.Hour

// circumstances are what a decision depends on beside the attempt.
type circumstances struct {
	// maxAge is how old a delivery may become, by aged: the time that the log confirms.
	maxAge time.Duration
	aged   time.Time
	// stopped is how long its endpoint was stopped since the delivery was planned: the horizon stood still.
	stopped time.Duration
	// tried is the time since its first attempt began, without stops.
	tried time.Duration
	// holdsOthers: it is the head of an ordering key, and its endpoint accepted another since its first attempt.
	holdsOthers bool
	// schedule is when requests may be made, nil for always.
	schedule *schedule.Schedule
}

// decide returns what follows from attempt number n of d. A delivery is dead after MaxAttempts, but not before their
// waits passed: attempts that a changed endpoint brought forward do not use up attempts. One that its endpoint refuses,
// while it accepts others, gives way to those behind it after orderingKeyHorizon.
func decide(d *Delivery, n int, o *Outcome, c circumstances) decision {
	switch o.Result {
	case Accepted:
		return decision{settlement: Delivered}
	case Refused:
		return decision{settlement: Dead, reason: "refused"}
	}
	if v := outdated(d, o.Finished, c.aged, c.maxAge); v.settlement != Unsettled {
		return v
	}
	after := wait(d.ID, n)
	if n >= MaxAttempts {
		ran := o.Finished.Sub(begins(d)) - c.stopped
		if ran >= leastHorizon {
			return decision{settlement: Dead, reason: "exhausted"}
		}
		after = min(after, Horizon-ran)
	}
	if c.holdsOthers {
		left := orderingKeyHorizon - c.tried
		if left <= 0 {
			return decision{settlement: Dead, reason: "ordering_key_horizon"}
		}
		after = min(after, left)
	}
	after = min(max(after, o.RetryAfter), c.maxAge-c.aged.Sub(d.PlannedAt))
	next := o.Finished.Add(after)
	if c.schedule != nil && !c.schedule.Open(next) {
		if opens := c.schedule.Change(next); !opens.IsZero() {
			next = opens
		}
	}
	if !d.ExpiresAt.IsZero() && d.ExpiresAt.Before(next) {
		next = d.ExpiresAt
	}
	return decision{next: next, wait: next.Sub(o.Finished)}
}

// outdated is the settlement of a delivery that is not sent any more at a time: it expired, or is too old by the time that
// the log confirms.
func outdated(d *Delivery, now, aged time.Time, maxAge time.Duration) decision {
	switch {
	case !d.ExpiresAt.IsZero() && !now.Before(d.ExpiresAt):
		return decision{settlement: Expired, reason: "expired"}
	case !aged.Before(d.PlannedAt.Add(maxAge)):
		return decision{settlement: Dead, reason: "too_old"}
	}
	return decision{}
}

// begins is when the horizon begins.
func begins(d *Delivery) time.Time {
	if d.NotBefore.After(d.PlannedAt) {
		return d.NotBefore
	}
	return d.PlannedAt
}
