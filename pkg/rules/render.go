package rules

import (
	"fmt"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/template"
)

// Cost is what Render takes, in the units of pkg/expr.
func (p *Plan) Cost(o *Occasion, to channel.Planning) uint64 {
	const body = 100
	if p.collapse == nil && len(p.texts) == 0 && (!to.Texts || len(p.parameters) == 0) {
		return body
	}
	o.values(to.Audience)
	return uint64(body + p.cost.Once + min(o.longest, template.MaxListed)*p.cost.Each)
}

// Published is the action's part where its messages are records that the planner publishes; false where a service sends them.
func (p *Plan) Published() (channel.Published, bool) {
	own, ok := p.part.(channel.Published)
	return own, ok
}

// Recipients are those of an action for one occasion, whose target has that resource name.
func (r *Rule) Recipients(p *Plan, o *Occasion, target string) channel.Recipients {
	return p.part.Recipients(acting{o, r, p}, target)
}

// Render makes the message of one action for one occasion and recipient. It fails with channel.ErrTooLarge, or where a
// text can't be rendered, which Compile has ruled out for events of the catalog.
func (r *Rule) Render(p *Plan, o *Occasion, to channel.Planning, recipient channel.Recipient, at channel.Position) (channel.Message, error) {
	m, err := p.part.Render(acting{o, r, p}, to, recipient, at)
	if err != nil {
		return channel.Message{}, fmt.Errorf("render action %q of notification %q: %w", p.Name, r.Code, err)
	}
	if len(m.Body) > channel.MaxBody {
		return channel.Message{}, fmt.Errorf("render action %q of notification %q: %w: it takes %d bytes", p.Name, r.Code, channel.ErrTooLarge, len(m.Body))
	}
	return m, nil
}
