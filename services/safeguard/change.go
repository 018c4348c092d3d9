package safeguard

import (
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Reasons of calls that are refused, as the API tells them.
const (
	reasonNotFound   = "SUBSCRIBER_NOT_FOUND"
	reasonNotOffered = "OPTION_NOT_OFFERED"
	reasonClass      = "CLASS_OF_SERVICE_UNKNOWN"
	reasonState      = "STATE_NOT_ELIGIBLE"
	reasonLimit      = "LIMIT_REQUIRED"
	reasonDay        = "RENEWAL_DAY_OUT_OF_RANGE"
	reasonDayChanged = "RENEWAL_DAY_CHANGED"
	reasonCurrency   = "CURRENCY_MISMATCH"
	reasonAmount     = "AMOUNT_INVALID"
	reasonThreshold  = "THRESHOLD_INVALID"
	reasonChange     = "CHANGE_INVALID"
)

// eligibleStates is the key under which a refused state names those that are eligible.
const eligibleStates = "eligibleStates"

// maxThresholds bounds a subscriber's own list.
const maxThresholds = 16

// called begins a call about an option: the subscriber takes over what its class says by now. The error is the caller's.
func (t *turn) called(o spend.Option) (*offer, error) {
	if !t.exists || !t.sub.alive() {
		return nil, t.noSubscriber()
	}
	c := t.class()
	if c == nil {
		return nil, fault.New(fault.Precondition, reasonClass, "class of service %q of the subscriber is not configured: create or undelete it", t.sub.class)
	}
	if o >= spend.Options {
		return nil, fault.New(fault.Invalid, reasonChange, "there is no such option")
	}
	t.followAll(c, becauseCatalog)
	if c.offers[o] == nil {
		return nil, fault.New(fault.NotFound, reasonNotOffered, "class of service %s does not offer the %s safeguard", t.sub.class, o)
	}
	return c.offers[o], nil
}

func (t *turn) noSubscriber() error {
	return fault.New(fault.NotFound, reasonNotFound, "tenant %s has no active subscriber %s", t.tenant, display.Subject(t.msisdn))
}

var errUnknownCall = fault.New(fault.Invalid, reasonChange, "a call that this replica does not know")

// wish is a change of an option that was found to be one.
type wish struct {
	day          spend.RenewalDay // 0: as it is
	limit, next  *spend.Amount
	clearNext    bool
	thresholds   []spend.Threshold
	hasThreshold bool
	state        spend.State // Unset: as it is
}

// change makes of an option what a call asks for, all or nothing. What is so already changes nothing.
func (t *turn) changeOption(c *controlv1.ChangeCommand) error {
	o := optionOf(c.GetOption())
	of, err := t.called(o)
	if err != nil {
		return err
	}
	w, err := t.sub.options[o].read(o, c, of)
	if err != nil {
		return err
	}
	d := &t.sub.options[o]
	before := *d
	if w.day != 0 {
		d.ownDay = true // also where it is that of the class: the class's may become another
		if w.day != d.renewalDay {
			d.renewalDay, d.dayChanged = w.day, true
			d.period = d.period.Until(t.at, d.renewalDay, of.Zone)
		}
	}
	if w.limit != nil {
		d.limit, d.limited, d.own = *w.limit, true, true
	}
	if w.next != nil {
		d.next, d.hasNext = *w.next, true
	}
	if w.clearNext {
		d.next, d.hasNext = 0, false
	}
	if w.hasThreshold {
		d.thresholds = w.thresholds
	}
	if w.state != spend.Unset && w.state != d.state {
		if d.state = w.state; d.state == spend.Active {
			d.count = d.count.Told() // what was spent meanwhile tells nothing now
		}
	}
	t.changed = true
	t.judge(o)
	if d.renewalDay != before.renewalDay {
		t.tell(o, kindDayChanged, becauseChange)
	}
	if d.differs(&before) || !slices.Equal(d.thresholds, before.thresholds) {
		t.tell(o, kindLimitChanged, becauseChange)
	}
	if d.state != before.state {
		t.tellState(o, becauseChange)
	}
	t.tellBlocked(o, before.blocked, becauseChange)
	return nil
}

// read finds everything that is wrong with a change at once. What can never be is Invalid, what the present state
// excludes a Precondition.
func (o *option) read(which spend.Option, c *controlv1.ChangeCommand, of *offer) (wish, error) {
	var f fault.Faults
	w := o.wish(&f, which, c, of)
	if f.Len() > 0 {
		o.excludes(&f, which, c, of, w)
		return w, f.ErrShared(reasonChange)
	}
	eligible := o.excludes(&f, which, c, of, w)
	if err := f.ErrShared(reasonChange); err != nil {
		return w, excluded(err, eligible)
	}
	return w, nil
}

// faults are all that is wrong with a change.
func (o *option) faults(f *fault.Faults, which spend.Option, c *controlv1.ChangeCommand, of *offer) {
	o.excludes(f, which, c, of, o.wish(f, which, c, of))
}

// wish finds what can never be.
func (o *option) wish(f *fault.Faults, which spend.Option, c *controlv1.ChangeCommand, of *offer) (w wish) {
	w.readDay(f, c)
	if which == spend.Overspend {
		w.readLimits(f, c, of)
	} else if c.GetCurrentLimit() != nil || c.GetNextLimit() != nil || c.GetClearNextLimit() || c.GetAlertThresholds() != nil {
		f.AddAs(reasonChange, "", "limits and thresholds of the %s safeguard are those of the class of service", which)
	}
	stateIn(f, c.GetState())
	if c.GetState() != eventv1.Safeguard_STATE_UNSPECIFIED {
		w.state = configclient.StateOf(c.GetState())
	}
	if w.state == spend.Active && !o.limited && w.limit == nil && c.GetCurrentLimit() == nil {
		f.AddAs(reasonLimit, "current_limit", "is required to activate the %s safeguard", which)
	}
	return w
}

// excluded makes a Precondition of what was found.
func excluded(err error, eligible string) error {
	found := fault.ViolationsOf(err)
	e := fault.NewInvalid(found[0].Reason, found...)
	e.Kind = fault.Precondition
	for _, v := range found {
		if v.Reason == reasonState {
			return e.With(eligibleStates, eligible)
		}
	}
	return e
}

// excludes adds what the present state does not let happen, and names the states that are eligible.
func (o *option) excludes(f *fault.Faults, which spend.Option, c *controlv1.ChangeCommand, of *offer, w wish) (eligible string) {
	if w.day != 0 && w.day != o.renewalDay && o.dayChanged {
		f.AddAs(reasonDayChanged, "renewal_day", "was changed in this period already, which ends at %s", o.period.End.Format(timeLayout))
	}
	if w.state == spend.Unset || w.state == o.state {
		return ""
	}
	var names []string
	for _, s := range o.eligible(which, of) {
		if s == w.state {
			return ""
		}
		names = append(names, s.String())
	}
	eligible = strings.Join(names, ",")
	f.AddAs(reasonState, "state", "can't become %s from %s; eligible: %s", stateName(c.GetState()), o.state, eligible)
	return eligible
}

func (of *offer) offersState(s spend.State) bool { return slices.Contains(of.States, s) }

// eligible are the states that a call may lead to from the present one, under a class; of a class that is gone, all that
// the option has.
func (o *option) eligible(which spend.Option, of *offer) []spend.State {
	return slices.DeleteFunc(o.state.Eligible(which), func(s spend.State) bool { return of != nil && !of.offersState(s) })
}

func (w *wish) readDay(f *fault.Faults, c *controlv1.ChangeCommand) {
	if c.RenewalDay == nil {
		return
	}
	day, err := spend.RenewalDayOf(int64(c.GetRenewalDay()))
	if err != nil {
		f.AddAs(reasonDay, "renewal_day", "must be from 1 to 28, is %d", c.GetRenewalDay())
	}
	w.day = day
}

func (w *wish) readLimits(f *fault.Faults, c *controlv1.ChangeCommand, of *offer) {
	w.limit = readAmount(f, "current_limit", c.GetCurrentLimit(), of.Currency)
	w.next = readAmount(f, "next_limit", c.GetNextLimit(), of.Currency)
	if w.clearNext = c.GetClearNextLimit(); w.clearNext && c.GetNextLimit() != nil {
		f.AddAs(reasonChange, "clear_next_limit", "excludes next_limit")
	}
	if c.GetAlertThresholds() == nil {
		return
	}
	w.hasThreshold = true
	given := c.GetAlertThresholds().GetThresholds()
	if len(given) > maxThresholds {
		f.AddAs(reasonThreshold, "alert_thresholds", "must be at most %d, are %d", maxThresholds, len(given))
	}
	for _, g := range given {
		t := spend.Threshold{Percent: int64(g.GetPercent())}
		if t.Percent == 0 && g.GetAmount() != nil { // of a percent the amount only says where it stood
			at := readAmount(f, "alert_thresholds.amount", g.GetAmount(), of.Currency)
			if at == nil {
				continue
			}
			t.Amount = *at
		}
		if err := t.Validate(); err != nil {
			f.AddAs(reasonThreshold, "alert_thresholds", "%s", err)
		}
		if g.GetSecondNotice() {
			f.AddAs(reasonThreshold, "alert_thresholds", "the second notice is the class of service's")
		}
		w.thresholds = append(w.thresholds, t)
	}
}

// readAmount reads one of 0 or above in the option's currency; nil where it is absent or was found wrong.
func readAmount(f *fault.Faults, field string, m *money.Money, currency string) *spend.Amount {
	if m == nil {
		return nil
	}
	same := m.GetCurrencyCode() == currency
	if !same {
		f.AddAs(reasonCurrency, field, "must be in %s, is in %.10q: there is no conversion", currency, m.GetCurrencyCode())
	}
	a, err := spend.AmountOf(m.GetUnits(), m.GetNanos())
	switch {
	case err != nil:
		f.AddAs(reasonAmount, field, "%s", err)
	case a < 0:
		f.AddAs(reasonAmount, field, "must not be below 0, is %s", a)
	case same:
		return &a
	}
	return nil
}

const timeLayout = "2006-01-02T15:04:05Z07:00"

// stateName is a state of the wire as people write it, also one that the option has not.
func stateName(s eventv1.Safeguard_State) string {
	if state := configclient.StateOf(s); state != spend.Unset {
		return state.String()
	}
	return s.String()
}

func optionOf(o eventv1.Safeguard_Option) spend.Option {
	switch o {
	case eventv1.Safeguard_OPTION_DATA:
		return spend.Data
	case eventv1.Safeguard_OPTION_OVERSPEND:
		return spend.Overspend
	case eventv1.Safeguard_OPTION_PAYMENT:
		return spend.Payment
	}
	return spend.Options
}
