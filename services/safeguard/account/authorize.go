package account

import (
	"time"

	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Reasons of authorisations.
const (
	ReasonLimitReached = "LIMIT_REACHED"
	ReasonInactive     = "INACTIVE"
	ReasonUnknown      = "UNKNOWN"
)

// AnyOption stands for whichever option the usage falls into.
const AnyOption = spend.Option(spend.Options)

// Authorization is whether a subscriber may use something now.
type Authorization struct {
	Denied bool
	Reason string
	// BlockedBy are the options that deny it, where they are known.
	BlockedBy [spend.Options]bool
	// Unknown: something can't be known now, and a caller asks again soon.
	Unknown bool
	// Until is when the answer changes by itself, zero where it does not or where that is not known.
	Until time.Time
}

// Authorize decides by the bits that the inventory shows and that safeguard.reached sets. The error is that there is
// no such subscriber or option.
func (v *View) Authorize(usage *eventv1.UsageCharged, asked spend.Option) (Authorization, error) {
	err := v.Present()
	if err == nil && asked != AnyOption {
		err = v.Has(asked)
	}
	if err != nil {
		return Authorization{}, err
	}
	var a authorizing
	for o := range spend.Option(spend.Options) {
		d := &v.Subscriber.Options[o]
		if !d.Offered() || asked != AnyOption && asked != o || !d.Blocked && !v.mayBlock(o) {
			continue // nothing that this usage's scope could decide
		}
		if asked == AnyOption {
			of := v.offer(o)
			switch in, err := of.holds(usage); {
			case err != nil && d.Blocked:
				a.unknown(o, of.UnknownAllows)
				continue
			case err != nil || !in:
				continue
			}
		}
		a.known(o, d, v.blocksNext(o))
	}
	return a.decision(), nil
}

// AuthorizeUnknown decides while the counters can't be read: by the policy of each option that this would fall into, where
// the subscriber's class is known, otherwise by the tenant's.
func (c *Catalog) AuthorizeUnknown(tenant, class string, usage *eventv1.UsageCharged, asked spend.Option) Authorization {
	a := authorizing{Authorization: Authorization{Unknown: true}}
	known := c.Class(tenant, class)
	if known == nil {
		a.unknown(asked, c.Tenant(tenant).UnknownAllows)
		return a.decision()
	}
	for o, of := range known.Offers {
		if of == nil || asked != AnyOption && asked != spend.Option(o) {
			continue
		}
		in, err := true, error(nil)
		if asked == AnyOption {
			in, err = of.holds(usage)
		}
		if in || err != nil {
			a.unknown(spend.Option(o), of.UnknownAllows)
		}
	}
	return a.decision()
}

// authorizing is an authorisation in the making.
type authorizing struct {
	Authorization
	// begins is when the first option will block that does not now, released when the last one will not any more.
	begins, released time.Time
	// forever: an option blocks in the next period as well.
	forever bool
}

// known adds an option that this falls into; next is whether it will block in its next period.
func (a *authorizing) known(o spend.Option, d *Option, next bool) {
	switch {
	case d.Blocked && d.State == spend.Active:
		a.deny(o, ReasonLimitReached)
	case d.Blocked:
		a.deny(o, ReasonInactive)
	case next && (a.begins.IsZero() || d.Period.End.Before(a.begins)):
		a.begins = d.Period.End
	}
	if d.Blocked {
		a.forever = a.forever || next
		if d.Period.End.After(a.released) {
			a.released = d.Period.End
		}
	}
}

// unknown adds an option of which it can't be known whether it blocks this.
func (a *authorizing) unknown(o spend.Option, allows bool) {
	a.Unknown = true
	if !allows {
		a.deny(o, ReasonUnknown)
	} else if a.Reason == "" {
		a.Reason = ReasonUnknown
	}
}

func (a *authorizing) deny(o spend.Option, reason string) {
	a.Denied = true
	if o != AnyOption {
		a.BlockedBy[o] = true
	}
	if a.Reason == "" || a.Reason == ReasonUnknown || reason == ReasonLimitReached {
		a.Reason = reason
	}
}

func (a *authorizing) decision() Authorization {
	switch {
	case a.Unknown:
	case !a.Denied:
		a.Until = a.begins
	case !a.forever:
		a.Until = a.released
	}
	return a.Authorization
}

// mayBlock is a cheap test whether an option that does not block now can block in its next period: nothing is spent then,
// so its limit or its state has to change.
func (v *View) mayBlock(o spend.Option) bool {
	d := &v.Subscriber.Options[o]
	if d.HasNext || d.State == spend.TemporarilyInactive {
		return true
	}
	of := v.offer(o)
	return of != nil && !d.agrees(of)
}

// blocksNext is whether the option will block when its next period begins.
func (v *View) blocksNext(o spend.Option) bool {
	d := &v.Subscriber.Options[o]
	t := turn{cause: cause{timer: timerPeriod[o]}, at: d.Period.End, tenant: v.Tenant, msisdn: v.MSISDN, catalog: v.catalog, exists: true, decision: decision{sub: v.Subscriber}}
	t.renew(o)
	return t.sub.Options[o].Blocked
}

// holds is the scope's answer.
func (of *Offer) holds(usage *eventv1.UsageCharged) (bool, error) {
	if of.scope.err != nil {
		return false, of.scope.err
	}
	return of.scope.Holds(usage)
}
