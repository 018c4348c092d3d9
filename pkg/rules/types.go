package rules

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/event/schema"
	"github.com/tollgate/tollgate/pkg/template"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Types are those that a tenant declares, beside the built-in ones. nil has none.
type Types struct{ byName map[string]*event.Type }

// NewTypes makes them of declared types.
func NewTypes(declared ...*event.Type) *Types {
	t := &Types{byName: make(map[string]*event.Type, len(declared))}
	for _, d := range declared {
		t.byName[d.Name] = d
	}
	return t
}

// Lookup finds a type by its name, a built-in one first.
func (t *Types) Lookup(name string) (event.Type, bool) {
	if found, ok := event.Lookup(name); ok {
		return found, true
	}
	if t == nil || t.byName[name] == nil {
		return event.Type{}, false
	}
	return *t.byName[name], true
}

// of are the types of an entity.
func (t *Types) of(entity string) []event.Type {
	var all []event.Type
	for _, b := range event.Types() {
		if b.Entity == entity {
			all = append(all, b)
		}
	}
	if t == nil {
		return all
	}
	for _, d := range t.byName {
		if _, builtIn := event.Lookup(d.Name); d.Entity == entity && !builtIn {
			all = append(all, *d)
		}
	}
	return all
}

// Uses reports whether a notification would read a type of that name, by a list of its types.
func Uses(n *configv1.Notification, name string) bool {
	entity := event.EntityOf(name) + ".*"
	return slices.ContainsFunc(listsOf(n), func(list []string) bool {
		return slices.Contains(list, name) || slices.Contains(list, entity)
	})
}

// Names reports whether a notification names the type itself, and not only its entity.
func Names(n *configv1.Notification, name string) bool {
	return slices.ContainsFunc(listsOf(n), func(list []string) bool { return slices.Contains(list, name) })
}

// Unchanged reports whether the types that a notification is on are the same before and after.
func Unchanged(n *configv1.Notification, before, after *Types) bool {
	if before == after {
		return true
	}
	for _, list := range listsOf(n) {
		for _, pattern := range list {
			if entity, all := strings.CutSuffix(pattern, ".*"); all {
				if !slices.EqualFunc(before.sorted(entity), after.sorted(entity), same) {
					return false
				}
				continue
			}
			a, inA := before.Lookup(pattern)
			b, inB := after.Lookup(pattern)
			if inA != inB || !same(a, b) {
				return false
			}
		}
	}
	return true
}

func (t *Types) sorted(entity string) []event.Type {
	all := t.of(entity)
	slices.SortFunc(all, func(a, b event.Type) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// same is of one declaration, or of one built-in type.
func same(a, b event.Type) bool {
	return a.Name == b.Name && a.Schema == b.Schema && a.Queue == b.Queue && a.Subscriber == b.Subscriber
}

// listsOf are a notification's lists of types: those of its trigger, and those that cancel.
func listsOf(n *configv1.Notification) [][]string {
	return [][]string{n.GetTrigger().GetEventTypes(), n.GetTrigger().GetDelayed().GetCancelledBy().GetEventTypes()}
}

// groupsKey is under which a declared type has its tokens.
type groupsKey struct{}

// groupsOf are the groups of tokens of a type.
func groupsOf(t event.Type) []tokenGroup {
	if t.Schema == nil {
		return contexts()[t.Name]
	}
	return t.Schema.Once(groupsKey{}, func() any { return declaredContexts(t) }).([]tokenGroup)
}

// groupsAt are those of an event's type.
func groupsAt(e *event.Event) []tokenGroup {
	if e.Declared != nil {
		return groupsOf(*e.Declared)
	}
	return contexts()[e.Type]
}

// DataGroup has the tokens of a declared type: its fields under their names.
const DataGroup = "Data"

// declaredContexts are the tokens of a declared type. Lists of objects have no words, and are read by filters alone.
func declaredContexts(t event.Type) []tokenGroup {
	groups := []tokenGroup{core, envelope}
	if t.Subscriber {
		groups = append(groups, bind(t.Data, []groupSpec{subscriber()})...)
	}
	if data := declaredGroup(DataGroup, t, t.Schema.Root(), nil); len(data.tokens)+len(data.groups) > 0 {
		groups = append(groups, data)
	}
	return groups
}

func declaredGroup(name string, t event.Type, o *schema.Object, path []protoreflect.FieldDescriptor) tokenGroup {
	g := tokenGroup{name: name}
	for _, f := range o.Fields {
		at := append(slices.Clip(path), f.D)
		switch {
		case f.Inner == nil:
			g.tokens = append(g.tokens, fieldToken(f.GetName(), at))
		case !f.GetRepeated():
			g.groups = append(g.groups, declaredGroup(f.GetName(), t, f.Inner, at))
		}
	}
	return g
}

// Token is a word that a text may use.
type Token struct {
	// Path as a text has it, such as ".Account.Balance".
	Path string
	Kind template.Kind
	// Field is the field at the end of its path; nil where it is of the envelope.
	Field             protoreflect.FieldDescriptor
	Personal, Contact bool
}

// Tokens are those of a type, in the order of the table.
func Tokens(t event.Type) []Token {
	var all []Token
	for _, g := range groupsOf(t) {
		all = g.list("", all)
	}
	return all
}

func (g *tokenGroup) list(path string, all []Token) []Token {
	path += "." + g.name
	for _, t := range g.tokens {
		all = append(all, Token{
			Path: path + "." + t.name, Kind: t.kind, Field: t.field,
			Personal: t.audience >= channel.Personal, Contact: t.audience == channel.Contact,
		})
	}
	for _, inner := range g.groups {
		all = inner.list(path, all)
	}
	return all
}

// shape is what a check of a text sees of a group.
func (g *tokenGroup) shape(path string) *template.Shape {
	path += "." + g.name
	s := &template.Shape{Path: path, Kind: template.Group, Fields: make(map[string]*template.Shape, len(g.tokens)+len(g.groups))}
	for _, t := range g.tokens {
		s.Fields[t.name] = &template.Shape{Path: path + "." + t.name, Kind: t.kind, Contact: t.audience == channel.Contact}
	}
	for _, inner := range g.groups {
		s.Fields[inner.name] = inner.shape(path)
	}
	return s
}

// scopeKey is under which a declared type has its scope.
type scopeKey struct{}

// scopeOf is what texts may use on a type.
func scopeOf(t event.Type) template.Scope {
	if t.Schema == nil {
		return scopes()[t.Name]
	}
	return t.Schema.Once(scopeKey{}, func() any { return template.Scope{Name: t.Name, Root: shapeOf(groupsOf(t))} }).(template.Scope)
}

// isLanguage is the token, in whatever group, that holds a person's language.
func isLanguage(name string) bool { return strings.EqualFold(name, "language") }
