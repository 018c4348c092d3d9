package rules

import (
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/template"
)

// Occasion is an event for which messages are rendered.
type Occasion struct {
	Event *event.Event
	// Now is the log time at the event: the only present that a text knows.
	Now time.Time
	// TenantName is the tenant's display name.
	TenantName string
	// Zone is the tenant's; nil for UTC.
	Zone *time.Location
	// Users are those of the tenant by role; nil for none.
	Users func(role string) []channel.User
	// Firing is what fires of a rule that keeps a state: a threshold, a direction, the due time of a timer.
	Firing string

	// What messages for the event have in common, made once: tokens by audience, and what channels keep.
	tokens [channel.Contact + 1]map[string]any
	once   map[any]any
	// longest is the length of the longest list among the tokens.
	longest int
}

// Of is the same event for a firing that has a name; what its messages share is its own.
func (o *Occasion) Of(firing string) *Occasion {
	if firing == o.Firing {
		return o
	}
	return &Occasion{Event: o.Event, Now: o.Now, TenantName: o.TenantName, Zone: o.Zone, Users: o.Users, Firing: firing}
}

// values are the tokens of an occasion, as a template reads them. Those above the audience are empty.
func (o *Occasion) values(a channel.Audience) map[string]any {
	if known := o.tokens[a]; known != nil {
		return known
	}
	groups := groupsAt(o.Event)
	root := make(map[string]any, len(groups))
	for i := range groups {
		root[groups[i].name] = o.group(&groups[i], a)
	}
	o.tokens[a] = root
	return root
}

func (o *Occasion) group(g *tokenGroup, a channel.Audience) map[string]any {
	fields := make(map[string]any, len(g.tokens)+len(g.groups))
	for _, t := range g.tokens {
		if t.audience > a {
			fields[t.name] = t.kind.Zero()
			continue
		}
		v := t.value(o)
		if list, ok := v.([]string); ok {
			o.longest = max(o.longest, len(list))
		}
		fields[t.name] = v
	}
	for i := range g.groups {
		fields[g.groups[i].name] = o.group(&g.groups[i], a)
	}
	return fields
}

// language is that of whom the event is about, where the event holds it.
func (o *Occasion) language() string {
	for _, g := range groupsAt(o.Event) {
		for _, t := range g.tokens {
			if isLanguage(t.name) {
				language, _ := t.value(o).(string)
				return language
			}
		}
	}
	return ""
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

// Firing implements channel.Occasion.
func (a acting) Firing() string { return a.occasion.Firing }

// Notification implements channel.Occasion.
func (a acting) Notification() string { return a.rule.Code }

// Parameters implements channel.Occasion.
func (a acting) Parameters(to channel.Audience) ([]channel.Parameter, error) {
	if len(a.plan.parameters) == 0 {
		return nil, nil
	}
	values, err := a.values(to)
	if err != nil {
		return nil, err
	}
	out := make([]channel.Parameter, len(a.plan.parameters))
	size := 0
	for i, p := range a.plan.parameters {
		text, err := p.text.Execute(values, a.Reader())
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

// values are the occasion's tokens, none with a list that is too long to be ranged over.
func (a acting) values(to channel.Audience) (map[string]any, error) {
	values := a.occasion.values(to)
	if n := a.occasion.longest; a.plan.cost.Each > 0 && n > template.MaxListed {
		return nil, fmt.Errorf("%w: a list of %d elements is ranged over, at most %d", channel.ErrTooLarge, n, template.MaxListed)
	}
	return values, nil
}

// textKey is the key of a text that the deliveries of an action share.
type textKey struct {
	plan     *Plan
	text     int
	audience channel.Audience
	reader   template.Reader
}

// rendered is a text, or why there is none.
type rendered struct {
	text string
	err  error
}

// Text implements channel.Occasion. A thousand recipients who read one language share the text.
func (a acting) Text(i int, to channel.Audience, r template.Reader) (string, error) {
	t := a.plan.texts[i]
	if !t.Localized() {
		r = template.Reader{}
	}
	done := a.Once(textKey{a.plan, i, to, r}, func() any {
		values, err := a.values(to)
		if err != nil {
			return rendered{err: err}
		}
		text, err := t.Execute(values, r)
		if err != nil {
			err = fmt.Errorf("%s: %w", a.plan.part.Texts()[i].Field, err)
		}
		return rendered{text, err}
	}).(rendered)
	return done.text, done.err
}

// Reader implements channel.Occasion.
func (a acting) Reader() template.Reader {
	return template.Reader{Language: a.occasion.language(), Zone: a.occasion.Zone, Days: a.occasion.Zone}
}

// Users implements channel.Occasion.
func (a acting) Users(role string) []channel.User {
	if a.occasion.Users == nil {
		return nil
	}
	return a.occasion.Users(role)
}

// LegalNotice implements channel.Occasion.
func (a acting) LegalNotice() bool { return a.rule.LegalNotice }

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
