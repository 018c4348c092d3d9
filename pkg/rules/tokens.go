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
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// kind is what a token or an expression in a template yields.
type kind uint8

const (
	unknown kind = iota // already found to be wrong; nothing more is reported about it
	text
	number
	boolean
	list // of texts
	group
)

func (k kind) String() string {
	return [...]string{unknown: "unknown", text: "a text", number: "a number", boolean: "true or false", list: "a list", group: "a group of tokens"}[k]
}

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
	kind     kind
	audience channel.Audience
	value    func(*Occasion) any
}

// tokenGroup is a context: its tokens exist together.
type tokenGroup struct {
	name   string
	tokens []token
}

// core exists on every event.
var core = tokenGroup{"Core", []token{
	{name: "CurrentTime", kind: text, value: func(o *Occasion) any { return o.Now.UTC().Format("15:04:05Z") }},
	{name: "CurrentDate", kind: text, value: func(o *Occasion) any { return o.Now.UTC().Format(time.DateOnly) }},
	{name: "CurrentDateTime", kind: text, value: func(o *Occasion) any { return o.Now.UTC().Format(time.RFC3339) }},
	{name: "Tenant", kind: text, value: func(o *Occasion) any { return o.TenantName }},
	{name: "EventName", kind: text, value: func(o *Occasion) any { return o.Event.Type }},
	{name: "EventId", kind: text, value: func(o *Occasion) any { return o.Event.ID }},
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
	t := token{name: s.name, kind: text}
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
				m, _ := read(o.Event.Data, p)
				if amount, ok := m.(*money.Money); ok && amount.GetCurrencyCode() != "" {
					return amount.GetCurrencyCode()
				}
			}
			return ""
		}
	default:
		path := resolve(root, s.path)
		last := path[len(path)-1]
		t.kind, t.audience = kindOf(last), audienceOf(path)
		t.value = func(o *Occasion) any {
			v, ok := read(o.Event.Data, path)
			if !ok {
				return zero(t.kind)
			}
			return tokenValue(v)
		}
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

func kindOf(f protoreflect.FieldDescriptor) kind {
	switch {
	case f.IsList() && f.Message() != nil && f.Message().FullName() != thresholds:
		panic(fmt.Sprintf("rules: a list of %s has no words", f.Message().FullName()))
	case f.IsList():
		return list
	case f.Kind() == protoreflect.BoolKind:
		return boolean
	case f.Kind() == protoreflect.Int32Kind || f.Kind() == protoreflect.Int64Kind:
		return number
	}
	return text
}

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
func tokenValue(v any) any {
	switch v := v.(type) {
	case *money.Money:
		return decimal(v)
	case *timestamppb.Timestamp:
		return v.AsTime().Format(time.RFC3339)
	case int32:
		return int64(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return v
}

func zero(k kind) any {
	switch k {
	case number:
		return int64(0)
	case boolean:
		return false
	case list:
		return []string(nil)
	}
	return ""
}

// shape is a token or a group, as the check of a template sees it.
type shape struct {
	path     string // as a template would write it from the root
	kind     kind
	audience channel.Audience
	fields   map[string]*shape // of a group
}

// shapes are the roots of the contexts of every type. They are never changed.
var shapes = sync.OnceValue(func() map[string]*shape {
	known := map[string]*shape{}
	for name, groups := range contexts() {
		known[name] = shapeOf(groups)
	}
	return known
})

func shapeOf(groups []tokenGroup) *shape {
	root := &shape{kind: group, fields: map[string]*shape{}}
	for _, g := range groups {
		fields := map[string]*shape{}
		for _, t := range g.tokens {
			fields[t.name] = &shape{path: "." + g.name + "." + t.name, kind: t.kind, audience: t.audience}
		}
		root.fields[g.name] = &shape{path: "." + g.name, kind: group, fields: fields}
	}
	return root
}
