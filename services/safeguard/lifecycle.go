package safeguard

import (
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Bounds of what a record holds of an activation.
const (
	maxClass    = 64
	minIMSI     = 6
	maxIMSI     = 15
	maxLanguage = 35 // bytes: what BCP 47 asks readers to be ready for
)

// activate creates the record of a subscriber. Where the number had one before, its ids and sequence go on.
func (t *turn) activate(a *eventv1.SubscriberActivated) {
	switch {
	case t.exists && t.sub.alive():
		t.refuse(refusedActive, "a subscriber with this MSISDN is active: where the number has a new owner, send subscriber.terminated first, then this event again")
		return
	case t.exists && t.eventTime.Before(t.sub.latest):
		t.refuse(refusedStale, "the activation is from before the subscriber's termination, which came first")
		return
	}
	if err := checkActivation(a); err != nil {
		t.refuse(refusedInvalid, err.Error())
		return
	}
	c := t.catalog.class(t.tenant, a.GetClassOfService())
	if c == nil {
		t.refuse(refusedClass, fmt.Sprintf("tenant %q has no class of service %q: configure it, then send this event again", t.tenant, a.GetClassOfService()))
		return
	}
	t.sub = subscriber{activated: t.eventTime, latest: t.eventTime, class: a.GetClassOfService(), imsi: a.GetImsi(), language: a.GetLanguage()}
	t.changed = true
	for o, of := range c.offers {
		if of != nil {
			t.begin(spend.Option(o), of, initial{}, becauseActivation)
		}
	}
}

// checkActivation names everything that is wrong with what would be kept.
func checkActivation(a *eventv1.SubscriberActivated) error {
	var f fault.Faults
	if n := len(a.GetClassOfService()); n == 0 || n > maxClass {
		f.Add("data.class_of_service", "must be 1 to %d bytes, has %d", maxClass, n)
	}
	if imsi := a.GetImsi(); imsi != "" && (len(imsi) < minIMSI || len(imsi) > maxIMSI || strings.Trim(imsi, "0123456789") != "") {
		f.Add("data.imsi", "must be %d to %d digits", minIMSI, maxIMSI)
	}
	if n := len(a.GetLanguage()); n > maxLanguage {
		f.Add("data.language", "must be at most %d bytes, has %d", maxLanguage, n)
	}
	return f.Err(refusedInvalid)
}

// terminate ends what the subscriber had, and leaves a mark that knows its ids and sequence.
func (t *turn) terminate() {
	switch {
	case !t.exists || !t.sub.alive():
		t.refuse(refusedUnknown, "no active subscriber has this MSISDN")
		return
	case t.eventTime.Before(t.sub.latest):
		t.refuse(refusedStale, "the termination is from before the subscriber's activation, which came first")
		return
	}
	for o := range spend.Option(spend.Options) {
		t.end(o, becauseTermination)
	}
	t.sub = subscriber{life: terminated, latest: t.eventTime, until: t.at.Add(markKept)}
	t.changed = true
}
