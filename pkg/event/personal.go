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

// WithoutContact is data as a webhook may send it: a copy without contact fields, and without personal ones unless
// personal is allowed. It is data itself where nothing was left out.
func WithoutContact(data proto.Message, personal bool) proto.Message {
	if !hasPersonal(data.ProtoReflect(), personal) {
		return data
	}
	c := proto.Clone(data)
	clearPersonal(c.ProtoReflect(), personal)
	return c
}

func hasPersonal(m protoreflect.Message, personal bool) bool {
	found := false
	eachField(m, func(f protoreflect.FieldDescriptor, inner protoreflect.Message) {
		found = found || leftOut(f, personal) || inner != nil && hasPersonal(inner, personal)
	})
	return found
}

func clearPersonal(m protoreflect.Message, personal bool) {
	eachField(m, func(f protoreflect.FieldDescriptor, inner protoreflect.Message) {
		switch {
		case leftOut(f, personal):
			m.Clear(f)
		case inner != nil:
			clearPersonal(inner, personal)
		}
	})
}

func leftOut(f protoreflect.FieldDescriptor, personal bool) bool {
	isPersonal, isContact := PersonalField(f)
	return isContact || isPersonal && !personal
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
