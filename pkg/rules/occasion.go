package rules

import (
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
)

// Occasion is an event for which messages are rendered.
type Occasion struct {
	Event *event.Event
	// Now is the log time at the event: the only present that a text knows.
	Now time.Time
	// TenantName is the tenant's display name.
	TenantName string

	// What messages for the event have in common, made once: tokens by audience, and what channels keep.
	tokens [channel.Contact + 1]map[string]any
	once   map[any]any
	// longest is the length of the longest list among the tokens.
	longest int
}

// values are the tokens of an occasion, as a template reads them. Those above the audience are empty.
func (o *Occasion) values(a channel.Audience) map[string]any {
	if known := o.tokens[a]; known != nil {
		return known
	}
	groups := contexts()[o.Event.Type]
	root := make(map[string]any, len(groups))
	for _, g := range groups {
		fields := make(map[string]any, len(g.tokens))
		for _, t := range g.tokens {
			if t.audience > a {
				fields[t.name] = zero(t.kind)
				continue
			}
			v := t.value(o)
			if list, ok := v.([]string); ok {
				o.longest = max(o.longest, len(list))
			}
			fields[t.name] = v
		}
		root[g.name] = fields
	}
	o.tokens[a] = root
	return root
}

// acting is an occasion as the channel of one action sees it.
type acting struct {
	occasion *Occasion
	rule     *Rule
	plan     *Plan
}

var _ channel.Occasion = acting{}

// Event implements channel.Occasion.
func (a acting) Event() *event.Event { return a.occasion.Event }

// Notification implements channel.Occasion.
func (a acting) Notification() string { return a.rule.Code }

// Parameters implements channel.Occasion.
func (a acting) Parameters(to channel.Audience) ([]channel.Parameter, error) {
	if len(a.plan.parameters) == 0 {
		return nil, nil
	}
	values := a.occasion.values(to)
	if n := a.occasion.longest; a.plan.cost.each > 0 && n > maxListed {
		return nil, fmt.Errorf("%w: a list of %d elements is ranged over, at most %d", channel.ErrTooLarge, n, maxListed)
	}
	out := make([]channel.Parameter, len(a.plan.parameters))
	size := 0
	for i, p := range a.plan.parameters {
		text, err := execute(p.text, values)
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", p.name, err)
		}
		if size += len(text); size > channel.MaxBody {
			return nil, channel.ErrTooLarge
		}
		out[i] = channel.Parameter{Name: p.name, Text: text}
	}
	return out, nil
}

// Once implements channel.Occasion.
func (a acting) Once(key any, made func() any) any {
	o := a.occasion
	known, ok := o.once[key]
	if !ok {
		if o.once == nil {
			o.once = map[any]any{}
		}
		known = made()
		o.once[key] = known
	}
	return known
}
