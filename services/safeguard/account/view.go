package account

import (
	"time"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// View is a subscriber at the moment of an answer: what a read shows of it, and what it is authorised by.
type View struct {
	Tenant, MSISDN string
	// Exists is whether the number has a record, whatever its life.
	Exists     bool
	Subscriber Subscriber
	// Sequence is that of the last outcome, LogTime the log's time, Staleness the most that the record may be behind.
	Sequence  int64
	LogTime   time.Time
	Staleness time.Duration
	// Now is the time of the answer, not before LogTime.
	Now time.Time

	// catalog is the one that is in force, class the subscriber's class in it; nil where that is gone.
	catalog *Catalog
	class   *Class
}

// Under brings the subscriber to where its next event or command finds it: with the periods that have ended by Now, and
// with what its class offers in this catalog. What is shown of it and what it is authorised by are this one decision.
func (v *View) Under(c *Catalog) {
	v.catalog = c
	v.Subscriber = renewed(v.Subscriber, v.Tenant, c, v.Now)
	if v.class = c.Class(v.Tenant, v.Subscriber.Class); v.class != nil {
		v.Subscriber = followed(v.Subscriber, v.Tenant, c, v.Now)
	}
}

// Present is nil where there is an active subscriber.
func (v *View) Present() error {
	if !v.Exists || !v.Subscriber.Alive() {
		return fault.New(fault.NotFound, ReasonNotFound, "tenant %s has no active subscriber %s", v.Tenant, display.Subject(v.MSISDN))
	}
	return nil
}

// Has is nil where there is an active subscriber that has the option.
func (v *View) Has(o spend.Option) error {
	if err := v.Present(); err != nil {
		return err
	}
	if !v.Subscriber.Options[o].Offered() {
		return fault.New(fault.NotFound, ReasonNotOffered, "class of service %s of subscriber %s does not offer the %s safeguard", v.Subscriber.Class, display.Subject(v.MSISDN), o)
	}
	return nil
}

// Uncountable is whether nothing of the number can be counted now, though it may be any moment: usage is held for its
// activation, or the subscriber's class of service is missing.
func (v *View) Uncountable() bool {
	return v.Exists && (v.Subscriber.Pending() || v.Subscriber.Alive() && v.class == nil)
}

// CheckChange adds everything that the subscriber's record and class find wrong with a change.
func (v *View) CheckChange(f *fault.Violations, c *controlv1.ChangeCommand) {
	o := OptionOf(c.GetOption())
	if of := v.offer(o); of != nil {
		v.Subscriber.Options[o].faults(f, o, c, of)
	}
}

// CheckCharge adds everything that the subscriber's class finds wrong with a charge.
func (v *View) CheckCharge(f *fault.Violations, c *controlv1.ChargeCommand) {
	if of := v.offer(spend.Payment); of != nil {
		readCharge(f, c, of)
	}
}

// offer is an option as the class offers it by now; nil where it does not, or is gone.
func (v *View) offer(o spend.Option) *Offer {
	if v.class == nil {
		return nil
	}
	return v.class.Offers[o]
}

// eligible are the states that a change may lead to now; none where the class is gone, without which nothing may be
// changed.
func (v *View) eligible(o spend.Option) []spend.State {
	of := v.offer(o)
	if of == nil {
		return nil
	}
	return v.Subscriber.Options[o].eligible(o, of)
}

// forecast is when the limit is reached if spending goes on as it did. It goes by the log's time, as that of an alert does.
func (v *View) forecast(o spend.Option) (at time.Time, ok bool) {
	d := &v.Subscriber.Options[o]
	if !d.Limited {
		return at, false
	}
	return spend.Forecast(v.LogTime, d.Period.Start, d.Count.Spent, d.Limit)
}

// followed is a subscriber with what its class offers by now.
func followed(sub Subscriber, tenant string, c *Catalog, now time.Time) Subscriber {
	t := turn{at: now, tenant: tenant, catalog: c, exists: true, decision: decision{sub: sub}}
	t.followAll(t.class(), becauseCatalog)
	t.sub.Revision = c.Revision
	return t.sub
}

// renewed is a subscriber as the timers that are due by the clock are going to leave it.
func renewed(sub Subscriber, tenant string, c *Catalog, now time.Time) Subscriber {
	for {
		first := spend.Option(spend.Options)
		var due time.Time
		for o := range spend.Option(spend.Options) {
			if d := &sub.Options[o]; d.State != spend.Unset && !now.Before(d.Period.End) && (first == spend.Options || d.Period.End.Before(due)) {
				first, due = o, d.Period.End
			}
		}
		if first == spend.Options {
			return sub
		}
		t := turn{cause: cause{timer: timerPeriod[first]}, at: due, tenant: tenant, catalog: c, exists: true, decision: decision{sub: sub}}
		t.renew(first)
		sub = t.sub
		sub.Revision = c.Revision
	}
}
