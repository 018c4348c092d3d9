package account

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Bounds of what a record holds of an activation.
const (
	MaxClass    = 64
	minIMSI     = 6
	maxIMSI     = 15
	maxLanguage = 35 // bytes: what BCP 47 asks readers to be ready for
	maxContact  = 1024
	maxMSISDN   = 15
)

// activate creates the record of a subscriber. Where the number had one before, its ids and sequence go on; where
// usage is held for it, that is worked now.
func (t *turn) activate(a *eventv1.SubscriberActivated) {
	switch {
	case t.exists && t.eventTime.Before(t.sub.latest):
		t.refuse(refusedStale, "the activation is from before the last event of the subscriber's life, which came first")
		return
	case t.exists && t.sub.Alive():
		t.refuse(refusedActive, "a subscriber with this MSISDN is active: where the number has a new owner, send subscriber.terminated first, then this event again")
		return
	}
	if err := checkActivation(a); err != nil {
		t.refuse(reason.EventInvalid, err.Error())
		return
	}
	c := t.catalog.Class(t.tenant, a.GetClassOfService())
	if c == nil {
		t.refuse(reason.ClassOfServiceUnknown, fmt.Sprintf("tenant %q has no class of service %q: configure it, then send this event again", t.tenant, a.GetClassOfService()))
		return
	}
	given, err := initialOf(a.GetOptions(), c)
	if err != nil {
		t.refuse(fault.ReasonOf(err), err.Error())
		return
	}
	waiting := t.sub.held
	t.exists = true
	t.sub = Subscriber{
		Activated: t.eventTime, latest: t.eventTime, Class: a.GetClassOfService(), IMSI: a.GetImsi(), Language: a.GetLanguage(),
	}
	t.keepContact(a.GetContact())
	t.beginAll(c, given)
	t.release(waiting)
}

// beginAll gives a new subscriber its options.
func (t *turn) beginAll(c *Class, given [spend.Options]initial) {
	t.changed = true
	for o, of := range c.Offers {
		if of != nil {
			t.begin(spend.Option(o), of, given[o], becauseActivation)
		}
	}
}

// keepContact keeps where to reach the subscriber, beside the record.
func (t *turn) keepContact(c *eventv1.Contact) {
	t.contact = contact{c, true, true}
}

// checkActivation names everything that is wrong with what would be kept.
func checkActivation(a *eventv1.SubscriberActivated) error {
	var f fault.Violations
	if n := len(a.GetClassOfService()); n == 0 || n > MaxClass {
		f.Add("data.class_of_service", "must be 1 to %d bytes, has %d", MaxClass, n)
	}
	checkIMSI(&f, "data.imsi", a.GetImsi())
	if n := len(a.GetLanguage()); n > maxLanguage {
		f.Add("data.language", "must be at most %d bytes, has %d", maxLanguage, n)
	}
	if n := proto.Size(a.GetContact()); n > maxContact {
		f.Add("data.contact", "must be at most %d bytes, has %d", maxContact, n)
	}
	return f.Err(reason.EventInvalid)
}

func checkIMSI(f *fault.Violations, field, imsi string) {
	if imsi != "" && (len(imsi) < minIMSI || len(imsi) > maxIMSI || strings.Trim(imsi, "0123456789") != "") {
		f.Add(field, "must be %d to %d digits", minIMSI, maxIMSI)
	}
}

// initialOf reads where options stand already, and names everything that is wrong with it.
func initialOf(options []*eventv1.InitialOption, c *Class) (given [spend.Options]initial, err error) {
	var f fault.Violations
	seen := [spend.Options]bool{}
	for i, in := range options {
		field := fmt.Sprintf("data.options[%d]", i)
		o := OptionOf(in.GetOption())
		switch {
		case o == spend.Options:
			f.AddAs(reason.EventInvalid, field+".option", "must name an option")
			continue
		case seen[o]:
			f.AddAs(reason.EventInvalid, field+".option", "names the %s safeguard again", o)
			continue
		case c.Offers[o] == nil:
			f.AddAs(ReasonNotOffered, field+".option", "the class of service does not offer the %s safeguard", o)
			continue
		}
		seen[o] = true
		given[o] = c.Offers[o].initial(&f, field, o, in)
	}
	return given, f.ErrShared(reason.EventInvalid)
}

func (of *Offer) initial(f *fault.Violations, field string, o spend.Option, in *eventv1.InitialOption) (given initial) {
	if in.GetRenewalDay() != 0 {
		day, err := spend.RenewalDayOf(int64(in.GetRenewalDay()))
		if err != nil {
			f.AddAs(ReasonDay, field+".renewal_day", "must be from 1 to 28, is %d", in.GetRenewalDay())
		}
		given.day = day
	}
	amount := func(name string, m *money.Money) (spend.Amount, bool) {
		if a := readAmount(f, field+name, m, of.Currency); a != nil {
			return *a, true
		}
		return 0, false
	}
	if o != spend.Overspend && (in.GetCurrentLimit() != nil || in.GetNextLimit() != nil) {
		f.AddAs(reason.EventInvalid, field, "limits of the %s safeguard are those of the class of service", o)
	} else {
		given.limit, given.limited = amount(".current_limit", in.GetCurrentLimit())
		given.next, given.hasNext = amount(".next_limit", in.GetNextLimit())
	}
	given.spent, _ = amount(".spent", in.GetSpent())
	if in.GetState() == eventv1.Safeguard_STATE_UNSPECIFIED {
		return given
	}
	given.state = configclient.StateOf(in.GetState())
	if !of.offersState(given.state) {
		f.AddAs(ReasonState, field+".state", "%s is no state that the class of service offers", stateName(in.GetState()))
	}
	if given.state == spend.Active && !of.HasLimit && in.GetCurrentLimit() == nil {
		f.AddAs(ReasonLimit, field+".current_limit", "is required of an active %s safeguard", o)
	}
	return given
}

// inLife begins an event of an active subscriber's life. It is not ok where the event was refused: the number has no
// subscriber, or a later event came first.
func (t *turn) inLife() (ok bool) {
	switch {
	case !t.exists || !t.sub.Alive():
		t.refuse(refusedUnknown, "no active subscriber has this MSISDN")
		return false
	case t.eventTime.Before(t.sub.latest):
		t.refuse(refusedStale, "the event is from before the last one of the subscriber's life, which came first")
		return false
	}
	t.sub.latest = t.eventTime
	t.changed = true
	return true
}

// suspend records that the subscriber was suspended, or resumed: counting and blocking go on.
func (t *turn) suspend(suspended bool) {
	if t.inLife() {
		t.sub.Suspended = suspended
		t.followAll(t.class(), becauseCatalog)
	}
}

// swap records another SIM.
func (t *turn) swap(s *eventv1.SubscriberSimSwapped) {
	var f fault.Violations
	checkIMSI(&f, "data.new_imsi", s.GetNewImsi())
	if err := f.Err(reason.EventInvalid); err != nil {
		t.refuse(reason.EventInvalid, err.Error())
		return
	}
	if t.inLife() {
		if s.GetNewImsi() != "" {
			t.sub.IMSI = s.GetNewImsi()
		}
		t.followAll(t.class(), becauseCatalog)
	}
}

// reclass moves the subscriber to another class of service. Spend, peak and period stay; zone and renewal day follow at
// the next period.
func (t *turn) reclass(to *eventv1.SubscriberClassOfServiceChanged) {
	id := to.GetClassOfService()
	if !t.inLife() {
		return
	}
	c := t.catalog.Class(t.tenant, id)
	if c == nil {
		t.refuse(reason.ClassOfServiceUnknown, fmt.Sprintf("tenant %q has no class of service %.80q: configure it, then send this event again", t.tenant, id))
		return
	}
	reason := becauseClass
	if t.sub.Class == id {
		reason = becauseCatalog
	}
	t.sub.Class = id
	t.followAll(c, reason)
}

// terminate ends what the subscriber had. A tombstone keeps its ids and sequence for as long as ids are remembered, so that
// its activation sent again does not bring it back.
func (t *turn) terminate() {
	if !t.inLife() {
		return
	}
	for o := range spend.Option(spend.Options) {
		t.end(o, becauseTermination)
	}
	t.sub = Subscriber{Life: LifeTerminated, latest: t.eventTime, until: t.at.Add(t.window())}
	t.contact.changed = true
}
