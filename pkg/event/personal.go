package event

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// PersonalField reports whether a field of a data message is about a person, and whether it is contact data, which is
// personal too.
func PersonalField(field protoreflect.FieldDescriptor) (personal, contact bool) {
	declared, ok := proto.GetExtension(field.Options(), eventv1.E_Field).(*eventv1.FieldMark)
	if !ok {
		return false, false
	}
	return declared.GetPersonal() || declared.GetContact(), declared.GetContact()
}

// DateField reports whether a field of a data message is a day on a paper rather than an instant.
func DateField(field protoreflect.FieldDescriptor) bool {
	declared, ok := proto.GetExtension(field.Options(), eventv1.E_Field).(*eventv1.FieldMark)
	return ok && declared.GetDate()
}

// maximumOf is the largest value of a field of a whole number; 0 where it has none.
func maximumOf(f protoreflect.FieldDescriptor) int32 {
	if f.Kind() != protoreflect.Int32Kind || f.IsList() {
		return 0
	}
	declared, _ := proto.GetExtension(f.Options(), eventv1.E_Field).(*eventv1.FieldMark)
	return declared.GetMaximum()
}

// WithoutContact is data as a webhook may send it: Without contact fields, and without personal ones unless personal is
// allowed.
func WithoutContact(data proto.Message, personal bool) proto.Message {
	return Without(data, personal, false)
}

// Without is a copy of data with only those personal and contact fields that are allowed. It is data itself where nothing
// was left out.
func Without(data proto.Message, personal, contact bool) proto.Message {
	allowed := audience{personal: personal, contact: contact}
	if !allowed.exceededBy(data.ProtoReflect()) {
		return data
	}
	c := proto.Clone(data)
	allowed.clear(c.ProtoReflect())
	return c
}

// audience is which fields may be seen.
type audience struct{ personal, contact bool }

func (a audience) exceededBy(m protoreflect.Message) bool {
	found := false
	eachField(m, func(f protoreflect.FieldDescriptor, inner protoreflect.Message) {
		found = found || a.leavesOut(f) || inner != nil && a.exceededBy(inner)
	})
	return found
}

func (a audience) clear(m protoreflect.Message) {
	eachField(m, func(f protoreflect.FieldDescriptor, inner protoreflect.Message) {
		switch {
		case a.leavesOut(f):
			m.Clear(f)
		case inner != nil:
			a.clear(inner)
		}
	})
}

func (a audience) leavesOut(f protoreflect.FieldDescriptor) bool {
	personal, contact := PersonalField(f)
	if contact {
		return !a.contact
	}
	return personal && !a.personal
}

// eachField calls f for every field that is set: once, or once for each message of a list or map. A Struct is one
// value.
func eachField(m protoreflect.Message, f func(protoreflect.FieldDescriptor, protoreflect.Message)) {
	if m.Descriptor().FullName() == structName {
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				f(field, value.List().Get(i).Message())
			}
		case field.IsMap() && field.MapValue().Message() != nil:
			value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				f(field, v.Message())
				return true
			})
		case field.Message() != nil && !field.IsMap():
			f(field, value.Message())
		default:
			f(field, nil)
		}
		return true
	})
}
