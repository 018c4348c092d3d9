package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/template"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// spec is where a token comes from.
type spec struct {
	name string
	// path in the type's message, such as "threshold.amount".
	path string
	// subject makes it the event's subject.
	subject bool
	// currencies makes it the currency of the first of these amounts that is there.
	currencies []string
}

// groupSpec is a group of them.
type groupSpec struct {
	name  string
	specs []spec
}

func at(name, path string) spec { return spec{name: name, path: path} }

func currencyAt(amounts ...string) spec { return spec{name: "Currency", currencies: amounts} }

// under puts a path before those of specs.
func under(path string, specs []spec) []spec {
	for i := range specs {
		if specs[i].path != "" {
			specs[i].path = path + "." + specs[i].path
		}
		specs[i].currencies = slices.Clone(specs[i].currencies)
		for j := range specs[i].currencies {
			specs[i].currencies[j] = path + "." + specs[i].currencies[j]
		}
	}
	return specs
}

// token is one word that a template may use, and how it follows from an occasion.
type token struct {
	name     string
	kind     template.Kind
	audience channel.Audience
	value    func(*Occasion) any
	// field is where the value is; nil where it is of the envelope, or of several.
	field protoreflect.FieldDescriptor
}

// tokenGroup is a context: its tokens exist together.
type tokenGroup struct {
	name   string
	tokens []token
	groups []tokenGroup
}

// core exists on every event.
var core = tokenGroup{name: "Core", tokens: []token{
	{name: "CurrentTime", kind: template.Text, value: func(o *Occasion) any { return o.Now.UTC().Format("15:04:05Z") }},
	{name: "CurrentDate", kind: template.Text, value: func(o *Occasion) any { return o.Now.UTC().Format(time.DateOnly) }},
	{name: "CurrentDateTime", kind: template.Moment, value: func(o *Occasion) any { return instant(o.Now) }},
	{name: "Tenant", kind: template.Text, value: func(o *Occasion) any { return o.TenantName }},
	{name: "EventName", kind: template.Text, value: func(o *Occasion) any { return o.Event.Type }},
	{name: "EventId", kind: template.Text, value: func(o *Occasion) any { return o.Event.ID }},
	{name: "Firing", kind: template.Text, value: func(o *Occasion) any { return o.Firing }},
}}

// envelope exists on every event too.
var envelope = tokenGroup{name: "Event", tokens: []token{
	{name: "Time", kind: template.Moment, value: func(o *Occasion) any { return instant(o.Event.Time) }},
}}

// contexts holds the groups of each type of the catalog.
var contexts = sync.OnceValue(func() map[string][]tokenGroup {
	known := map[string][]tokenGroup{}
	for _, t := range event.Types() {
		known[t.Name] = contextsOf(t)
	}
	return known
})

// bind finds what the specs name in a message. A path that doesn't exist is a slip in the table and panics; a test binds
// them all.
func bind(data proto.Message, groups []groupSpec) []tokenGroup {
	root := data.ProtoReflect().Descriptor()
	out := make([]tokenGroup, 0, len(groups))
	for _, g := range groups {
		bound := tokenGroup{name: g.name}
		for _, s := range g.specs {
			bound.tokens = append(bound.tokens, s.bind(root))
		}
		out = append(out, bound)
	}
	return out
}

func (s spec) bind(root protoreflect.MessageDescriptor) token {
	t := token{name: s.name, kind: template.Text}
	switch {
	case s.subject:
		t.value = func(o *Occasion) any { return o.Event.Subject }
	case s.currencies != nil:
		var paths [][]protoreflect.FieldDescriptor
		for _, p := range s.currencies {
			paths = append(paths, resolve(root, p))
		}
		t.value = func(o *Occasion) any {
			for _, p := range paths {
				m, _ := read(o.Event.Fields(), p)
				if amount, ok := m.(*money.Money); ok && amount.GetCurrencyCode() != "" {
					return amount.GetCurrencyCode()
				}
			}
			return ""
		}
	default:
		return fieldToken(s.name, resolve(root, s.path))
	}
	return t
}

// fieldToken is the token of the field at the end of a path.
func fieldToken(name string, path []protoreflect.FieldDescriptor) token {
	last := path[len(path)-1]
	t := token{name: name, kind: kindOf(last), audience: audienceOf(path), field: last}
	t.value = func(o *Occasion) any {
		v, ok := read(o.Event.Fields(), path)
		if !ok {
			return t.kind.Zero()
		}
		return tokenValue(t.kind, v)
	}
	return t
}

func resolve(root protoreflect.MessageDescriptor, path string) []protoreflect.FieldDescriptor {
	var fields []protoreflect.FieldDescriptor
	in := root
	for name := range strings.SplitSeq(path, ".") {
		var f protoreflect.FieldDescriptor
		if in != nil {
			f = in.Fields().ByName(protoreflect.Name(name))
		}
		if f == nil {
			panic(fmt.Sprintf("rules: token path %q is not in %s", path, root.FullName()))
		}
		fields = append(fields, f)
		in = f.Message()
	}
	return fields
}

// audienceOf is the lowest audience that may read the field at the end of a path, by the marks of the fields on it.
func audienceOf(path []protoreflect.FieldDescriptor) channel.Audience {
	a := channel.Public
	for _, f := range path {
		switch isPersonal, isContact := event.PersonalField(f); {
		case isContact:
			a = channel.Contact
		case isPersonal:
			a = max(a, channel.Personal)
		}
	}
	return a
}

func kindOf(f protoreflect.FieldDescriptor) template.Kind {
	switch {
	case f.IsList() && f.Message() != nil && f.Message().FullName() != thresholds:
		panic(fmt.Sprintf("rules: a list of %s has no words", f.Message().FullName()))
	case f.IsList():
		return template.List
	case f.Kind() == protoreflect.BoolKind:
		return template.Boolean
	case f.Kind() == protoreflect.Int32Kind || f.Kind() == protoreflect.Int64Kind:
		return template.Number
	case f.Message() == nil:
		return template.Text
	}
	switch f.Message().FullName() {
	case moneyName:
		return template.Money
	case timestampName:
		if event.DateField(f) {
			return template.Date
		}
		return template.Moment
	}
	return template.Text
}

var (
	moneyName     = (*money.Money)(nil).ProtoReflect().Descriptor().FullName()
	timestampName = (*timestamppb.Timestamp)(nil).ProtoReflect().Descriptor().FullName()
)

// read is the field at the end of path, and whether it is there: as an interface of the message for messages.
func read(data proto.Message, path []protoreflect.FieldDescriptor) (any, bool) {
	m := data.ProtoReflect()
	for i, f := range path {
		if f.Message() != nil && !f.IsList() && !m.Has(f) {
			return nil, false
		}
		v := m.Get(f)
		if i < len(path)-1 {
			m = v.Message()
			continue
		}
		switch {
		case f.IsList():
			texts := make([]string, v.List().Len())
			for j := range texts {
				texts[j] = listed(f, v.List().Get(j))
			}
			return texts, true
		case f.Enum() != nil:
			return word(f.Enum(), v.Enum()), true
		case f.Message() != nil:
			return v.Message().Interface(), true
		}
		return v.Interface(), true
	}
	return nil, false
}

// listed is an element of a list: a text as it is, a threshold as it was written, "80%" or an amount.
func listed(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if f.Message() == nil {
		return v.String()
	}
	t, _ := v.Message().Interface().(*eventv1.Threshold)
	if t.GetPercent() != 0 {
		return strconv.Itoa(int(t.GetPercent())) + "%"
	}
	return decimal(t.GetAmount())
}

// thresholds is the only message that a list of tokens may hold: listed has words for it.
var thresholds = (*eventv1.Threshold)(nil).ProtoReflect().Descriptor().FullName()

// tokenValue is a field's value as a template sees it.
func tokenValue(kind template.Kind, v any) any {
	switch v := v.(type) {
	case *money.Money:
		return template.NewAmount(v.GetCurrencyCode(), decimal(v))
	case *timestamppb.Timestamp:
		if kind == template.Date {
			return template.Day(v.AsTime().Format(time.RFC3339))
		}
		return instant(v.AsTime())
	case int32:
		return int64(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return v
}

func instant(t time.Time) template.Instant { return template.Instant(t.UTC().Format(time.RFC3339)) }

// scopes are the tokens of every type. They are never changed.
var scopes = sync.OnceValue(func() map[string]template.Scope {
	known := map[string]template.Scope{}
	for name, groups := range contexts() {
		known[name] = template.Scope{Name: name, Root: shapeOf(groups)}
	}
	return known
})

func shapeOf(groups []tokenGroup) *template.Shape {
	root := &template.Shape{Kind: template.Group, Fields: map[string]*template.Shape{}}
	for _, g := range groups {
		root.Fields[g.name] = g.shape("")
	}
	return root
}

// scopesOf are those of a trigger's types.
func scopesOf(types []event.Type) []template.Scope {
	out := make([]template.Scope, len(types))
	for i, t := range types {
		out[i] = scopeOf(t)
	}
	return out
}
