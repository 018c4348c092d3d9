package safeguard

import (
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// fold is what counting makes of one partition's log.
type fold struct {
	// safeguards is the topic of outcomes, with prefix.
	safeguards string
	metrics    *metrics
	catalog    *catalog
}

var _ state.Fold[subscriber, *catalog] = (*fold)(nil)

// Domain of the state, and name of the group that works it.
const Domain = "safeguard"

// Timers of a subscriber. Those due at one time fire in the order of their names, which is that of the options.
const timerMark = "mark" // the mark of a subscriber that is gone is forgotten

var (
	// timerPeriod: an option's period ends. timerLate: what came late for it is told.
	timerPeriod = [spend.Options]string{spend.Data: "data", spend.Overspend: "overspend", spend.Payment: "payment"}
	timerLate   = [spend.Options]string{spend.Data: "data.late", spend.Overspend: "overspend.late", spend.Payment: "payment.late"}
)

const (
	// lateEvery is how often, at most, a period's late sum is told.
	lateEvery = time.Hour
	// markKept is how long a terminated subscriber is remembered: as long as ids are, so that its activation sent again
	// does not bring it back.
	markKept = state.WindowHours * time.Hour
)

// Configure takes the classes of service of another revision.
func (f *fold) Configure(c *catalog) error {
	f.catalog = c
	return nil
}

// Decode reads a subscriber.
func (f *fold) Decode(b []byte) (subscriber, error) { return decodeSubscriber(b) }

// Append writes one.
func (f *fold) Append(dst []byte, s subscriber) []byte { return s.append(dst) }

// Select says whose record an event needs: that of its subject, for the types that say something about spend.
func (f *fold) Select(e *event.Event) (string, any) {
	switch e.Data.(type) {
	case *eventv1.UsageCharged, *eventv1.SubscriberActivated, *eventv1.SubscriberTerminated:
		return e.Key(), nil
	}
	return "", nil
}

// Apply works one event.
func (f *fold) Apply(s *state.Subject[subscriber], e *event.Event) {
	t := turn{
		cause: cause{event: e, identity: s.Identity}, at: s.Time, eventTime: s.EventTime, tenant: e.Tenant, msisdn: e.Subject,
		catalog: f.catalog, exists: s.Exists, sub: s.Body,
	}
	switch data := e.Data.(type) {
	case *eventv1.UsageCharged:
		t.used(data)
	case *eventv1.SubscriberActivated:
		t.activate(data)
	case *eventv1.SubscriberTerminated:
		t.terminate()
	default:
		return
	}
	if s.Ahead {
		f.metrics.ahead()
	}
	f.conclude(s, &t)
}

// Fire works one timer that is due.
func (f *fold) Fire(s *state.Subject[subscriber], name string, due time.Time) {
	tenant, msisdn, _ := strings.Cut(s.Key, "/")
	t := turn{
		cause: cause{timer: name, identity: s.Identity}, at: due, tenant: tenant, msisdn: msisdn,
		catalog: f.catalog, exists: s.Exists, sub: s.Body,
	}
	if name == timerMark {
		t.drop = !t.sub.alive()
		f.conclude(s, &t)
		return
	}
	for o := range spend.Option(spend.Options) {
		switch name {
		case timerPeriod[o]:
			t.renew(o)
		case timerLate[o]:
			t.tellLate(o)
			t.followAll(t.class(), becauseCatalog)
		}
	}
	f.conclude(s, &t)
}

// conclude makes of a turn what the engine keeps and publishes.
func (f *fold) conclude(s *state.Subject[subscriber], t *turn) {
	switch {
	case t.refusal.reason != "":
		s.Reject(t.refusal.reason, t.refusal.detail)
		return
	case t.drop:
		s.Delete()
		return
	case !t.changed:
		return
	}
	t.sub.revision = s.Revision
	s.Save(t.sub)
	for o := range t.sub.options {
		d := &t.sub.options[o]
		schedule(s, timerPeriod[o], d.state != spend.Unset, d.period.End)
		first(s, timerLate[o], len(d.late) > 0, lateEvery)
	}
	schedule(s, timerMark, !t.sub.alive(), t.sub.until)
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
func schedule(s *state.Subject[subscriber], name string, wanted bool, due time.Time) {
	at, stands := s.Due(name)
	switch {
	case wanted && (!stands || !at.Equal(due)):
		s.Schedule(name, due)
	case !wanted && stands:
		s.Cancel(name)
	}
}

// first lets a timer stand a while after it was first wanted.
func first(s *state.Subject[subscriber], name string, wanted bool, after time.Duration) {
	due, stands := s.Due(name)
	if !stands {
		if !wanted {
			return
		}
		due = s.Time.Add(after)
	}
	schedule(s, name, wanted, due)
}
