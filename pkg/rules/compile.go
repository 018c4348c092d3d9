package rules

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/expr"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/template"
)

// ReasonInvalid is the reason of what Compile refuses.
const ReasonInvalid = "NOTIFICATION_INVALID"

// Bounds of a notification. They keep the time to evaluate and to render one small, whoever wrote it.
const (
	maxEventTypes = 100
	maxActions    = 20
	maxParameters = 100
	maxName       = 100 // bytes: of an action, a parameter
	maxType       = 200 // bytes: the name of an event type
	// maxRendering bounds the texts of one action, in steps where lists have 100 elements.
	maxRendering = 100_000

	// What is shorter would expire on the way, what is longer after the last attempt.
	shortestExpiry = time.Second
	longestExpiry  = 28 * time.Hour
)

// Rule is a notification that can be evaluated. It is immutable and may be shared.
type Rule struct {
	Tenant, Code string
	Version      int64
	// LegalNotice: the law demands the messages.
	LegalNotice bool
	// Actions are sorted by name: the order in which deliveries are planned.
	Actions []*Plan

	active bool
	types  []event.Type
	// filter by the full name of the data's message; nil where every event matches.
	filter programs
	// written is the filter's text.
	written string
	// state is how it keeps one; nil where it keeps none.
	state *stateful
}

// programs are one expression, by the full name of the data's message.
type programs map[protoreflect.FullName]*expr.Program

// Plan is one action of a rule: its channel, its order and its texts.
type Plan struct {
	Name    string
	Channel *channel.Channel
	// Target is the resource name of the target; empty for the tenant's of the channel.
	Target string
	// Deliveries of an ordered action are numbered by their ordering key.
	Ordered bool
	// ExpiresAfter is how long after it was planned a delivery may be sent; 0 as long as attempts are left.
	ExpiresAfter time.Duration

	// quiet are hours in which nothing is sent, and collapse is the text of which one delivery is sent; each may be nil.
	quiet    *channel.Quiet
	collapse *template.Template

	part       channel.Action
	parameters []parameter
	// texts are the templates of the channel's own.
	texts []*template.Template
	cost  template.Cost
}

// parameter is a name and its text.
type parameter struct {
	name string
	text *template.Template
}

// Types are the names of the event types that the rule looks at, sorted.
func (r *Rule) Types() []string {
	names := make([]string, len(r.types))
	for i, t := range r.types {
		names[i] = t.Name
	}
	return names
}

// For is the rule as one of another tenant.
func (r *Rule) For(tenant string) *Rule {
	c := *r
	c.Tenant = tenant
	return &c
}

// Active reports whether the rule plans anything.
func (r *Rule) Active() bool { return r.active }

// Compile validates a notification and makes it ready to be evaluated. The error is of kind Invalid and lists all
// that is wrong.
func Compile(n Notification) (*Rule, error) {
	var f fault.Violations
	if n.Tenant == "" || n.Code == "" {
		f.Add("name", `must be "tenants/{tenant}/notifications/{code}"`)
	}
	if len(n.Tenant)+len(n.Code) > channel.MaxName {
		f.Add("name", "must be at most %d bytes", channel.MaxName)
	}
	r := &Rule{Tenant: n.Tenant, Code: n.Code, Version: n.Version, LegalNotice: n.LegalNotice, active: n.Active, written: n.Trigger.Filter}
	r.types = expand("trigger.event_types", n.Trigger.EventTypes, n.Types, &f)
	r.filter = compileFilter("trigger.filter", n.Trigger.Filter, r.types, &f)
	r.state = compileState(n, r.types, &f)

	if len(n.Actions) == 0 {
		f.Add("actions", "must have at least one")
	}
	if len(n.Actions) > maxActions {
		f.Add("actions", "must be at most %d, are %d", maxActions, len(n.Actions))
		n.Actions = nil
	}
	names := map[string]bool{}
	for i, a := range n.Actions {
		path := indexed("actions", i)
		if names[a.Name] {
			f.Add(path+".name", "%q stands twice", short(a.Name))
		}
		names[a.Name] = true
		r.Actions = append(r.Actions, compileAction(n, a, r, path, &f))
	}
	slices.SortFunc(r.Actions, func(a, b *Plan) int { return cmp.Compare(a.Name, b.Name) })
	if err := f.Err(ReasonInvalid); err != nil {
		return nil, err
	}
	return r, nil
}

func compileAction(n Notification, a Action, r *Rule, path string, f *fault.Violations) *Plan {
	named(path+".name", a.Name, f)
	plan := &Plan{Name: a.Name, Channel: a.Channel, part: a.Part, ExpiresAfter: a.ExpiresAfter}
	if e := a.ExpiresAfter; e != 0 && (e < shortestExpiry || e > longestExpiry) {
		f.Add(path+".expires_after", "must be from %s to %s", shortestExpiry, longestExpiry)
	}
	if a.Channel == nil {
		f.Add(path, "must have a channel that is known")
	} else {
		var inner fault.Violations
		a.Part.Validate(n.Tenant, &inner)
		f.AddErr(path+"."+a.Channel.Name, inner.Err(ReasonInvalid))
		plan.Target = a.Part.Target()
	}
	var unordered []string
	for _, t := range r.types {
		if t.Queue != event.Ordered {
			unordered = append(unordered, t.Name)
		}
	}
	plan.Ordered = len(unordered) == 0 && !r.Timed() && (a.Channel == nil || !a.Channel.Unordered)
	if a.Ordered != nil {
		switch plan.Ordered = *a.Ordered; {
		case plan.Ordered && len(unordered) > 0:
			f.Add(path+".ordered", "must not be true: %s has no order", strings.Join(unordered, ", "))
		case plan.Ordered && r.Timed():
			f.Add(path+".ordered", "must not be true: what a timer plans has no order")
		}
	}
	if len(a.Parameters) > maxParameters {
		f.Add(path+".parameters", "must be at most %d, are %d", maxParameters, len(a.Parameters))
		a.Parameters = nil
	}
	scopes := scopesOf(r.types)
	plan.compileTexts(a, scopes, path, f)
	plan.compileTiming(n, a, scopes, path, f)
	return plan
}

// compileTexts compiles the action's parameters and the channel's own texts.
func (p *Plan) compileTexts(a Action, scopes []template.Scope, path string, f *fault.Violations) {
	var opts template.Options
	if a.Channel != nil {
		opts.NoContact = a.Channel.NoContact
	}
	costly := path + ".parameters"
	names := map[string]bool{}
	for i, written := range a.Parameters {
		field := path + "." + indexed("parameters", i)
		named(field+".name", written.Name, f)
		if names[written.Name] {
			f.Add(field+".name", "%q stands twice", short(written.Name))
		}
		names[written.Name] = true
		text := template.Compile(written.Template, scopes, opts, field+".template", f)
		p.parameters = append(p.parameters, parameter{written.Name, text})
		p.cost.Add(text.Cost)
	}
	if a.Part != nil {
		for _, t := range a.Part.Texts() {
			opts.Escape, opts.Most = t.Escape, t.Most
			text := template.Compile(t.Template, scopes, opts, path+"."+a.Channel.Name+"."+t.Field, f)
			p.texts = append(p.texts, text)
			p.cost.Add(text.Cost)
			costly = path + "." + a.Channel.Name
		}
	}
	if steps := p.cost.Once + 100*p.cost.Each; steps > maxRendering {
		f.Add(costly, "cost too much, %d of at most %d steps where lists have 100 elements: put less into range, or change less to upper and lower case",
			steps, maxRendering)
	}
}

// named validates the name of an action or a parameter: it stands in deliveries, and so in headers, logs and terminals.
func named(field, name string, f *fault.Violations) {
	switch {
	case name == "":
		f.Add(field, "must not be empty")
	case len(name) > maxName:
		f.Add(field, "must be at most %d bytes, has %d", maxName, len(name))
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		f.Add(field, "must be printable characters")
	}
}

// short keeps a sentence short whatever was sent.
func short(s string) string {
	if len(s) > maxName {
		return strings.ToValidUTF8(s[:maxName], "") + "…"
	}
	return s
}

// indexed is the path of a list's element.
func indexed(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// expand turns a list of a trigger into types, sorted by name, each once.
func expand(list string, patterns []string, types *Types, f *fault.Violations) []event.Type {
	if len(patterns) == 0 {
		f.Add(list, "must have at least one")
	}
	if len(patterns) > maxEventTypes {
		f.Add(list, "must be at most %d", maxEventTypes)
		return nil
	}
	found := map[string]event.Type{}
	for i, p := range patterns {
		field := indexed(list, i)
		entity, wildcard := strings.CutSuffix(p, ".*")
		switch {
		case len(p) > maxType:
			f.Add(field, "must be at most %d bytes", maxType)
		case wildcard && !strings.Contains(entity, "*"):
			of := types.of(entity)
			for _, t := range of {
				found[t.Name] = t
			}
			if len(of) == 0 {
				f.Add(field, "no event type is of entity %q", entity)
			}
		case strings.Contains(p, "*"):
			f.Add(field, `%q must be a type, or an entity with all its types such as "safeguard.*"`, p)
		case event.IsControl(p):
			f.Add(field, "%q is not an event but a control record", p)
		default:
			t, ok := types.Lookup(p)
			if !ok {
				f.Add(field, "event type %q is unknown", p)
				continue
			}
			found[p] = t
		}
	}
	sorted := make([]event.Type, 0, len(found))
	for _, t := range found {
		sorted = append(sorted, t)
	}
	slices.SortFunc(sorted, func(a, b event.Type) int { return cmp.Compare(a.Name, b.Name) })
	return sorted
}
