package account

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Rules are the fold over the log of one partition, under the configuration in force.
type Rules struct {
	// safeguards is the topic of outcomes, with prefix.
	safeguards string
	catalog    *Catalog
	encoding   encoding
}

// NewRules decides under no catalog yet; topic is that of outcomes, with prefix.
func NewRules(topic string) *Rules { return &Rules{safeguards: topic} }

var _ fold.Fold[Subscriber, *Catalog] = (*Rules)(nil)

// Domain of the state, and name of the group that works it.
const Domain = "safeguard"

// Timers of a subscriber.
const (
	timerTombstone = "mark"    // the tombstone of a terminated or moved subscriber is dropped
	timerPending   = "unknown" // the number that usage is held for is not activated
)

var (
	// timerPeriod: the period of an option ends. timerLate: the sum of what came late is due for an outcome.
	timerPeriod = [spend.Options]string{spend.Data: "data", spend.Overspend: "overspend", spend.Payment: "payment"}
	timerLate   = [spend.Options]string{spend.Data: "data.late", spend.Overspend: "overspend.late", spend.Payment: "payment.late"}
)

// lateInterval is the least time between two outcomes with what came late for a period.
const lateInterval = time.Hour

// Takes is what the rules take beside ordinary events.
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
func (r *Rules) Configure(c *Catalog) error {
	r.catalog = c
	return nil
}

// Decode reads a subscriber.
func (r *Rules) Decode(b []byte) (Subscriber, error) { return Decode(b) }

// Append writes one.
func (r *Rules) Append(dst []byte, s Subscriber) []byte { return s.Encode(dst) }

// Select is whose record an event needs: that of its subject, for the types that matter to spend.
func (r *Rules) Select(e *event.Event) fold.Selection {
	switch e.Data.(type) {
	case *eventv1.UsageCharged, *eventv1.SubscriberActivated, *eventv1.SubscriberTerminated, *eventv1.SubscriberStatusChanged,
		*eventv1.SubscriberSimSwapped, *eventv1.SubscriberClassOfServiceChanged, *eventv1.SubscriberMsisdnChanged,
		*controlv1.Transfer, *controlv1.TransferSettled, *controlv1.ChangeCommand, *controlv1.ChargeCommand, *controlv1.ReapplyCommand:
		_, moves := e.Data.(*eventv1.SubscriberMsisdnChanged)
		return fold.Selection{Key: e.Key(), AllIDs: moves}
	}
	return fold.Selection{}
}

// Apply works one event or command. What selects no record is not of a subscriber.
func (r *Rules) Apply(s *fold.Subject[Subscriber], e *event.Event) {
	if s.Key == "" {
		return
	}
	t := r.turn(s, e)
	if event.IsCommand(e.Type) && t.addressed() {
		answer, err := r.command(s, &t)
		reply(s, e, answer, err)
		return
	}
	t.decide()
	r.apply(s, &t)
}

// turn is that of an event or command.
func (r *Rules) turn(s *fold.Subject[Subscriber], e *event.Event) turn {
	identity := s.Identity
	if event.IsCommand(e.Type) {
		identity = s.CommandIdentity()
	}
	return turn{
		cause: cause{event: e, identity: identity}, at: s.Time, eventTime: s.EventTime, arrived: s.Time, forwarded: s.Forwarded,
		tenant: e.Tenant, msisdn: e.Subject, catalog: r.catalog, past: subject{s}, exists: s.Exists,
		decision: decision{sub: s.Body, outcomes: r.encoding.outcomes},
	}
}

// Fire works one timer that is due.
func (r *Rules) Fire(s *fold.Subject[Subscriber], name string, due time.Time) {
	tenant := TenantOf(s.Key)
	t := turn{
		cause: cause{timer: name, identity: s.Identity}, at: due,
		tenant: tenant, msisdn: s.Key[len(tenant)+1:], catalog: r.catalog, past: subject{s}, exists: s.Exists,
		decision: decision{sub: s.Body, outcomes: r.encoding.outcomes},
	}
	t.fire(name)
	r.apply(s, &t)
}

// command decides what a command is answered with: the subscriber as the command leaves it. One that is repeated is
// answered with what it was answered before, whatever has happened to the subscriber since.
func (r *Rules) command(s *fold.Subject[Subscriber], t *turn) (proto.Message, error) {
	if s.Repeated {
		return decodeAnswer(t.event, s.Kept()), nil
	}
	refusal, err := t.command()
	if err != nil {
		return nil, err
	}
	v := View{
		Tenant: t.tenant, MSISDN: t.msisdn, Exists: true, Subscriber: t.sub, Sequence: s.LastSequence(), LogTime: s.Time, Now: s.Time,
		catalog: r.catalog, class: t.class(),
	}
	if refusal != "" {
		return nil, &RefusedCharge{v.charged(refusal)}
	}
	r.apply(s, t)
	v.Subscriber, v.Sequence = s.Body, s.LastSequence()
	return v.answer(t.event), nil
}

// reply answers a command.
func reply(s *fold.Subject[Subscriber], e *event.Event, answer proto.Message, err error) {
	if err != nil {
		s.Refuse(err)
		return
	}
	switch data := e.Data.(type) {
	case *controlv1.ReapplyCommand:
		s.AcceptUnlisted(answer) // or a few would push out the references of charges
	case *controlv1.ChargeCommand:
		s.AcceptWorth(answer, encodeAnswer(answer), int64(worthOf(data)))
	default:
		s.Accept(answer, encodeAnswer(answer))
	}
}

// subject answers what a turn asks of the past.
type subject struct {
	*fold.Subject[Subscriber]
}

func (s subject) Offset() int64 { return s.Subject.Offset }

func (s subject) TakeOver(t *controlv1.Transfer) (Subscriber, error) {
	err := s.Import(t)
	return s.Body, err
}
