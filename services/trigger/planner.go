package trigger

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/trigger/api"
)

// planner lends the planning of this service to those who ask what it would do and did.
type planner struct {
	configuration *configclient.Compiled[*Book]
	client        *stream.Client
	engines       map[string]*fold.Engine[body, *Book] // by domain
	prefix        string                               // of our own topics
}

var _ api.Planner = (*planner)(nil)

// Latest implements api.Planner.
func (p *planner) Latest() (api.Book, bool) {
	b, ok := p.configuration.Latest()
	return trying{b, p.prefix}, ok
}

// Logs implements api.Planner.
func (p *planner) Logs() []api.Log {
	all := make([]api.Log, len(logs))
	for i, l := range logs {
		all[i] = api.Log{Domain: l.domain, Topic: p.client.Topic(l.topic), Has: func(t event.Type) bool { return topicOf(t) == l.topic }}
	}
	return all
}

// topicOf is the log in which a type's events stand.
func topicOf(t event.Type) string {
	switch {
	case t.Queue != event.Ordered:
		return stream.EventsUnordered
	case t.Entity == "safeguard":
		return stream.Safeguards
	}
	return stream.EventsOrdered
}

// Partition implements api.Planner.
func (p *planner) Partition(l api.Log, key string) int32 { return p.engines[l.Domain].Partition(key) }

// Has implements api.Book.
func (b *Book) Has(id string) bool { return b.tenants[id] != nil }

// Zone implements api.Book.
func (b *Book) Zone(id string) *time.Location {
	if zone := b.zone(id); zone != nil {
		return zone
	}
	return time.UTC
}

// Notification implements api.Book.
func (b *Book) Notification(name string) *configv1.Notification {
	tenant, code := channel.SplitName(name, "notifications")
	return b.known[notificationKey{tenant, code}]
}

// targetFor is the target of an action, also a draft; problem is why nothing is planned for an action whatever the event; empty where something may be.
func (f *evaluation) targetFor(action *rules.Plan, tenant string) (to target, problem string) {
	if own, ok := action.Published(); ok {
		to = target{Planning: own.Planning(), name: own.Topic()}
		if !f.permitted(tenant, own.Topic()) {
			problem = "the tenant may not publish to topic " + own.Topic()
		}
		return to, problem
	}
	name := f.book.targetOf(action, tenant)
	to, ok := f.book.target(name)
	switch {
	case name == "":
		problem = "the action names no " + action.Channel.Target.Name + ", and the tenant has no default"
	case !ok:
		problem = name + " does not exist"
	case to.Draft:
		problem = name + " is a draft"
	}
	return to, problem
}

// Problems implements api.Trial.
func (d *draft) Problems() []*triggerv1.DryRunProblem {
	var all []*triggerv1.DryRunProblem
	f := d.evaluation()
	for _, action := range d.rule.Actions {
		if _, why := f.targetFor(action, d.rule.Tenant); why != "" {
			all = append(all, &triggerv1.DryRunProblem{Action: action.Name, Problem: why})
		}
	}
	return all
}

// shownRecipients are rendered of each action.
const shownRecipients = 5

// Messages implements api.Trial. Recipients are those of the event, messages are rendered from what is shown of it. A draft
// target is rendered for as well.
func (d *draft) Messages(e, shown *event.Event, now time.Time, firing string) []*triggerv1.PreviewedMessage {
	var all []*triggerv1.PreviewedMessage
	meant, from := d.book.occasion(e, now).Of(firing), d.book.occasion(shown, now).Of(firing)
	f := d.evaluation()
	for _, action := range d.rule.Actions {
		to, problem := f.targetFor(action, d.rule.Tenant)
		m := &triggerv1.PreviewedMessage{Action: action.Name, Channel: action.Channel.Name, Target: to.name, Problem: problem}
		if _, ok := f.target(action, e); !ok && m.GetProblem() == "" {
			m.Problem = "the event is about the target itself"
		}
		if to.name == "" {
			m.Target = action.Target
			all = append(all, m)
			continue
		}
		recipients := d.rule.Recipients(action, meant, to.name)
		if recipients.Invalid > 0 {
			m.Problem = strings.TrimPrefix(m.GetProblem()+"; "+recipients.Why.Error(), "; ")
		}
		if len(recipients.To) == 0 {
			if recipients.Invalid == 0 && m.GetProblem() == "" {
				m.Problem = errNoRecipient.Error()
			}
			all = append(all, m)
		}
		for i, recipient := range recipients.To {
			if i == shownRecipients {
				break
			}
			all = append(all, d.message(action, from, to, recipient, m))
		}
	}
	return all
}

// message is one to one recipient; like has what it shares with others.
func (d *draft) message(action *rules.Plan, o *rules.Occasion, to target, recipient channel.Recipient, like *triggerv1.PreviewedMessage) *triggerv1.PreviewedMessage {
	m := &triggerv1.PreviewedMessage{
		Action: like.GetAction(), Channel: like.GetChannel(), Target: like.GetTarget(), Problem: like.GetProblem(), Recipient: recipient.Address,
	}
	failed := func(err error) { m.Problem = strings.TrimPrefix(m.GetProblem()+"; "+err.Error(), "; ") }
	message, err := d.rule.Render(action, o, to.Planning, recipient, channel.Position{})
	if err != nil {
		failed(err)
		return m
	}
	m.ContentType, m.Body = message.ContentType, message.Body
	for _, h := range message.Headers {
		m.Headers = append(m.Headers, &deliveryv1.Header{Name: h.Name, Value: h.Value})
	}
	timing, err := d.rule.Timing(action, o, recipient)
	if err != nil {
		failed(err)
	}
	if !timing.NotBefore.IsZero() {
		m.NotBefore = timestamppb.New(timing.NotBefore)
	}
	if !timing.ExpiresAt.IsZero() {
		m.ExpiresAt = timestamppb.New(timing.ExpiresAt)
	}
	return m
}
