package event

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/event/schema"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Tenants are what tenants decide of the events that they are sent.
type Tenants interface {
	// Declared finds a type that a tenant declares; nil where it declares none of that name.
	Declared(tenant, name string) *Type
	// KeepsUnknown reports whether fields stay that a type does not have; they are rejected where they do not.
	KeepsUnknown(tenant string) bool
}

// Unchecked are tenants of which nothing is known: any type may be one of theirs, its data is whatever it is, and no field
// is rejected. It is for those who send on what others validate.
var Unchecked Tenants = unchecked{}

type unchecked struct{}

func (unchecked) Declared(_, name string) *Type {
	if !schema.IsType(name) {
		return nil
	}
	return &Type{Name: name, Entity: EntityOf(name), Data: &structpb.Struct{}}
}

func (unchecked) KeepsUnknown(string) bool { return true }

// noTenants declare nothing, and reject.
type noTenants struct{}

func (noTenants) Declared(string, string) *Type { return nil }
func (noTenants) KeepsUnknown(string) bool      { return false }

// EntityOf is what the events of a type are about: the first word of its name.
func EntityOf(name string) string {
	for i := range len(name) {
		if name[i] == '.' {
			return name[:i]
		}
	}
	return name
}

// reservedEntities can be none of a declared type, beside those of built-in types.
var reservedEntities = []string{"system", "command", "tollgate", "trigger", schema.Package}

// IsEntityTaken reports whether no declared type can be about an entity.
func IsEntityTaken(entity string) bool {
	for _, taken := range reservedEntities {
		if entity == taken {
			return true
		}
	}
	for i := range catalog {
		if catalog[i].Entity == entity {
			return true
		}
	}
	return false
}

// Declare compiles a type that a tenant declares under a name. Violations are added to f, and the result is nil where there
// are any.
func Declare(name string, d *configv1.EventType, f *fault.Violations) *Type {
	before := f.Len()
	t := &Type{Name: name, Entity: EntityOf(name), Subscriber: d.GetSubscriber()}
	if IsEntityTaken(t.Entity) {
		f.Add("name", "%q is an entity of Tollgate's own types: begin with another word, such as one with your name, acme_%s", t.Entity, t.Entity)
	}
	switch d.GetOperation() {
	case configv1.EventOperation_EVENT_OPERATION_UNSPECIFIED, configv1.EventOperation_EVENT_OPERATION_OTHER:
		t.Operation = Other
	case configv1.EventOperation_EVENT_OPERATION_CREATE:
		t.Operation = Create
	case configv1.EventOperation_EVENT_OPERATION_UPDATE:
		t.Operation = Update
	case configv1.EventOperation_EVENT_OPERATION_DELETE:
		t.Operation = Delete
	default:
		f.Add("operation", "%d is not known", d.GetOperation())
	}
	switch d.GetQueue() {
	case configv1.EventQueue_EVENT_QUEUE_UNSPECIFIED, configv1.EventQueue_EVENT_QUEUE_ORDERED:
	case configv1.EventQueue_EVENT_QUEUE_UNORDERED:
		t.Queue = Unordered
	default:
		f.Add("queue", "%d is not known", d.GetQueue())
	}
	if t.Schema = schema.New(name, d.GetFields(), f); f.Len() > before {
		return nil
	}
	t.Data = t.Schema.Message().Zero().Interface()
	return t
}

// typ is the type of the event, built in or declared; nil where it is not known.
func (e *Event) typ() *Type {
	if t := byName[e.Type]; t != nil {
		return t
	}
	return e.Declared
}

// Queue is that of the event's type; ordered where the type is not known.
func (e *Event) Queue() Queue {
	if t := e.typ(); t != nil {
		return t.Queue
	}
	return Ordered
}

// Fields is the data in the message of its type: of a declared type, what View has read.
func (e *Event) Fields() proto.Message {
	if e.fields != nil {
		return e.fields
	}
	return e.Data
}

// WithFields is a copy of an event with other fields. The data of a declared type, which they were read from, is left out.
func (e *Event) WithFields(m proto.Message) *Event {
	c := *e
	if e.fields == nil {
		c.Data = m
		return &c
	}
	c.fields, c.Data = m, &structpb.Struct{}
	return &c
}

// View is an event of a declared type with its fields, as a revision of the configuration has the type. The event may have
// been accepted by another one: what is required or bounded by now was valid then, and what is not declared is not there.
// An error means that a field is of another kind by now. An event of a built-in type is its own view.
func (t *Type) View(e *Event) (*Event, error) {
	if t == nil || t.Schema == nil {
		return e, nil
	}
	data, ok := e.Data.(*structpb.Struct)
	if !ok {
		return nil, fault.New(fault.Invalid, reason.UnknownData, "%s", wantStruct)
	}
	var v violations
	r := customReader{v: &v, lenient: true}
	m := r.object("data", t.Schema.Root(), data)
	if err := v.err(); err != nil {
		return nil, err
	}
	c := *e
	c.Declared, c.fields = t, m
	return &c, nil
}

// Wire is an empty message of the data as it is in an event.
func (t *Type) Wire() proto.Message {
	if t.Schema != nil {
		return &structpb.Struct{}
	}
	return t.Data.ProtoReflect().New().Interface()
}

const wantStruct = "must be a google.protobuf.Struct, as of every type that a tenant declares"

// declare finds the declaration of the event's type, and brings its data into the one form.
func (e *Event) declare(by Tenants, v *violations) {
	if byName[e.Type] == nil && !IsControl(e.Type) {
		e.Declared = by.Declared(e.Tenant, e.Type)
	}
	var names []string
	if e.Data != nil {
		switch {
		case e.Declared == nil:
			names = unknownNumbers(e.Data)
		case e.Declared.Schema == nil:
		default:
			data, ok := e.Data.(*structpb.Struct)
			if !ok {
				v.add(reason.UnknownData, "data", wantStruct)
				return
			}
			r := customReader{v: v}
			r.object("data", e.Declared.Schema.Root(), data)
			names = r.unknown
		}
	}
	if e.Unknown != nil {
		for name, value := range e.Unknown.GetFields() {
			checkUndeclared(v, "data."+name, value, schema.MaxUnknownDepth)
		}
		var d protoreflect.MessageDescriptor
		if e.Data != nil {
			d = e.Data.ProtoReflect().Descriptor()
		}
		names = unknownPaths("data", e.Unknown, d, names)
	}
	if !by.KeepsUnknown(e.Tenant) {
		for _, name := range names {
			v.add(reason.UnknownField, name, "is no field of %s: correct its name, or let the tenant keep what it does not know (unknown_fields)", e.Type)
		}
	}
}
