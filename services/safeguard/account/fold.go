package account

import (
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// fold is what counting makes of one partition's log.
type Rules struct {
	// safeguards is the topic of outcomes, with prefix.
	safeguards string
	catalog    *Catalog
}

// NewRules decides under no catalog yet; topic is that of outcomes, with prefix.
func NewRules(topic string) *Rules { return &Rules{safeguards: topic} }

var (
	_ fold.Fold[Subscriber, *Catalog] = (*Rules)(nil)
)

// Domain of the state, and name of the group that works it.
const Domain = "safeguard"

// Timers of a subscriber.
const (
	timerTombstone = "mark"    // the mark of a subscriber that is gone is forgotten
	timerPending   = "unknown" // nobody activated the number that usage waits for
)

var (
	// timerPeriod: an option's period ends. timerLate: what came late for it is told.
	timerPeriod = [spend.Options]string{spend.Data: "data", spend.Overspend: "overspend", spend.Payment: "payment"}
	timerLate   = [spend.Options]string{spend.Data: "data.late", spend.Overspend: "overspend.late", spend.Payment: "payment.late"}
)

// lateEvery is how often, at most, a period's late sum is told.
const lateInterval = time.Hour

// Takes says what the rules take beside ordinary events.
func Takes() fold.Options[*Catalog] {
	return fold.Options[*Catalog]{
		Commands: true, Transfers: true,
		// In the order in which those due at one time fire: that of the options.
		Timers: []string{
			timerPeriod[spend.Data], timerLate[spend.Data], timerPeriod[spend.Overspend], timerLate[spend.Overspend],
			timerPeriod[spend.Payment], timerLate[spend.Payment], timerTombstone, timerPending,
		},
		// How long a tenant wants the ids of its subscribers' events to be remembered.
		DedupWindow: func(c *Catalog, key string) time.Duration { return c.Tenant(TenantOf(key)).DedupWindow },
	}
}

// Configure takes the classes of service of another revision.
func (f *Rules) Configure(c *Catalog) error {
	f.catalog = c
	return nil
}

// Decode reads a subscriber.
func (f *Rules) Decode(b []byte) (Subscriber, error) { return Decode(b) }

// Append writes one.
func (f *Rules) Append(dst []byte, s Subscriber) []byte { return s.Encode(dst) }

// Select says whose record an event needs: that of its subject, for the types that say something about spend.
func (f *Rules) Select(e *event.Event) fold.Selection {
	switch e.Data.(type) {
	case *eventv1.UsageCharged, *eventv1.SubscriberActivated, *eventv1.SubscriberTerminated, *eventv1.SubscriberStatusChanged,
		*eventv1.SubscriberSimSwapped, *eventv1.SubscriberClassOfServiceChanged, *eventv1.SubscriberMsisdnChanged,
		*controlv1.Transfer, *controlv1.TransferSettled, *controlv1.ChangeCommand, *controlv1.ChargeCommand, *controlv1.ReapplyCommand:
		_, moves := e.Data.(*eventv1.SubscriberMsisdnChanged)
		return fold.Selection{Key: e.Key(), AllIDs: moves}
	}
	return fold.Selection{}
}

// Apply works one event.
func (f *Rules) Apply(s *fold.Subject[Subscriber], e *event.Event) {
	t := f.turnOf(s, e)
	if msisdn, ok := event.MSISDN(e.Subject); !ok || msisdn != e.Subject {
		// ingest lets nothing else through; another spelling would be a second record of one subscriber.
		t.refuse(refusedInvalid, "subject "+event.FormMSISDN)
		f.conclude(s, &t)
		return
	}
	_, transfer := e.Data.(*controlv1.Transfer)
	if s.Exists && s.Body.transferOut != nil && !transfer && !event.IsCommand(e.Type) {
		t.duringTransfer()
		f.conclude(s, &t)
		return
	}
	switch data := e.Data.(type) {
	case *eventv1.UsageCharged:
		t.used(data)
	case *eventv1.SubscriberActivated:
		t.activate(data)
	case *eventv1.SubscriberTerminated:
		t.terminate()
	case *eventv1.SubscriberStatusChanged:
		t.suspend(e.Type == typeSuspended)
	case *eventv1.SubscriberSimSwapped:
		t.swap(data)
	case *eventv1.SubscriberClassOfServiceChanged:
		t.reclass(data)
	case *eventv1.SubscriberMsisdnChanged:
		t.transferOut(data)
	case *controlv1.Transfer:
		if !f.takeOver(s, &t, data) {
			return
		}
	case *controlv1.ChangeCommand, *controlv1.ChargeCommand, *controlv1.ReapplyCommand:
		f.call(s, &t)
		return
	default:
		return
	}
	f.conclude(s, &t)
}

// turnOf begins the turn of an event.
func (f *Rules) turnOf(s *fold.Subject[Subscriber], e *event.Event) turn {
	return turn{
		cause: cause{event: e, identity: s.Identity}, at: s.Time, eventTime: s.EventTime, tenant: e.Tenant, msisdn: e.Subject,
		catalog: f.catalog, exists: s.Exists, sub: s.Body,
		offset: s.Offset, value: s.Value(), arrived: s.Time, forwarded: s.Forwarded, memory: s, transfer: transferOf(s, e),
	}
}

// transferOf is the identity of the transfer that a change of number causes.
func transferOf(s *fold.Subject[Subscriber], e *event.Event) (id event.Identity) {
	if _, ok := e.Data.(*eventv1.SubscriberMsisdnChanged); ok {
		return s.TransferIdentity()
	}
	return id
}

const typeSuspended = "subscriber.suspended"

// takeOver makes the record of a subscriber that has this number now; not ok where it can't be. Either way the number it
// comes from is told, unless that has to wait.
func (f *Rules) takeOver(s *fold.Subject[Subscriber], t *turn, data *controlv1.Transfer) (ok bool) {
	switch alive := s.Exists && s.Body.Alive(); {
	case t.at.Sub(t.event.Time) > transferKept:
		f.settle(s, t.event, refusedTransfer, "the subscriber's record was a day on its way: send this event again")
		return false
	case alive && s.Body.transferOut.awaits(t.event):
		if t.duringTransfer(); !t.refused() {
			return true
		}
		t.refusal = refusal{}
		fallthrough
	case alive:
		f.settle(s, t.event, refusedTarget, "the new number belongs to an active subscriber: terminate that, then send this event again")
		return false
	}
	waiting, owned := s.Body.held, s.Exists && s.Body.Life != LifePending
	if err := s.Import(data); err != nil {
		f.settle(s, t.event, refusedTransfer, err.Error())
		return false
	}
	f.settle(s, t.event, "", "")
	t.exists, t.sub = true, s.Body
	if !owned { // what the number used before can be nobody else's
		t.sub.since = time.Time{}
	}
	t.transferIn(waiting)
	return true
}

// settle says to the number that a transfer came from what became of it. A record that refuses one keeps its id: a copy
// that comes later would find the number free, and the subscriber would be two.
func (f *Rules) settle(s *fold.Subject[Subscriber], e *event.Event, reason, detail string) {
	if err := s.Settle(s.Topic, e, reason, detail); err != nil {
		panic("settle a transfer: " + err.Error()) // every field is bounded and UTF-8
	}
	if reason != "" && s.Exists {
		s.Save(s.Body)
	}
}

// Fire works one timer that is due.
func (f *Rules) Fire(s *fold.Subject[Subscriber], name string, due time.Time) {
	t := turn{
		cause: cause{timer: name, identity: s.Identity}, at: due, tenant: TenantOf(s.Key), msisdn: s.Key[len(TenantOf(s.Key))+1:],
		catalog: f.catalog, exists: s.Exists, sub: s.Body, memory: s,
	}
	switch name {
	case timerTombstone:
		switch {
		case t.sub.Alive():
		case t.sub.Pending(): // it is nobody's any more; what waits for the next goes on waiting
			t.sub = Subscriber{Life: LifePending, held: t.sub.held, heldUntil: t.sub.heldUntil}
			t.changed = true
		default:
			t.drop = true
		}
	case timerPending:
		if t.sub.Pending() {
			t.rejectHeld()
		}
	}
	for o := range spend.Option(spend.Options) {
		switch name {
		case timerPeriod[o]:
			t.renew(o)
		case timerLate[o]:
			t.addLate(o)
			t.followAll(t.class(), becauseCatalog)
		}
	}
	f.conclude(s, &t)
}

// tenantOf is the tenant of a record's key, which is tenant/msisdn.
func TenantOf(key string) string {
	tenant, _, _ := strings.Cut(key, "/")
	return tenant
}

// conclude makes of a turn what the engine keeps and publishes.
func (f *Rules) conclude(s *fold.Subject[Subscriber], t *turn) {
	if t.refused() {
		s.Reject(t.refusal.reason, t.refusal.detail)
		return
	}
	if t.sentOn {
		if err := s.Forward(s.Topic, t.event, t.sub.movedTo); err != nil {
			s.Reject(refusedUnknown, "the subscriber has another number by now, and the event can't be sent on to it: "+err.Error())
		}
		return
	}
	for _, w := range t.rejected {
		s.RejectWaiting(w.record(s.Topic, s.Partition), w.identity, w.refusal.reason, w.refusal.detail)
	}
	switch {
	case t.drop:
		s.Delete()
		return
	case !t.changed:
		return
	case t.held:
		s.Wait()
	}
	keeps := t.sub
	if t.moving != nil {
		keeps = *t.moving
	}
	keeps.Revision = s.Revision
	s.Save(keeps)
	f.emit(s, t)
	if t.moving != nil {
		if err := s.Transfer(s.Topic, t.event, t.sub.transferOut.to); err != nil {
			panic("transfer a subscriber: " + err.Error()) // a record is far smaller than an event
		}
		t.sub.Revision = s.Revision
		s.Save(t.sub)
	}
	for i := range t.released {
		p := &t.released[i]
		if err := s.Release(s.Topic, p.event(), t.msisdn, p.identity, []byte(p.value), p.offset); err != nil {
			panic("release an event that was held: " + err.Error()) // it is little more than it was
		}
	}
	for _, p := range t.counted {
		s.Remember(p.identity, p.content)
	}
	for _, reference := range t.refunded {
		s.Remember(reference, 0)
	}
	if t.contact.changed {
		s.KeepSideRecord(encodeContact(t.contact.Contact))
	}
	f.schedule(s, &s.Body)
}

// schedule sets the timers that follow from a record. While it is leaving those of its options do not stand: where it
// goes they fire.
func (f *Rules) schedule(s *fold.Subject[Subscriber], sub *Subscriber) {
	for o := range sub.Options {
		d := &sub.Options[o]
		schedule(s, timerPeriod[o], d.State != spend.Unset && sub.transferOut == nil, d.Period.End)
		first(s, timerLate[o], len(d.late) > 0 && sub.transferOut == nil, lateInterval)
	}
	schedule(s, timerTombstone, sub.Life == LifeTerminated || sub.Life == LifeMoved, sub.until)
	schedule(s, timerPending, sub.Pending(), sub.heldUntil)
}

// emit publishes what is said, in its order.
func (f *Rules) emit(s *fold.Subject[Subscriber], t *turn) {
	if len(t.outcomes) == 0 {
		return
	}
	if !t.contact.known {
		t.contact.Contact = decodeContact(s.SideRecord())
	}
	numbered(t.outcomes)
	for i := range t.outcomes {
		sequence, previous := s.NextSequence()
		r, err := t.outcomes[i].record(f.safeguards, t, sequence, previous)
		if err != nil {
			panic("encode outcome: " + err.Error()) // every field is bounded and UTF-8
		}
		s.Emit(r)
	}
}

// schedule lets a timer stand at a time while it is wanted.
func schedule(s *fold.Subject[Subscriber], name string, wanted bool, due time.Time) {
	at, stands := s.Due(name)
	switch {
	case wanted && (!stands || !at.Equal(due)):
		s.Schedule(name, due)
	case !wanted && stands:
		s.Cancel(name)
	}
}

// first lets a timer stand a while after it was first wanted.
func first(s *fold.Subject[Subscriber], name string, wanted bool, after time.Duration) {
	due, stands := s.Due(name)
	if !stands {
		if !wanted {
			return
		}
		due = s.Time.Add(after)
	}
	schedule(s, name, wanted, due)
}
