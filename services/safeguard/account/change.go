package account

import (
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Reasons of requests and commands that are refused.
const (
	ReasonNotFound   = reason.SubscriberNotFound
	ReasonNotOffered = reason.OptionNotOffered
	ReasonClass      = reason.ClassOfServiceUnknown
	ReasonState      = "STATE_NOT_ELIGIBLE"
	ReasonLimit      = reason.LimitRequired
	ReasonDay        = reason.RenewalDayOutOfRange
	ReasonDayChanged = reason.RenewalDayChanged
	ReasonCurrency   = reason.CurrencyMismatch
	ReasonAmount     = reason.AmountInvalid
	ReasonThreshold  = "THRESHOLD_INVALID"
	ReasonChange     = "CHANGE_INVALID"
	ReasonRequest    = reason.RequestInvalid
)

// EligibleStates is the key under which a refused state names those that are eligible.
const EligibleStates = "eligibleStates"

// MaxThresholds bounds a subscriber's own list.
const MaxThresholds = 16

// commandOn begins a command on an option: the subscriber takes over what its class offers by now. The error is the
// caller's.
func (t *turn) commandOn(o spend.Option) (*Offer, error) {
	if !t.exists || !t.sub.Alive() {
		return nil, t.noSubscriber()
	}
	c := t.class()
	if c == nil {
		return nil, fault.New(fault.Precondition, ReasonClass, "class of service %q of the subscriber is not configured: create or undelete it", t.sub.Class)
	}
	if o >= spend.Options {
		return nil, fault.New(fault.Invalid, ReasonChange, "there is no such option")
	}
	t.followAll(c, becauseCatalog)
	if c.Offers[o] == nil {
		return nil, fault.New(fault.NotFound, ReasonNotOffered, "class of service %s does not offer the %s safeguard", t.sub.Class, o)
	}
	return c.Offers[o], nil
}

func (t *turn) noSubscriber() error {
	return fault.New(fault.NotFound, ReasonNotFound, "tenant %s has no active subscriber %s", t.tenant, display.Subject(t.msisdn))
}

var errUnknownCommand = fault.New(fault.Invalid, ReasonChange, "a command that this replica does not know")

// wish is a change of an option that was found to be one.
type wish struct {
	day          spend.RenewalDay // 0: as it is
	limit, next  *spend.Amount
	clearNext    bool
	thresholds   []spend.Threshold
	hasThreshold bool
	state        spend.State // Unset: as it is
}

// changeOption makes of an option what a command asks for, all or nothing. What is so already changes nothing.
func (t *turn) changeOption(c *controlv1.ChangeCommand) error {
	o := OptionOf(c.GetOption())
	of, err := t.commandOn(o)
	if err != nil {
		return err
	}
	w, err := t.sub.Options[o].read(o, c, of)
	if err != nil {
		return err
	}
	d := &t.sub.Options[o]
	before := *d
	if w.day != 0 {
		d.OwnDay = true // also where it equals that of the class: the class's may change
		if w.day != d.RenewalDay {
			d.RenewalDay, d.DayChanged = w.day, true
			d.Period = d.Period.Until(t.at, d.RenewalDay, of.Zone)
		}
	}
	if w.limit != nil {
		d.Limit, d.Limited, d.OwnLimit = *w.limit, true, true
	}
	if w.next != nil {
		d.Next, d.HasNext = *w.next, true
	}
	if w.clearNext {
		d.Next, d.HasNext = 0, false
	}
	if w.hasThreshold {
		d.Thresholds = w.thresholds
	}
	if w.state != spend.Unset && w.state != d.State {
		if d.State = w.state; d.State == spend.Active {
			d.Count = d.Count.RaisePeak() // what was spent while inactive fires nothing now
		}
	}
	t.changed = true
	t.decideBlock(o)
	if d.RenewalDay != before.RenewalDay {
		t.addOutcome(o, KindDayChanged, becauseChange)
	}
	if d.differs(&before) || !slices.Equal(d.Thresholds, before.Thresholds) {
		t.addOutcome(o, KindLimitChanged, becauseChange)
	}
	if d.State != before.State {
		t.addStateChange(o, becauseChange)
	}
	t.addBlockChange(o, before.Blocked, becauseChange)
	return nil
}

// read finds everything that is wrong with a change at once. What can never be is Invalid, what the present state
// excludes a Precondition.
func (o *Option) read(which spend.Option, c *controlv1.ChangeCommand, of *Offer) (wish, error) {
	var f fault.Violations
	w := o.wish(&f, which, c, of)
	if f.Len() > 0 {
		o.excludes(&f, which, c, of, w)
		return w, f.ErrShared(ReasonChange)
	}
	eligible := o.excludes(&f, which, c, of, w)
	if err := f.ErrShared(ReasonChange); err != nil {
		return w, excluded(err, eligible)
	}
	return w, nil
}

// faults are all that is wrong with a change.
func (o *Option) faults(f *fault.Violations, which spend.Option, c *controlv1.ChangeCommand, of *Offer) {
	o.excludes(f, which, c, of, o.wish(f, which, c, of))
}

// wish finds what can never be.
func (o *Option) wish(f *fault.Violations, which spend.Option, c *controlv1.ChangeCommand, of *Offer) (w wish) {
	w.readDay(f, c)
	if which == spend.Overspend {
		w.readLimits(f, c, of)
	} else if c.GetCurrentLimit() != nil || c.GetNextLimit() != nil || c.GetClearNextLimit() || c.GetAlertThresholds() != nil {
		f.AddAs(ReasonChange, "", "limits and thresholds of the %s safeguard are those of the class of service", which)
	}
	CheckState(f, c.GetState())
	if c.GetState() != eventv1.Safeguard_STATE_UNSPECIFIED {
		w.state = configclient.StateOf(c.GetState())
	}
	if w.state == spend.Active && !o.Limited && w.limit == nil && c.GetCurrentLimit() == nil {
		f.AddAs(ReasonLimit, "current_limit", "is required to activate the %s safeguard", which)
	}
	return w
}

// excluded makes a Precondition of what was found.
func excluded(err error, eligible string) error {
	found := fault.ViolationsOf(err)
	e := fault.NewInvalid(found[0].Reason, found...)
	e.Kind = fault.Precondition
	for _, v := range found {
		if v.Reason == ReasonState {
			return e.With(EligibleStates, eligible)
		}
	}
	return e
}

// excludes adds what the present state does not let happen, and names the states that are eligible.
func (o *Option) excludes(f *fault.Violations, which spend.Option, c *controlv1.ChangeCommand, of *Offer, w wish) (eligible string) {
	if w.day != 0 && w.day != o.RenewalDay && o.DayChanged {
		f.AddAs(ReasonDayChanged, "renewal_day", "was changed in this period already, which ends at %s", o.Period.End.Format(timeLayout))
	}
	if w.state == spend.Unset || w.state == o.State {
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
	f.AddAs(ReasonState, "state", "can't become %s from %s; eligible: %s", stateName(c.GetState()), o.State, eligible)
	return eligible
}

func (of *Offer) offersState(s spend.State) bool { return slices.Contains(of.States, s) }

// eligible are the states that a command may lead to from the present one, under a class; of a class that is gone, all
// that the option has.
func (o *Option) eligible(which spend.Option, of *Offer) []spend.State {
	return slices.DeleteFunc(o.State.Eligible(which), func(s spend.State) bool { return of != nil && !of.offersState(s) })
}

func (w *wish) readDay(f *fault.Violations, c *controlv1.ChangeCommand) {
	if c.RenewalDay == nil {
		return
	}
	day, err := spend.RenewalDayOf(int64(c.GetRenewalDay()))
	if err != nil {
		f.AddAs(ReasonDay, "renewal_day", "must be from 1 to 28, is %d", c.GetRenewalDay())
	}
	w.day = day
}

func (w *wish) readLimits(f *fault.Violations, c *controlv1.ChangeCommand, of *Offer) {
	w.limit = readAmount(f, "current_limit", c.GetCurrentLimit(), of.Currency)
	w.next = readAmount(f, "next_limit", c.GetNextLimit(), of.Currency)
	if w.clearNext = c.GetClearNextLimit(); w.clearNext && c.GetNextLimit() != nil {
		f.AddAs(ReasonChange, "clear_next_limit", "excludes next_limit")
	}
	if c.GetAlertThresholds() == nil {
		return
	}
	w.hasThreshold = true
	given := c.GetAlertThresholds().GetThresholds()
	if len(given) > MaxThresholds {
		f.AddAs(ReasonThreshold, "alert_thresholds", "must be at most %d, are %d", MaxThresholds, len(given))
	}
	for _, g := range given {
		t := spend.Threshold{Percent: int64(g.GetPercent())}
		if t.Percent == 0 && g.GetAmount() != nil { // the amount of a percent only shows where it stood
			at := readAmount(f, "alert_thresholds.amount", g.GetAmount(), of.Currency)
			if at == nil {
				continue
			}
			t.Amount = *at
		}
		if err := t.Validate(); err != nil {
			f.AddAs(ReasonThreshold, "alert_thresholds", "%s", err)
		}
		if g.GetSecondNotice() {
			f.AddAs(ReasonThreshold, "alert_thresholds", "the second notice is the class of service's")
		}
		w.thresholds = append(w.thresholds, t)
	}
}

// readAmount reads one of 0 or above in the option's currency; nil where it is absent or was found wrong.
func readAmount(f *fault.Violations, field string, m *money.Money, currency string) *spend.Amount {
	if m == nil {
		return nil
	}
	same := m.GetCurrencyCode() == currency
	if !same {
		f.AddAs(ReasonCurrency, field, "must be in %s, is in %.10q: there is no conversion", currency, m.GetCurrencyCode())
	}
	a, err := spend.AmountOf(m.GetUnits(), m.GetNanos())
	switch {
	case err != nil:
		f.AddAs(ReasonAmount, field, "%s", err)
	case a < 0:
		f.AddAs(ReasonAmount, field, "must not be below 0, is %s", a)
	case same:
		return &a
	}
	return nil
}

const timeLayout = "2006-01-02T15:04:05Z07:00"

// CheckState adds a violation where a state is none. Which states lead to it depends on the subscriber's record.
func CheckState(f *fault.Violations, state eventv1.Safeguard_State) {
	if _, known := eventv1.Safeguard_State_name[int32(state)]; !known {
		f.AddAs(ReasonRequest, "state", "%d is no state", state)
	}
}

// stateName is a state of the wire as people write it, also one that the option has not.
func stateName(s eventv1.Safeguard_State) string {
	if state := configclient.StateOf(s); state != spend.Unset {
		return state.String()
	}
	return s.String()
}

// OptionOf is an option of the wire, AnyOption where it is none.
func OptionOf(o eventv1.Safeguard_Option) spend.Option {
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
