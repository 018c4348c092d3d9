package rules

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/expr"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Bounds of kinds.
const (
	maxDays     = 366
	maxSpan     = 2*maxDays - 1 // days from what a delay counts from to its last repeat
	maxRepeats  = 100
	maxPercent  = 1000
	maxCapped   = 10_000
	maxPath     = 256 // bytes
	shortestCap = time.Second
	shortest    = time.Minute // absence
	longest     = maxDays * 24 * time.Hour
)

// terminated ends an absence of a subscriber.
const terminated = "subscriber.terminated"

// stateful is how a rule keeps a state.
type stateful struct {
	kind kind.Rule
	// key by which states are kept; nil for by subject.
	key programs
	// What the kind reads of an event; nil where it does not.
	value, before, whole, from paths
	// Events of the types in cancels cancel where the filter holds, else renew, the states of their keys.
	cancels      []event.Type
	cancelFilter programs
	cancelKey    programs
}

// Stateful reports whether the rule keeps a state for each subject and key.
func (r *Rule) Stateful() bool { return r.state != nil }

// Timed reports whether the rule fires by timers, and not with an event.
func (r *Rule) Timed() bool {
	return r.state != nil && (r.state.kind.Delayed != nil || r.state.kind.Absence != nil)
}

// compiling is a trigger on its way to a stateful.
type compiling struct {
	*stateful
	types    []event.Type
	declared *Types
	f        *fault.Violations
}

// compileState compiles kind, key and cap. It returns nil where nothing is kept.
func compileState(n Notification, types []event.Type, f *fault.Violations) *stateful {
	c := compiling{&stateful{}, types, n.Types, f}
	c.kind.Silent, c.kind.Key = !n.Active, n.Trigger.Key
	c.key = compileKey("trigger.key", n.Trigger.Key, false, types, f)
	if k := n.Trigger.Kind; k != nil && len(k.ProtoReflect().GetUnknown()) > 0 {
		f.Add("trigger", "must be of a kind, and have fields, that are known")
	}
	switch k := n.Trigger.Kind.GetKind().(type) {
	case nil, *configv1.Trigger_Event:
		if n.Cap == nil {
			return nil
		}
	case *configv1.Trigger_Crossing:
		c.crossing(k.Crossing)
	case *configv1.Trigger_Depleted:
		c.signChange("trigger.depleted", k.Depleted, kind.Balance{Depleted: true})
	case *configv1.Trigger_Restored:
		c.signChange("trigger.restored", k.Restored, kind.Balance{Restored: true})
	case *configv1.Trigger_Thresholds:
		c.thresholds(k.Thresholds)
	case *configv1.Trigger_Delayed:
		c.delayed(k.Delayed)
	case *configv1.Trigger_Absence:
		c.absence(k.Absence)
	}
	c.cap(n.Cap)
	c.oneTopic("trigger.event_types", types)
	return c.stateful
}

// onSafeguards reports whether a type's events are on the topic of safeguards, and not with all others that have an order.
func onSafeguards(t event.Type) bool { return t.Entity == "safeguard" }

// oneTopic refuses what does not come in one order: a state follows from one log.
func (c *compiling) oneTopic(field string, types []event.Type) {
	var unordered, others []string
	for _, t := range types {
		switch {
		case t.Queue != event.Ordered:
			unordered = append(unordered, t.Name)
		case len(c.types) > 0 && onSafeguards(t) != onSafeguards(c.types[0]):
			others = append(others, t.Name)
		}
	}
	if len(unordered) > 0 {
		c.f.Add(field, "must be ordered types where a state is kept: %s has no order", strings.Join(unordered, ", "))
	}
	if len(others) > 0 {
		c.f.Add(field, "must be of one topic where a state is kept: %s is not on that of %s", strings.Join(others, ", "), c.types[0].Name)
	}
}

func (c *compiling) crossing(k *configv1.Crossing) {
	const at = "trigger.crossing"
	money := c.compared(at, k.GetField(), k.GetBefore())
	if k.GetUp() == nil && k.GetDown() == nil {
		c.f.Add(at, "must have up, down or both")
	}
	c.kind.Crossing = &kind.Crossing{
		Up: c.limit(at+".up", k.GetUp(), money), Down: c.limit(at+".down", k.GetDown(), money), Rearm: c.rearm(at, k.GetRearm(), money),
	}
	c.oneCurrency(at, k.GetUp(), k.GetDown(), k.GetRearm())
}

func (c *compiling) signChange(at string, k *configv1.SignChange, of kind.Balance) {
	c.compared(at, k.GetField(), k.GetBefore())
	c.kind.Balance = &of
}

func (c *compiling) thresholds(k *configv1.Thresholds) {
	const at = "trigger.thresholds"
	money := c.compared(at, k.GetField(), k.GetBefore())
	out := &kind.Thresholds{Percent: k.GetOf() != ""}
	c.kind.Thresholds = out
	field, n := at+".values", len(k.GetValues())
	if out.Percent {
		field, n = at+".percent", len(k.GetPercent())
		c.kind.Field += " of " + k.GetOf() // what is kept is a percentage
		var amount bool
		if c.whole, amount = c.numbers(at+".of", k.GetOf()); c.whole != nil && amount != money {
			c.f.Add(at+".of", "must be a number or an amount, as field is")
		}
		money = false
	}
	switch {
	case out.Percent && len(k.GetValues()) > 0:
		c.f.Add(at+".values", "must be empty: with of, percent has them")
	case !out.Percent && len(k.GetPercent()) > 0:
		c.f.Add(at+".percent", "must be empty without of, which is what they are percent of")
	}
	if n == 0 || n > kind.MaxThresholds {
		c.f.Add(field, "must have 1 to %d, has %d", kind.MaxThresholds, n)
		return
	}
	if out.Percent {
		for i, p := range k.GetPercent() {
			v, err := kind.Float(p)
			if err != nil || p <= 0 || p > maxPercent {
				c.f.Add(indexed(field, i), "must be above 0 and at most %d", maxPercent)
				continue
			}
			out.Values = append(out.Values, v)
		}
	} else {
		for i, m := range k.GetValues() {
			if v := c.limit(indexed(field, i), m, money); v.Present() {
				out.Values = append(out.Values, v)
			}
		}
		c.oneCurrency(at, append(slices.Clone(k.GetValues()), k.GetRearm())...)
	}
	for i := 1; i < len(out.Values); i++ {
		if !out.Values[i-1].Less(out.Values[i]) {
			c.f.Add(field, "must be in ascending order, each once: %s stands before %s", out.Values[i-1], out.Values[i])
		}
	}
	out.Rearm = c.rearm(at, k.GetRearm(), money)
}

// limit reads what values are compared with; money is whether they are amounts. Absent is absent.
func (c *compiling) limit(field string, m *money.Money, money bool) kind.Number {
	if m == nil {
		return kind.Number{}
	}
	switch _, err := spend.AmountOf(m.GetUnits(), m.GetNanos()); {
	case err != nil:
		c.f.Add(field, "%v", err)
		return kind.Number{}
	case m.GetCurrencyCode() != "" && !money:
		c.f.Add(field+".currency_code", "must be empty: what is compared is no amount of money")
		return kind.Number{}
	case m.GetCurrencyCode() != "" && !event.IsCurrency(m.GetCurrencyCode()):
		c.f.Add(field+".currency_code", event.FormCurrency)
		return kind.Number{}
	}
	v, err := kind.Amount(m.GetCurrencyCode(), m.GetUnits(), m.GetNanos())
	if err != nil {
		c.f.Add(field, "%v", err)
	}
	return v
}

func (c *compiling) rearm(at string, m *money.Money, money bool) kind.Number {
	v := c.limit(at+".rearm", m, money)
	if v.Present() && v.Less(kind.Int(0)) {
		c.f.Add(at+".rearm", "must be 0 or more")
	}
	return v
}

func (c *compiling) oneCurrency(at string, all ...*money.Money) {
	var found []string
	for _, m := range all {
		if code := m.GetCurrencyCode(); code != "" && !slices.Contains(found, code) {
			found = append(found, code)
		}
	}
	if len(found) > 1 {
		c.f.Add(at, "must be of one currency, is of %s", short(strings.Join(found, ", ")))
	}
}

func (c *compiling) delayed(k *configv1.Delayed) {
	const at = "trigger.delayed"
	out := &kind.Delayed{Days: int(k.GetDays()), At: -1, RepeatDays: int(k.GetRepeat().GetDays()), RepeatTimes: int(k.GetRepeat().GetTimes())}
	c.kind.Delayed, c.kind.Field = out, k.GetFrom()
	if out.Days < -maxDays || out.Days > maxDays {
		c.f.Add(at+".days", "must be from -%d to %d", maxDays, maxDays)
	}
	if k.GetAt() != "" {
		var ok bool
		if out.At, ok = timeOfDay(k.GetAt()); !ok {
			c.f.Add(at+".at", `must be a time of the day such as "09:00" or "09:00:30"`)
		}
	}
	if name := k.GetTimeZone(); name != "" {
		var err error
		if out.Zone, err = spend.Zone(name); err != nil {
			c.f.Add(at+".time_zone", "must be the IANA name of a zone, such as Europe/Berlin: %q is none", short(name))
		}
	}
	if k.GetFrom() != "" {
		c.from = c.paths(at+".from", k.GetFrom(), "a date or an instant", func(f protoreflect.FieldDescriptor) bool {
			return f.Message() != nil && f.Message().FullName() == timestampName
		})
	}
	if k.GetRepeat() != nil {
		switch {
		case out.RepeatDays < 1 || out.RepeatDays > maxDays:
			c.f.Add(at+".repeat.days", "must be from 1 to %d", maxDays)
		case out.RepeatTimes < 1 || out.RepeatTimes > maxRepeats:
			c.f.Add(at+".repeat.times", "must be from 1 to %d", maxRepeats)
		case out.Days+out.RepeatDays*out.RepeatTimes > maxSpan:
			c.f.Add(at+".repeat", "must end %d days after what it counts from, ends after %d", maxSpan, out.Days+out.RepeatDays*out.RepeatTimes)
		}
	}
	if by := k.GetCancelledBy(); by != nil {
		c.cancelledBy(at+".cancelled_by", by)
	}
}

func (c *compiling) cancelledBy(at string, by *configv1.CancelledBy) {
	c.cancels = expand(at+".event_types", by.GetEventTypes(), c.declared, c.f)
	c.oneTopic(at+".event_types", c.cancels)
	c.cancelFilter = compileFilter(at+".filter", by.GetFilter(), c.cancels, c.f)
	c.cancelKey = compileKey(at+".key", by.GetKey(), true, c.cancels, c.f)
	switch has, needs := !expr.Blank(by.GetKey()), !expr.Blank(c.kind.Key); {
	case needs && !has:
		c.f.Add(at+".key", "must be there where the trigger has a key: which of the states is cancelled")
	case has && !needs:
		c.f.Add(at+".key", "must be empty where the trigger has no key")
	}
}

// timeOfDay reads "15:04" or "15:04:05".
func timeOfDay(text string) (time.Duration, bool) {
	for _, form := range []string{"15:04", time.TimeOnly} {
		if t, err := time.Parse(form, text); err == nil && len(text) == len(form) {
			h, m, s := t.Clock()
			return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second, true
		}
	}
	return 0, false
}

func (c *compiling) absence(k *configv1.Absence) {
	span := c.duration("trigger.absence.for", k.GetFor(), shortest, longest, "1 min to 366 days")
	c.kind.Absence = &kind.Absence{For: span}
	if !slices.ContainsFunc(c.types, func(t event.Type) bool { return t.Subscriber && !onSafeguards(t) }) {
		return
	}
	if t, ok := event.Lookup(terminated); ok {
		c.cancels = []event.Type{t}
	}
	if !expr.Blank(c.kind.Key) {
		c.f.Add("trigger.key", "must be empty: the absence of a subscriber ends with %s, which has no key", terminated)
	}
}

func (c *compiling) cap(written *configv1.Cap) {
	if written == nil {
		return
	}
	if n := written.GetN(); n < 1 || n > maxCapped {
		c.f.Add("cap.n", "must be from 1 to %d", maxCapped)
	}
	window := c.duration("cap.window", written.GetWindow(), shortestCap, longest, "1 s to 366 days")
	c.kind.Cap = &kind.Cap{N: uint64(max(written.GetN(), 0)), Window: window}
}

func (c *compiling) duration(field string, d *durationpb.Duration, least, most time.Duration, bounds string) time.Duration {
	span := d.AsDuration()
	switch {
	case d.CheckValid() != nil || span < least || span > most:
		c.f.Add(field, "must be from %s", bounds)
	case span%time.Millisecond != 0:
		c.f.Add(field, "must be of whole milliseconds")
	}
	return span
}
